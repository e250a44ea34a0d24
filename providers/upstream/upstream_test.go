package upstream_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/recorder"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

func TestDoSendsWhatIsAsked(t *testing.T) {
	s := recorder.Serve(t, 201, http.Header{"X-Answer": {"yes"}, "Set-Cookie": {"a=b"}}, `{"a":1}`)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	mine := &http.Client{Jar: jar, Timeout: time.Minute}
	c := upstream.New("vendor", mine, now)
	for _, b := range []struct {
		body              any
		contentType, want string
	}{
		{nil, "", ""},
		{url.Values{"b": {"2 3"}, "a": {"ü"}}, "application/x-www-form-urlencoded", "a=%C3%BC&b=2+3"},
		{map[string]any{"a": "<1>"}, "application/json", `{"a":"\u003c1\u003e"}`},
	} {
		res, err := c.Do(t.Context(), upstream.Call{Op: "x", Method: http.MethodPost, URL: s.URL + "/p?q=1", Body: b.body, Header: http.Header{"X-Key": {"k"}}})
		require.NoError(t, err)
		got, _ := s.Seen()
		assert.Equal(t, "POST /p?q=1", got.Method+" "+got.Path)
		assert.Equal(t, b.want, got.Body)
		assert.Equal(t, b.contentType, got.Header.Get("Content-Type"))
		assert.Equal(t, "application/json", got.Header.Get("Accept"))
		assert.Equal(t, "k", got.Header.Get("X-Key"))
		assert.Empty(t, got.Header.Get("Cookie"), "cookies are off")
		assert.True(t, res.OK())
		assert.Equal(t, 201, res.Status)
		assert.Equal(t, "yes", res.Header.Get("X-Answer"))
		assert.Equal(t, `{"a":1}`, string(res.Body))
		assert.Equal(t, clock, res.Sent)
	}
	assert.Same(t, jar, mine.Jar, "the caller's client is left alone")
	assert.Nil(t, mine.CheckRedirect)
}

func TestDoRefusesWhatCannotBeSent(t *testing.T) {
	c := upstream.New("vendor", nil, nil)
	for name, call := range map[string]upstream.Call{
		"body":   {Method: "POST", URL: "http://127.0.0.1:1", Body: func() {}},
		"URL":    {Method: "POST", URL: "http://planted\x7f/"},
		"method": {Method: "P OST", URL: "http://127.0.0.1:1"},
	} {
		call.Op = "generate"
		_, err := c.Do(t.Context(), call)
		e := failure(t, err)
		assert.Equal(t, providers.CodeInternal, e.Code, name)
		assert.Equal(t, providers.Permanent, e.Class, name)
	}
}

// A credential reaches exactly one URL (F18, TC-10).
func TestRedirectsAreNotFollowed(t *testing.T) {
	elsewhere := recorder.Serve(t, 200, nil, `{}`)
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, location := range []string{elsewhere.URL, "/same-host", "//" + strings.TrimPrefix(elsewhere.URL, "http://"), "https://planted/%zz", ""} {
			hits := 0
			res, err := call(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
				hits++
				w.Header()["Location"] = []string{location}
				w.WriteHeader(status)
			}), true)
			require.NoError(t, err, "%d %q", status, location)
			e := res.Err()
			assert.Equal(t, providers.CodeBadResponse, e.Code)
			assert.Equal(t, providers.Permanent, e.Class)
			assert.Equal(t, status, e.Status)
			assert.Equal(t, 1, hits)
		}
	}
	_, hits := elsewhere.Seen()
	assert.Zero(t, hits)
}

