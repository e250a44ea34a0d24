package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
)

const (
	maxStages     = 16 // each has two listeners on loopback
	visitorCookie = "demo_visitor"
)

// demonstration is what the page plays on. Each visitor, which is a browser, has
// a stage. There are maxStages at most; the one that was not played on for the
// longest time makes room.
type demonstration struct {
	g       *gateway
	limiter func() func(http.Handler) http.Handler // makes one with a fresh budget
	own     *http.CrossOriginProtection            // lets this page's own calls through

	mu     sync.Mutex
	stages []*stage // the one that was played on last is the last
	ended  bool
}

// newDemonstration mounts the demonstration below /demo/. There is none beside a
// real vendor: it is nil then.
func (g *gateway) newDemonstration(c *config) *demonstration {
	if !c.embedded || c.real() {
		return nil
	}
	limited := config{limit: rate{100, 15 * time.Minute}, proxies: c.proxies}
	d := &demonstration{g: g, own: http.NewCrossOriginProtection()}
	d.limiter = func() func(http.Handler) http.Handler { return limited.limiter(nil, nil) }
	d.own.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers.WriteError(w, r, &providers.Error{Code: "cross_origin"})
	}))
	for path, h := range map[string]http.HandlerFunc{
		"POST /demo/begin":       d.begin,
		"POST /demo/run/{scene}": d.run,
		"POST /demo/vendor":      d.with(func(s *stage, w http.ResponseWriter, r *http.Request) { s.turn(w, r) }),
		"GET /demo/state":        d.state,
		"GET /demo/events":       d.with(d.events),
	} {
		g.mux.Handle(path, d.own.Handler(h))
	}
	for _, name := range sideNames {
		play := d.with(func(s *stage, w http.ResponseWriter, r *http.Request) { s.set.Load().sides[name].ServeHTTP(w, r) })
		g.mux.Handle("/demo/"+name+"/", http.StripPrefix("/demo/"+name, play))
	}
	d.mountAttacker()
	g.closers = append(g.closers, d.close)
	return d
}

// mountAttacker adds another site's page, which in its sandbox has no origin. The
// browser sends it no cookie, so that its calls name the stage by its tag.
func (d *demonstration) mountAttacker() {
	const page = `<!doctype html><title>Another site</title><script src="/page/page_attacker.js"></script>`
	d.g.mux.Handle("GET /demo/attacker", document([]byte(page), "default-src 'none'; script-src 'self'; connect-src 'self'; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox allow-scripts"))
	d.g.mux.HandleFunc("/demo/attacked/{tag}/{side}/", func(w http.ResponseWriter, r *http.Request) {
		tag, name := r.PathValue("tag"), r.PathValue("side")
		s := d.find(func(s *stage) bool { return s.tag == tag })
		if s == nil || !slices.Contains(sideNames, name) {
			notFound(w, r)
			return
		}
		http.StripPrefix("/demo/attacked/"+tag+"/"+name, s.set.Load().sides[name]).ServeHTTP(w, r)
	})
}

func (d *demonstration) find(is func(*stage) bool) *stage {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.IndexFunc(d.stages, is); i >= 0 {
		return d.stages[i]
	}
	return nil
}

// stage is the visitor's; nil before the first scene, and after others needed
// the room.
func (d *demonstration) stage(r *http.Request) *stage {
	c, err := r.Cookie(visitorCookie)
	if err != nil {
		return nil
	}
	return d.find(func(s *stage) bool { return s.id == c.Value })
}

// with serves visitors who have a stage.
func (d *demonstration) with(h func(*stage, http.ResponseWriter, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s := d.stage(r)
		if s == nil {
			handlers.WriteError(w, r, &providers.Error{Code: providers.CodeNotSignedIn, Description: "No scene has begun: POST /demo/begin begins one."})
			return
		}
		h(s, w, r)
	}
}

