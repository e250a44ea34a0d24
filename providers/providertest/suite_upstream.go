package providertest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

func (s Suite) cancelledBefore(t *testing.T, o op) {
	u := serve(t, respond(http.StatusOK, o.answer))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := o.call(ctx, s.New(t, u.URL))
	if s.checkError(t, err); !errors.Is(err, context.Canceled) {
		t.Error("the error does not wrap context.Canceled")
	}
	if u.hits.Load() != 0 {
		t.Error("a cancelled call reached the upstream")
	}
}

// silence gives no answer until the caller has left. arrived is closed when the
// request arrives.
func silence(t *testing.T) (h http.HandlerFunc, arrived chan struct{}) {
	arrived = make(chan struct{})
	return func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		select {
		case <-r.Context().Done():
		case <-t.Context().Done():
		}
	}, arrived
}

// returns waits for a call that must return by itself.
func returns(ctx context.Context, t *testing.T, o op, p providers.Provider) (wait func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := o.call(ctx, p)
		done <- err
	}()
	return func() error {
		t.Helper()
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			t.Fatal("the call does not return when its context ends")
			return nil
		}
	}
}

// spent checks the class of a refresh whose answer was lost: in doubt if the
// refresh token works once.
func (s Suite) spent(t *testing.T, o op, e *providers.Error) {
	t.Helper()
	if o.name == "refresh" && e.Class != providers.InDoubt && oneTime(s.New(t, refusing)) {
		t.Errorf("Class is %v; a refresh token that works once may be spent: want in_doubt", e.Class)
	}
}

// passing checks that another attempt may help: e is transient, or in doubt if
// a refresh token may have been spent.
func passing(t *testing.T, o op, e *providers.Error) {
	t.Helper()
	if e.Class != providers.Transient && (e.Class != providers.InDoubt || o.name != "refresh") {
		t.Errorf("Class is %v for what may pass", e.Class)
	}
}

func (s Suite) cancelledDuring(t *testing.T, o op) {
	h, arrived := silence(t)
	u := serve(t, h)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wait := returns(ctx, t, o, s.New(t, u.URL))
	select {
	case <-arrived:
	case <-time.After(patience):
		t.Fatal("the call does not reach the upstream")
	}
	cancel()
	err := wait()
	e := s.checkError(t, err)
	passing(t, o, e)
	s.spent(t, o, e)
	if !errors.Is(err, context.Canceled) {
		t.Error("the error does not wrap context.Canceled")
	}
}

// deadline lets a call run into its deadline. On a busy machine a deadline can
// pass before the request is sent. Another attempt has more time then.
func (s Suite) deadline(t *testing.T, o op) {
	for limit := 50 * time.Millisecond; limit < patience; limit *= 2 {
		h, arrived := silence(t)
		u := serve(t, h)
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		err := returns(ctx, t, o, s.New(t, u.URL))()
		cancel()
		e := s.checkError(t, err)
		passing(t, o, e)
		if e.Code != providers.CodeTimeout || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Code is %s, want %s, wrapping context.DeadlineExceeded", e.Code, providers.CodeTimeout)
		}
		select {
		case <-arrived:
			s.spent(t, o, e)
			return
		default:
		}
	}
	t.Fatal("the call does not reach the upstream")
}

func (s Suite) badBodies(t *testing.T, o op) {
	bodies := map[string]string{
		"empty":  "",
		"html":   "<html>" + canary + "</html>",
		"text":   canary,
		"null":   "null",
		"array":  `["` + canary + `"]`,
		"string": `"` + canary + `"`,
		"cut":    strings.TrimRight(o.answer, "} \n"),
		"nested": strings.Repeat("[", 100_000),
		"binary": "\x00\xff\xfe" + canary,
		"types":  `{"token":{"` + canary + `":1},"access_token":["` + canary + `"],"detail":"` + canary + `"}`,
	}
	if o.name != "verify" {
		bodies["no token"] = "{}"
	} else {
		delete(bodies, "types") // may be a valid answer
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			e := s.fails(t, o, respond(http.StatusOK, body))
			passing(t, o, e)
			s.spent(t, o, e)
			if e.Code != providers.CodeBadResponse {
				t.Errorf("Code is %s, want %s", e.Code, providers.CodeBadResponse)
			}
		})
	}
}

// flood is more than any token endpoint sends.
const flood = 4 << 20

// oversized puts a long padding before a good answer. A provider that reads
// without bound succeeds, and fails the case.
func (s Suite) oversized(t *testing.T, o op) {
	padded := strings.Repeat(" ", flood) + o.answer
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err := io.WriteString(z, padded)
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	cases := map[string]http.HandlerFunc{
		"plain": respond(http.StatusOK, padded),
		"gzip bomb": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			respond(http.StatusOK, zipped.String())(w, r)
		},
	}
	for name, h := range cases {
		t.Run(name, func(t *testing.T) {
			if e := s.fails(t, o, h); e.Code != providers.CodeBadResponse {
				t.Errorf("Code is %s, want %s", e.Code, providers.CodeBadResponse)
			}
		})
	}
}

