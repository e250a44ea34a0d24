package providertest

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Fake is an in-process vendor. Any server can serve it: httptest, an
// http.Server over net.Pipe inside testing/synctest, or a ServeMux.
type Fake struct {
	mux *http.ServeMux

	mu       sync.Mutex
	latency  time.Duration
	fault    Fault
	met      int // how many requests the fault has met
	skew     time.Duration
	lifetime struct{ access, refresh time.Duration }
	stats    Stats
	inFlight int
	book     book
	revoked  func(now time.Time) int // what RevokeAll does beside the book; may be nil
}

// Fault is a failure that a request meets, instead of the vendor's answer or
// after the vendor's work. If several are set, Hang counts before Drop, and
// Drop before Status and Body. The zero value is no fault.
type Fault struct {
	// Path limits the fault to requests whose path contains it.
	Path string
	// Times is how many requests meet the fault; 0 means all.
	Times int
	// AfterWork lets the vendor do its work first, so that only its answer is
	// lost.
	AfterWork bool
	// Hang holds the request until the caller leaves.
	Hang bool
	// Drop closes the connection without an answer. It needs a real
	// http.Server: an httptest.ResponseRecorder has no connection to close.
	Drop bool
	// Status is the answer's status; 0 with a Body is 200.
	Status int
	// RetryAfter is the answer's Retry-After: seconds or an HTTP-date.
	RetryAfter string
	// Body is the answer's body, text/html if it starts with "<" and
	// application/json otherwise.
	Body string
}

// Stats counts what a [Fake] saw.
type Stats struct {
	// Generates, Refreshes, Verifies and APICalls count the requests of each
	// kind, including those that were refused or met a fault.
	Generates int `json:"generates"`
	Refreshes int `json:"refreshes"`
	Verifies  int `json:"verifies"`
	APICalls  int `json:"api_calls"`
	// Issued counts the tokens issued, and Killed those that ended early. A
	// pair counts as one.
	Issued int `json:"issued"`
	Killed int `json:"killed"`
	// Refused counts generates and refreshes that broke a rule.
	Refused int `json:"refused"`
	// Unauthorized counts API calls and verifies with a token that is not
	// valid. Their callers get 401, or 403 from Kudo.
	Unauthorized int `json:"unauthorized"`
	// Faults counts the requests that met the fault.
	Faults int `json:"faults"`
	// Peak is the highest number of generates and refreshes at the same time.
	Peak int `json:"peak"`
}

// SetLatency makes every request wait for d before the vendor handles it.
func (f *Fake) SetLatency(d time.Duration) { f.set(func() { f.latency = d }) }

// SetFault sets the fault. The zero Fault removes it.
func (f *Fake) SetFault(fault Fault) { f.set(func() { f.fault, f.met = fault, 0 }) }

// SetLifetimes sets how long tokens that are issued from now on live; 0 leaves
// a lifetime as it is. Only Redacto has refresh tokens. ContactsManager's
// tokens carry their end, so it does not change them.
func (f *Fake) SetLifetimes(access, refresh time.Duration) {
	f.set(func() {
		if access != 0 {
			f.lifetime.access = access
		}
		if refresh != 0 {
			f.lifetime.refresh = refresh
		}
	})
}

// SetSkew sets the vendor's clock ahead of ours by d. Its Date header shows it.
func (f *Fake) SetSkew(d time.Duration) { f.set(func() { f.skew = d }) }

// RevokeAll ends every token now and returns how many it ended. The fake of
// ContactsManager issues no tokens: it refuses those that it has seen and all
// that were signed in an earlier second, and returns how many it had seen.
func (f *Fake) RevokeAll() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.book.clear(f.now())
	if f.revoked != nil {
		n += f.revoked(f.now())
	}
	f.stats.Killed += n
	return n
}

// Stats returns the counts since the start or the last ResetStats.
func (f *Fake) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stats
}

// ResetStats sets every count to zero.
func (f *Fake) ResetStats() { f.set(func() { f.stats = Stats{} }) }

