package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

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

// stage is what the page's demonstration plays on: two backends, each before a
// fake Redacto of its own. There is one, whoever looks at the page.
type stage struct {
	g       *gateway
	key     string                                 // the CMS API key of both sides
	urls    map[string]string                      // of their vendors
	limiter func() func(http.Handler) http.Handler // makes one with a fresh budget
	issuer  *authtest.Issuer                       // of session cookies
	auth    *middleware.Authenticator              // verifies them
	ended   middleware.DenyList
	own     *http.CrossOriginProtection // lets this page's own calls through

	changing sync.Mutex
	set      atomic.Pointer[set]
}

// newStage mounts the demonstration below /demo/. There is none beside a real
// vendor: the stage is nil then.
func (g *gateway) newStage(c *config) (*stage, error) {
	if !c.embedded || c.real() {
		return nil, nil
	}
	limited := config{limit: rate{100, 15 * time.Minute}, proxies: c.proxies}
	s := &stage{g: g, key: rand.Text(), urls: map[string]string{}, own: http.NewCrossOriginProtection()}
	s.limiter = func() func(http.Handler) http.Handler { return limited.limiter(nil) }
	var err error
	if s.issuer, err = authtest.New(); err != nil {
		return nil, err
	}
	s.auth, err = middleware.New(middleware.Config{
		Issuers: []middleware.Issuer{{
			Issuer: s.issuer.URL, Audiences: []string{s.issuer.Audience}, Algorithms: []string{"ES256"}, Keys: s.issuer.PublicKeys(),
		}},
		Extract: session, Optional: true, Revoked: s.ended.Revoked, Logger: g.log,
	})
	if err != nil {
		return nil, err
	}
	for _, name := range sideNames {
		err := g.embed(func(url string) (http.Handler, error) {
			s.urls[name] = url
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.set.Load().sides[name].vendor(w, r) }), nil
		})
		if err != nil {
			return nil, err
		}
	}
	if err := s.change(context.Background()); err != nil {
		return nil, err
	}
	g.closers = append(g.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return s.set.Load().cache.Close(ctx)
	})
	s.mount()
	return s, nil
}

func (s *stage) mount() {
	s.own.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers.WriteError(w, r, &providers.Error{Code: "cross_origin"})
	}))
	for path, h := range map[string]http.Handler{
		"POST /demo/begin":  s.own.Handler(http.HandlerFunc(s.begin)),
		"POST /demo/vendor": s.own.Handler(http.HandlerFunc(s.turn)),
		"GET /demo/state":   http.HandlerFunc(s.state),
		"GET /demo/events":  http.HandlerFunc(s.events),
		"GET /demo/attacker": document([]byte(attackerHTML), "default-src 'none'; script-src 'self'; connect-src 'self'; "+
			"base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox allow-scripts"),
	} {
		s.g.mux.Handle(path, h)
	}
	for _, name := range sideNames {
		s.g.mux.Handle("/demo/"+name+"/", http.StripPrefix("/demo/"+name, http.HandlerFunc(
			func(w http.ResponseWriter, r *http.Request) { s.set.Load().sides[name].ServeHTTP(w, r) })))
	}
}

// attackerHTML is another site's page: in its sandbox it has no origin.
const attackerHTML = `<!doctype html><title>Another site</title><script src="/page/page_attacker.js"></script>`

// session is the token in the session cookie.
func session(r *http.Request) []string {
	if c, err := r.Cookie(sessionCookie); err == nil {
		return []string{c.Value}
	}
	return nil
}

// begin starts an act: both sides are new, and the visitor signs in to both.
// This is the demonstration's stand-in for an application's own login.
func (s *stage) begin(w http.ResponseWriter, r *http.Request) {
	err := s.change(r.Context())
	var token string
	if err == nil {
		token, err = s.issuer.Token(map[string]any{"sub": demoUser})
	}
	if err != nil {
		handlers.WriteError(w, r, err)
		return
	}
	s.setSession(w, r, token, int(authtest.Lifetime.Seconds()))
	s.state(w, r)
}

func (s *stage) setSession(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: value, Path: "/demo/", MaxAge: maxAge,
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
}

// endSession ends the visitor's session and then does the rest of signing out.
func (s *stage) endSession(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v, ok := middleware.VerifiedFrom(r.Context()); ok && r.Method == http.MethodPost && s.own.Check(r) == nil {
			s.ended.Add(v)
			s.setSession(w, r, "", -1)
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
	s.state(w, r)
}

func (s *stage) state(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.set.Load().counts())
}

// events streams the state, each time that it has changed.
func (s *stage) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last string
	for !s.g.stopped.Load() {
		b, err := json.Marshal(s.set.Load().counts())
		if err != nil {
			return
		}
		if now := string(b); now != last {
			last = now
			_ = out.SetWriteDeadline(time.Now().Add(10 * time.Second)) // a page that stops reading holds nothing
			if _, err := fmt.Fprintf(w, "data: %s\n\n", now); err != nil || out.Flush() != nil {
				return
			}
			_ = out.SetWriteDeadline(time.Time{})
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// change puts a new set in place of the old one.
func (s *stage) change(ctx context.Context) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	next, err := s.build()
	if err != nil {
		return err
	}
	if old := s.set.Swap(next); old != nil {
		return old.cache.Close(ctx)
	}
	return nil
}

func (s *stage) build() (*set, error) {
	left, err1 := newSide(s.key)
	right, err2 := newSide(s.key)
	base, err3 := url.Parse(s.urls["sample"])
	p, err4 := redacto.New(redacto.Config{
		BaseURL: s.urls["kit"], Tenants: []string{demoTenant}, APIKey: s.key, HTTPClient: s.g.client,
	})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	bad := &sample{key: s.key, baseURL: base, client: s.g.client, log: s.g.log}
	mux := http.NewServeMux()
	mux.Handle("/", bad.handler())
	mux.Handle("/consent/notices", left.fake) // pages call the vendor's API themselves
	left.Handler = mux
	next := &set{sides: map[string]*side{"sample": left, "kit": right}}
	var err error
	right.Handler, next.cache, err = s.kit(p, s.urls["kit"])
	return next, err
}
