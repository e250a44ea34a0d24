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

// set is what one scene plays on.
type set struct {
	sides map[string]*side
	cache *tokencache.Cache // the kit's
}

// side is one of the two backends, its vendor, and what is counted of both.
type side struct {
	http.Handler // the backend
	fake         *providertest.Fake

	signedIn func(*http.Request) bool

	unauthorized, turnedAway, refused, limited atomic.Int64

	waited  atomic.Int64 // nanoseconds, all callers together
	strayed atomic.Int64 // vendor requests that show our key and are not for our workspace
	renewed atomic.Int64 // pairs that were replaced by their own refresh tokens

	mu   sync.Mutex
	skew time.Duration
}

// counts is a side's part of the state.
type counts struct {
	TokenCalls   int   `json:"token_calls"`  // that the vendor's token endpoints got
	Unauthorized int64 `json:"unauthorized"` // 401s to a user who is signed in
	TurnedAway   int64 `json:"turned_away"`  // 401s to callers who are not, as it should be
	Killed       int   `json:"killed"`       // pairs that ended because the user got another one elsewhere
	WaitedMS     int64 `json:"waited_ms"`
	Refused      int64 `json:"refused"` // 400 and 403
	Limited      int64 `json:"limited"` // 429, of the rate limiter
	Strayed      int64 `json:"strayed"`
}

func (c counts) plus(o counts) counts {
	return counts{
		c.TokenCalls + o.TokenCalls, c.Unauthorized + o.Unauthorized, c.TurnedAway + o.TurnedAway, c.Killed + o.Killed,
		c.WaitedMS + o.WaitedMS, c.Refused + o.Refused, c.Limited + o.Limited, c.Strayed + o.Strayed,
	}
}

func newSide(s *stage) (*side, error) {
	fake, err := providertest.NewRedacto(providertest.RedactoConfig{Keys: map[string]string{demoTenant: s.key}})
	if err != nil {
		return nil, err
	}
	fake.SetLatency(20 * time.Millisecond)
	return &side{fake: fake, signedIn: s.signedIn}, nil
}

func (s *set) counts() map[string]counts {
	out := map[string]counts{}
	for name, side := range s.sides {
		renewed := int(side.renewed.Load())
		vendor := side.fake.Stats()
		out[name] = counts{
			TokenCalls: vendor.Generates + vendor.Refreshes, Killed: vendor.Killed - renewed,
			Unauthorized: side.unauthorized.Load(), TurnedAway: side.turnedAway.Load(),
			Refused: side.refused.Load(), Limited: side.limited.Load(), Strayed: side.strayed.Load(),
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
		if s.signedIn(r) {
			s.unauthorized.Add(1)
		} else {
			s.turnedAway.Add(1)
		}
	case http.StatusBadRequest, http.StatusForbidden:
		s.refused.Add(1)
	case http.StatusTooManyRequests:
		s.limited.Add(1)
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
	answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	s.fake.ServeHTTP(answer, r)
	if strings.HasSuffix(r.URL.Path, "/tokens/refresh") && answer.status == http.StatusOK {
		s.renewed.Add(1) // the vendor counts the old pair as ended before its time
	}
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
		s.fake.SetLatency(time.Second)
	default:
		return false
	}
	return true
}