// ServeHTTP implements http.Handler.
func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) { f.mux.ServeHTTP(w, r) }

func (f *Fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// now is the vendor's clock. f.mu must be held.
func (f *Fake) now() time.Time { return time.Now().Add(f.skew) }

func newFake(access, refresh time.Duration) *Fake {
	f := &Fake{mux: http.NewServeMux(), book: newBook()}
	f.lifetime.access, f.lifetime.refresh = access, refresh
	return f
}

// route is a kind of endpoint and where it is counted.
type route struct {
	count func(*Stats) *int
	token bool // hands out tokens
}

var (
	generates = route{func(s *Stats) *int { return &s.Generates }, true}
	refreshes = route{func(s *Stats) *int { return &s.Refreshes }, true}
	verifies  = route{func(s *Stats) *int { return &s.Verifies }, false}
	apiCalls  = route{func(s *Stats) *int { return &s.APICalls }, false}
)

// handle mounts h with the switches and the counters.
func (f *Fake) handle(pattern string, rt route, h http.HandlerFunc) {
	f.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if !f.serve(w, r, rt, h) {
			drop(w)
		}
	})
}

// serve counts a call and answers it. It returns false if the connection is to
// be dropped. The call is no longer counted as in flight then, because its
// caller may see the drop and call again before this goroutine goes on.
func (f *Fake) serve(w http.ResponseWriter, r *http.Request, rt route, h http.HandlerFunc) bool {
	fault, latency := f.arrive(r, rt)
	defer f.leave(rt)
	if !pause(r.Context(), latency) {
		return false
	}
	f.set(func() { w.Header().Set("Date", f.now().UTC().Format(http.TimeFormat)) })
	if fault == nil {
		h(w, r)
		return true
	}
	if fault.AfterWork {
		h(lost{http.Header{}}, r)
	}
	return fault.answer(w, r)
}

func (f *Fake) arrive(r *http.Request, rt route) (*Fault, time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*rt.count(&f.stats)++
	if rt.token {
		f.inFlight++
		f.stats.Peak = max(f.stats.Peak, f.inFlight)
	}
	fault := f.fault
	active := fault.Hang || fault.Drop || fault.Status != 0 || fault.Body != ""
	if !active || !strings.Contains(r.URL.Path, fault.Path) || fault.Times > 0 && f.met >= fault.Times {
		return nil, f.latency
	}
	f.met++
	f.stats.Faults++
	return &fault, f.latency
}

func (f *Fake) leave(rt route) {
	if rt.token {
		f.set(func() { f.inFlight-- })
	}
}

// pause waits for d. It returns false if the caller left first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// answer returns false if the connection is to be dropped.
func (t *Fault) answer(w http.ResponseWriter, r *http.Request) bool {
	// net/http notices that a caller left only after the body has been read.
	_, _ = io.Copy(io.Discard, r.Body)
	switch {
	case t.Hang:
		<-r.Context().Done()
		return false
	case t.Drop:
		return false
	}
	contentType := "application/json"
	if strings.HasPrefix(t.Body, "<") {
		contentType = "text/html"
	}
	w.Header().Set("Content-Type", contentType)
	if t.RetryAfter != "" {
		w.Header().Set("Retry-After", t.RetryAfter)
	}
	w.WriteHeader(max(t.Status, http.StatusOK))
	_, _ = io.WriteString(w, t.Body)
	return true
}

// drop ends the connection, or over HTTP/2 the stream, without an answer.
func drop(w http.ResponseWriter) {
	c := http.NewResponseController(w)
	conn, _, err := c.Hijack()
	if err != nil {
		_ = c.SetWriteDeadline(time.Unix(1, 0))
		return
	}
	_ = conn.Close()
}

// lost is an http.ResponseWriter whose answer is dropped.
type lost struct{ header http.Header }

func (l lost) Header() http.Header         { return l.header }
func (l lost) Write(b []byte) (int, error) { return len(b), nil }
func (l lost) WriteHeader(int)             {}