func (s Suite) connectionLost(t *testing.T, o op) {
	t.Run("refused", func(t *testing.T) {
		_, err := o.call(t.Context(), s.New(t, refusing))
		e := s.checkError(t, err)
		if e.Code != providers.CodeUnreachable || e.Class != providers.Transient {
			t.Errorf("is %s, %v; want %s, transient: nothing was sent", e.Code, e.Class, providers.CodeUnreachable)
		}
	})
	cases := map[string]http.HandlerFunc{
		"dropped": func(w http.ResponseWriter, _ *http.Request) { drop(w) },
		"truncated": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(o.answer)+1))
			respond(http.StatusOK, o.answer)(w, r)
			_ = http.NewResponseController(w).Flush()
			drop(w)
		},
	}
	for name, h := range cases {
		t.Run(name, func(t *testing.T) {
			e := s.fails(t, o, h)
			passing(t, o, e)
			s.spent(t, o, e)
		})
	}
}

func (s Suite) redirects(t *testing.T, o op) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			second := serve(t, respond(http.StatusOK, o.answer))
			s.fails(t, o, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", second.URL+r.URL.Path+"?"+canary)
				respond(status, canary)(w, r)
			})
			if second.hits.Load() != 0 {
				t.Error("the redirect was followed: a credential reached a second host")
			}
		})
	}
}

func (s Suite) statuses(t *testing.T, o op) {
	html := "<html>" + canary + "</html>"
	for _, status := range []int{400, 401, 403, 404, 408, 409, 410, 422, 425, 429, 500, 502, 503, 504} {
		for name, body := range map[string]string{"refusal": s.Refusal, "html": html, "empty": ""} {
			t.Run(strconv.Itoa(status)+" "+name, func(t *testing.T) {
				e := s.fails(t, o, respond(status, body))
				if e.Status != status {
					t.Errorf("Status is %d", e.Status)
				}
				s.checkClass(t, o, e, name == "refusal")
			})
		}
	}
}

// checkClass checks what a status means. Only a structured refusal surely comes
// from the upstream itself. Any other may come from a proxy.
func (s Suite) checkClass(t *testing.T, o op, e *providers.Error, structured bool) {
	t.Helper()
	switch status := e.Status; {
	case status == 429 || status == 503:
		passing(t, o, e)
		if e.Code != providers.CodeBusy {
			t.Errorf("Code is %s, want %s", e.Code, providers.CodeBusy)
		}
	case status >= 500 || status == 408 || status == 425: // RFC 9110 section 15.5.9, RFC 8470 section 5.2
		passing(t, o, e)
		if e.Code != providers.CodeUpstreamError {
			t.Errorf("Code is %s, want %s", e.Code, providers.CodeUpstreamError)
		}
	case structured && e.Class != providers.Permanent && e.Class != providers.GrantDead:
		t.Errorf("Class is %v for a refusal", e.Class)
	}
	switch {
	case e.Class != providers.GrantDead:
	case o.name != "refresh":
		t.Error("Class is grant_dead and no refresh token was presented")
	case !structured:
		t.Error("Class is grant_dead for an answer that may be a proxy's: it gives no reason")
	}
	if signsOut := []providers.Code{providers.CodeNotSignedIn, providers.CodeRefreshRejected, providers.CodeGrantRequired}; o.name == "generate" && slices.Contains(signsOut, e.Code) {
		t.Errorf("Code %s signs the user out for a fault of our own key", e.Code)
	}
}

func (s Suite) retryAfter(t *testing.T, o op) {
	fixed := func(value string) func(time.Time) string { return func(time.Time) string { return value } }
	date := func(ahead time.Duration) func(time.Time) string {
		return func(now time.Time) string { return now.Add(ahead).Format(http.TimeFormat) }
	}
	for _, c := range []struct {
		value func(now time.Time) string
		want  time.Duration
		about bool // an HTTP-date has whole seconds, and the answer takes time
	}{
		{fixed("7"), 7 * time.Second, false},
		{fixed("0"), 0, false},
		{fixed("-7"), 0, false},
		{date(7 * time.Second), 7 * time.Second, true},
		{date(-time.Hour), 0, false},
		{fixed(canary), 0, false},
	} {
		for _, status := range []int{429, 503} {
			var value string
			e := s.fails(t, o, func(w http.ResponseWriter, r *http.Request) {
				now := time.Now().UTC()
				value = c.value(now)
				w.Header().Set("Date", now.Format(http.TimeFormat))
				w.Header().Set("Retry-After", value)
				respond(status, s.Refusal)(w, r)
			})
			if off := (e.RetryAfter - c.want).Abs(); off > 0 && (off > 2*time.Second || !c.about) {
				t.Errorf("RetryAfter of %d with %q is %v, want %v", status, value, e.RetryAfter, c.want)
			}
		}
	}
}