// enter returns the visitor's stage, and makes one if there is none.
func (d *demonstration) enter(w http.ResponseWriter, r *http.Request) (*stage, error) {
	s := d.stage(r)
	if s == nil {
		var err error
		if s, err = d.newStage(); err != nil {
			return nil, err
		}
		setCookie(w, r, visitorCookie, s.id, 0)
	}
	d.mu.Lock()
	if d.ended {
		d.mu.Unlock()
		return nil, errors.Join(errors.New("the gateway ends"), s.close())
	}
	d.stages = append(slices.DeleteFunc(d.stages, func(other *stage) bool { return other == s }), s)
	var oldest *stage
	if len(d.stages) > maxStages {
		oldest, d.stages = d.stages[0], d.stages[1:]
	}
	d.mu.Unlock()
	if oldest != nil {
		d.warn("closing a visitor's stage", oldest.close())
	}
	return s, nil
}

func (d *demonstration) warn(what string, err error) {
	if err != nil {
		d.g.log.Warn("demonstration: "+what, "error", err)
	}
}

func (d *demonstration) close() error {
	d.mu.Lock()
	stages := d.stages
	d.stages, d.ended = nil, true
	d.mu.Unlock()
	errs := make([]error, len(stages))
	var all sync.WaitGroup
	for i, s := range stages {
		all.Go(func() { errs[i] = s.close() })
	}
	all.Wait()
	return errors.Join(errs...)
}

// begin begins a scene: both sides are new, and the visitor signs in to both.
func (d *demonstration) begin(w http.ResponseWriter, r *http.Request) {
	s, err := d.enter(w, r)
	if err == nil {
		err = s.begin(w, r)
	}
	if err != nil {
		d.warn("a scene cannot begin", err)
		handlers.WriteError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, s.state())
}

// run plays a scene that has one side, and streams its steps as lines of JSON.
func (d *demonstration) run(w http.ResponseWriter, r *http.Request) {
	play := soloScenes[r.PathValue("scene")]
	if play == nil {
		notFound(w, r)
		return
	}
	s, err := d.enter(w, r)
	if err != nil {
		d.warn("a scene cannot begin", err)
		handlers.WriteError(w, r, err)
		return
	}
	if !s.solo.TryLock() {
		handlers.WriteError(w, r, &providers.Error{Code: "rate_limited", Description: "A scene is under way in another tab.", RetryAfter: time.Second})
		return
	}
	defer s.solo.Unlock()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	ctx, cancel := context.WithTimeout(r.Context(), 30*time.Second)
	defer cancel()
	out := http.NewResponseController(w)
	tell := func(line step) {
		_ = json.NewEncoder(w).Encode(line)
		_ = out.Flush()
	}
	if err := play(ctx, d.g.log, tell); err != nil && r.Context().Err() == nil {
		d.warn("a scene broke off", err)
		tell(step{Failed: "The scene broke off. The gateway’s log says why."})
	}
}

// state is what was counted for this visitor.
func (d *demonstration) state(w http.ResponseWriter, r *http.Request) {
	if s := d.stage(r); s != nil {
		writeJSON(w, http.StatusOK, s.state())
		return
	}
	none := map[string]counts{"sample": {}, "kit": {}}
	writeJSON(w, http.StatusOK, state{Scene: none, Total: none})
}

// events streams the state, each time that it has changed.
func (d *demonstration) events(s *stage, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last string
	for !d.g.stopped.Load() {
		b, err := json.Marshal(s.state())
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

// setCookie sets a cookie that scripts cannot read. maxAge is as in http.Cookie.
func setCookie(w http.ResponseWriter, r *http.Request, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/demo/", MaxAge: maxAge,
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
}

// listen serves a handler, which make is told the address of, on a free loopback
// port until end is called.
func listen(make func(url string) (http.Handler, error)) (end func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h, err := make("http://" + l.Addr().String())
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(l) }()
	return srv.Close, nil
}

// newTag is not a secret: its holder can make calls to a stage, as from another
// site.
func newTag() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	return fmt.Sprintf("%x", b)
}