func TestAnswersAreBounded(t *testing.T) {
	zeros := func(w io.Writer) { _, _ = io.CopyN(w, zero{}, 2<<20) }
	var bomb bytes.Buffer // made here: to compress takes long on a busy machine
	z := gzip.NewWriter(&bomb)
	zeros(z)
	require.NoError(t, z.Close())
	for name, h := range map[string]http.HandlerFunc{
		"long": func(w http.ResponseWriter, _ *http.Request) { zeros(w) },
		"gzip bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		},
	} {
		for _, oneTime := range []bool{false, true} {
			_, err := call(t, serve(t, h), oneTime)
			e := failure(t, err)
			assert.Equal(t, providers.CodeBadResponse, e.Code, name)
			assert.Equal(t, 200, e.Status, name)
			assert.Equal(t, map[bool]providers.Class{false: providers.Transient, true: providers.InDoubt}[oneTime], e.Class, name)
		}
	}
	res, err := call(t, serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.CopyN(w, zero{}, 1<<20) }), false)
	require.NoError(t, err)
	assert.Len(t, res.Body, 1<<20)
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// What keeps an answer from coming whole, and what the class makes of it: a
// one-time grant is in doubt from the moment its request was written.
func TestLostAnswers(t *testing.T) {
	for _, c := range []struct {
		name, url string
		code      providers.Code
		written   bool
	}{
		{"refused connection", "http://127.0.0.1:1", providers.CodeUnreachable, false},
		{"no TLS", "https" + strings.TrimPrefix(raw(t, "HTTP/1.1 400 Bad Request\r\n\r\n"), "http"), providers.CodeUnreachable, false},
		{"closed without an answer", raw(t, ""), providers.CodeUnreachable, true},
		{"closed in the header", raw(t, "HTTP/1.1 200 OK\r\nContent-Le"), providers.CodeUnreachable, true},
		{"truncated by length", raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"planted"), providers.CodeUnreachable, true},
		{"truncated in a chunk", raw(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{\"planted"), providers.CodeUnreachable, true},
		{"broken gzip", raw(t, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\nplanted"), providers.CodeUnreachable, true},
		{"no HTTP", raw(t, "planted-key is what you sent\r\n\r\n"), providers.CodeUnreachable, true},
		{"broken status", raw(t, "HTTP/1.1 planted OK\r\n\r\n"), providers.CodeUnreachable, true},
		{"broken header", raw(t, "HTTP/1.1 200 OK\r\nplanted-key\r\n\r\n"), providers.CodeUnreachable, true},
		{"broken length", raw(t, "HTTP/1.1 200 OK\r\nContent-Length: planted\r\n\r\n"), providers.CodeUnreachable, true},
		{"two lengths", raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), providers.CodeUnreachable, true},
		{"broken encoding", raw(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: planted\r\n\r\n"), providers.CodeUnreachable, true},
	} {
		for _, oneTime := range []bool{false, true} {
			_, err := call(t, c.url, oneTime)
			e := failure(t, err)
			assert.Equal(t, c.code, e.Code, c.name)
			want := providers.Transient
			if oneTime && c.written {
				want = providers.InDoubt
			}
			assert.Equal(t, want, e.Class, "%s, one-time %v", c.name, oneTime)
			assert.Zero(t, e.Status, c.name)
			assert.Error(t, e.Err, c.name)
		}
	}
}

// A name that is not known and a certificate that is not trusted keep their
// cause, for whoever reads the log.
func TestCausesThatAreOursAreKept(t *testing.T) {
	c := upstream.New("vendor", &http.Client{Transport: recorder.RoundTrip(func(*http.Request) (*http.Response, error) {
		return nil, &net.DNSError{Err: "no such host", Name: "api.example.com", IsNotFound: true}
	})}, now)
	_, err := c.Do(t.Context(), upstream.Call{Op: "generate", Method: "GET", URL: "https://api.example.com/?key=planted"})
	assert.Equal(t, "lookup api.example.com: no such host", failure(t, err).Err.Error())
	assert.ErrorAs(t, err, new(*net.DNSError))
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		c := upstream.New("vendor", &http.Client{Transport: recorder.RoundTrip(hang)}, nil)
		ask := func(ctx context.Context) (*providers.Error, time.Duration) {
			start := time.Now()
			_, err := c.Do(ctx, upstream.Call{Op: "generate", Method: "GET", URL: "https://api.example.com"})
			return failure(t, err), time.Since(start)
		}
		e, took := ask(t.Context())
		assert.Equal(t, providers.CodeTimeout, e.Code)
		assert.Equal(t, providers.Transient, e.Class)
		assert.Equal(t, 10*time.Second, took, "one attempt is bounded")

		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		e, took = ask(ctx)
		assert.Equal(t, providers.CodeTimeout, e.Code)
		assert.Equal(t, 30*time.Millisecond, took)

		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		e, took = ask(ctx)
		assert.Equal(t, providers.CodeUnreachable, e.Code)
		assert.ErrorIs(t, e, context.Canceled)
		assert.Equal(t, time.Second, took)
	})
}

// A slow body counts against the same bound as a slow header.
func TestASlowBodyTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := upstream.New("vendor", &http.Client{Transport: recorder.RoundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: slow{r.Context()}, Request: r}, nil
		})}, nil)
		start := time.Now()
		_, err := c.Do(t.Context(), upstream.Call{Op: "generate", Method: "GET", URL: "https://api.example.com", OneTime: true})
		e := failure(t, err)
		assert.Equal(t, providers.CodeTimeout, e.Code)
		assert.Equal(t, 10*time.Second, time.Since(start))
	})
}

type slow struct{ ctx context.Context }

func (s slow) Read(p []byte) (int, error) {
	select {
	case <-time.After(time.Second):
		p[0] = ' '
		return 1, nil
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	}
}

func (slow) Close() error { return nil }

// net/http sends a request again by itself when an idle connection turns out
// closed. A one-time grant must not go out twice.
func TestAOneTimeGrantIsNotResent(t *testing.T) {
	var posts atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if len(b) > 0 {
			posts.Add(1)
			panic(http.ErrAbortHandler) // after the grant was read
		}
	})
	c := upstream.New("vendor", &http.Client{Transport: &http.Transport{}}, now)
	_, err := c.Do(t.Context(), upstream.Call{Op: "generate", Method: http.MethodGet, URL: s})
	require.NoError(t, err) // leaves an idle connection
	_, err = c.Do(t.Context(), upstream.Call{
		Op: "generate", Method: http.MethodPost, URL: s, OneTime: true, Body: url.Values{"refresh_token": {"r"}},
		Header: http.Header{"Idempotency-Key": {"k"}}, // with which net/http would take it for repeatable
	})
	assert.Equal(t, providers.InDoubt, failure(t, err).Class)
	assert.EqualValues(t, 1, posts.Load())
}

func TestDecode(t *testing.T) {
	var v struct{ A int }
	res, err := call(t, serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"a":1}`) }), false)
	require.NoError(t, err)
	require.NoError(t, res.Decode(&v))
	assert.Equal(t, 1, v.A)

	for _, body := range []string{"", "<html>planted", `{"a":"planted"}`, `{"a":1} planted`} {
		for _, oneTime := range []bool{false, true} {
			res, err := call(t, serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }), oneTime)
			require.NoError(t, err)
			e := failure(t, res.Decode(&v))
			assert.Equal(t, providers.CodeBadResponse, e.Code)
			assert.Equal(t, 200, e.Status)
			assert.Equal(t, oneTime, e.Class == providers.InDoubt)
			assert.Equal(t, "why", errors.Unwrap(res.Bad(errors.New("why"))).Error())
		}
	}
}
