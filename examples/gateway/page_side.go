package main

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/providers/providertest"
	"github.com/bearerkit/bearerkit/tokencache"
)

var sideNames = []string{"sample", "kit"}

// set is what one act of the demonstration plays on.
type set struct {
	sides map[string]*side
	cache *tokencache.Cache // the kit's
}

// side is one of the two backends, its vendor, and what is counted of both.
type side struct {
	http.Handler // the backend
	fake         *providertest.Fake

	unauthorized, refused atomic.Int64
	waited                atomic.Int64 // nanoseconds, all callers together
	strayed               atomic.Int64 // vendor requests that show our key and are not for our workspace

	mu   sync.Mutex
	skew time.Duration
}

// counts is a side's part of the state.
type counts struct {
	VendorCalls  int   `json:"vendor_calls"` // of its token endpoints
	Unauthorized int64 `json:"unauthorized"` // 401s that reached the page
	Killed       int   `json:"killed"`       // tokens that the vendor ended early
	WaitedMS     int64 `json:"waited_ms"`
	Refused      int64 `json:"refused"` // 400, 403 and 429 to the page
	Strayed      int64 `json:"strayed"`
}

func newSide(key string) (*side, error) {
	fake, err := providertest.NewRedacto(providertest.RedactoConfig{Keys: map[string]string{demoTenant: key}})
	if err != nil {
		return nil, err
	}
	fake.SetLatency(20 * time.Millisecond)
	return &side{fake: fake}, nil
}

func (s *set) counts() map[string]counts {
	out := map[string]counts{}
	for name, side := range s.sides {
		vendor := side.fake.Stats()
		out[name] = counts{
			VendorCalls: vendor.Generates + vendor.Refreshes, Killed: vendor.Killed,
			Unauthorized: side.unauthorized.Load(), Refused: side.refused.Load(), Strayed: side.strayed.Load(),
			WaitedMS: time.Duration(side.waited.Load()).Milliseconds(),
		}
	}
	return out
}

// ServeHTTP is the backend, as pages see it.
func (s *side) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	answer := &statusWriter{ResponseWriter: w}
	s.Handler.ServeHTTP(answer, r)
	s.waited.Add(int64(time.Since(began)))
	switch answer.status {
	case http.StatusUnauthorized:
		s.unauthorized.Add(1)
	case http.StatusBadRequest, http.StatusForbidden, http.StatusTooManyRequests:
		s.refused.Add(1)
	}
}

// statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// vendor is the vendor, as backends see it.
func (s *side) vendor(w http.ResponseWriter, r *http.Request) {
	organisation, workspace, _ := strings.Cut(demoTenant, ":")
	ours := "/consent/public/organisations/" + organisation + "/workspaces/" + workspace + "/tokens/"
	if r.Header.Get("X-Cms-Api-Key") != "" && !strings.HasPrefix(r.URL.Path, ours) {
		s.strayed.Add(1)
	}
	s.fake.ServeHTTP(w, r)
}

// turn turns a switch of the vendor; false means that there is no such one.
func (s *side) turn(do string) bool {
	switch do {
	case "expire":
		// An hour passes at the vendor: every access token is over, no
		// refresh token is.
		s.mu.Lock()
		defer s.mu.Unlock()
		s.skew += time.Hour + time.Minute
		s.fake.SetSkew(s.skew)
	case "down":
		s.fake.SetFault(providertest.Fault{Path: "/tokens/", Status: http.StatusServiceUnavailable, RetryAfter: "2"})
	case "up":
		s.fake.SetFault(providertest.Fault{})
	case "slow":
		s.fake.SetLatency(400 * time.Millisecond)
	default:
		return false
	}
	return true
}
