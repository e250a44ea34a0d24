package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/redacto"
)

const (
	demoUser      = "ada"
	sessionCookie = "demo_session"
)

// stage is what one visitor's scenes play on: two backends, each before a
// separate fake Redacto.
type stage struct {
	id      string // the value of the visitor's cookie
	tag     string // names the stage to calls that have no cookie
	d       *demonstration
	log     *slog.Logger
	limiter func() func(http.Handler) http.Handler
	key     string                    // the CMS API key of both sides
	urls    map[string]string         // of their vendors
	closers []func() error            // of the vendors' listeners
	issuer  *authtest.Issuer          // of session cookies
	auth    *middleware.Authenticator // verifies them
	ended   middleware.DenyList
	solo    sync.Mutex // held while a scene with one side runs

	set atomic.Pointer[set] // the current scene's

	mu     sync.Mutex // guards what follows, and who changes set
	scenes int
	past   map[string]counts // of earlier scenes together
}

// state is what /demo/state answers.
type state struct {
	Stage  string            `json:"stage"`
	Scenes int               `json:"scenes"` // that were begun
	Scene  map[string]counts `json:"scene"`  // the last one's
	Total  map[string]counts `json:"total"`  // of all scenes of this visitor
}

func (d *demonstration) newStage() (*stage, error) {
	s := &stage{
		id: rand.Text(), tag: newTag(), d: d, log: d.g.log, limiter: d.limiter, key: rand.Text(),
		urls: map[string]string{}, past: map[string]counts{},
	}
	var err error
	if s.issuer, err = authtest.New("ES256"); err != nil {
		return nil, err
	}
	s.auth, err = middleware.New(middleware.Config{
		Issuers: []middleware.Issuer{{
			Issuer: s.issuer.URL, Audiences: []string{s.issuer.Audience}, Algorithms: []string{"ES256"}, Keys: s.issuer.PublicKeys(),
		}},
		Extract: session, Optional: true, Revoked: s.ended.Revoked, Logger: s.log,
	})
	if err != nil {
		return nil, err
	}
	for _, name := range sideNames {
		end, err := listen(func(url string) (http.Handler, error) {
			s.urls[name] = url
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.set.Load().sides[name].vendor(w, r) }), nil
		})
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.closers = append(s.closers, end)
	}
	first, err := s.build()
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.set.Store(first)
	return s, nil
}

// close ends the stage and what it listens on.
func (s *stage) close() error {
	var errs []error
	if set := s.set.Load(); set != nil {
		errs = append(errs, set.close())
	}
	for _, end := range s.closers {
		errs = append(errs, end())
	}
	return errors.Join(errs...)
}

func (s *stage) state() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	scene := s.set.Load().counts()
	total := maps.Clone(s.past)
	for name, n := range scene {
		total[name] = total[name].plus(n)
	}
	return state{s.tag, s.scenes, scene, total}
}

// begin puts a new set in place of the old one, and signs the visitor in: the
// stand-in for an application's own login.
func (s *stage) begin(w http.ResponseWriter, r *http.Request) error {
	token, err := s.issuer.Token(map[string]any{"sub": demoUser})
	if err != nil {
		return err
	}
	next, err := s.build()
	if err != nil {
		return err
	}
	s.mu.Lock()
	old := s.set.Swap(next)
	for name, n := range old.counts() {
		s.past[name] = s.past[name].plus(n)
	}
	s.scenes++
	s.mu.Unlock()
	s.d.warn("ending a scene", old.close())
	setCookie(w, r, sessionCookie, token, int(authtest.Lifetime.Seconds()))
	return nil
}

func (s *stage) build() (*set, error) {
	left, err1 := newSide(s)
	right, err2 := newSide(s)
	base, err3 := url.Parse(s.urls["sample"])
	p, err4 := redacto.New(redacto.Config{
		BaseURL: s.urls["kit"], Tenants: []string{demoTenant}, APIKey: s.key, HTTPClient: s.d.g.client,
	})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	bad := &sample{key: s.key, baseURL: base, client: s.d.g.client, log: s.log}
	mux := http.NewServeMux()
	mux.Handle("/", bad.handler())
	mux.Handle("/consent/notices", left.fake) // pages call the vendor's API themselves
	left.Handler = mux
	next := &set{sides: map[string]*side{"sample": left, "kit": right}}
	var err error
	right.Handler, next.cache, err = s.kit(p, s.urls["kit"])
	return next, err
}

// session is the token in the session cookie.
func session(r *http.Request) []string {
	if c, err := r.Cookie(sessionCookie); err == nil {
		return []string{c.Value}
	}
	return nil
}

// signedIn reports whether r has a session that has not ended.
func (s *stage) signedIn(r *http.Request) bool {
	v, err := s.auth.Check(r)
	return err == nil && v != nil
}

// endSession ends the visitor's session and then does the rest of signing out.
func (s *stage) endSession(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v, ok := middleware.VerifiedFrom(r.Context()); ok && r.Method == http.MethodPost && s.d.own.Check(r) == nil {
			s.ended.Add(v)
			setCookie(w, r, sessionCookie, "", -1)
		}
		next.ServeHTTP(w, r)
	})
}

// turn turns one of the vendor's switches, on one side.
func (s *stage) turn(w http.ResponseWriter, r *http.Request) {
	var body struct{ Side, Do string }
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<10)).Decode(&body)
	side := s.set.Load().sides[body.Side]
	if err != nil || side == nil || !side.turn(body.Do) {
		handlers.WriteError(w, r, &providers.Error{Code: providers.CodeInvalidField, Description: `The body must be {"side": …, "do": …}.`})
		return
	}
	writeJSON(w, http.StatusOK, s.state())
}

// close ends what the set's cache has under way.
func (s *set) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	return s.cache.Close(ctx)
}
