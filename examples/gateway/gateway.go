package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/rs/cors"
)

// gateway is everything that one configuration serves.
type gateway struct {
	http.Handler
	log     *slog.Logger
	mux     *http.ServeMux
	client  *http.Client // to the vendors
	auth    *middleware.Authenticator
	limited func(http.Handler) http.Handler
	served  []string
	hosts   []string           // names that callers on loopback may use
	options tokencache.Options // of all caches; without a Store this gateway is alone
	open    bool               // some route hands a real vendor's tokens to any caller
	demo    *demo              // nil if nothing is embedded

	demonstration *demonstration // the page's; nil beside a real vendor
	caches        []*tokencache.Cache
	named         map[string]*tokencache.Cache
	telemetry     *telemetry // nil without METRICS_ADDR
	closers       []func() error
	draining      atomic.Bool // /readyz is red, and calls are still served
	stopped       atomic.Bool // streams end
}

func newGateway(ctx context.Context, c config, log *slog.Logger) (*gateway, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	// Over MaxIdleConns net/http may close the connection of an answer without a
	// body that it has not delivered yet, so the bound is per host.
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 64
	g := &gateway{
		log:    log,
		mux:    http.NewServeMux(),
		client: &http.Client{Transport: transport},
		hosts:  c.hosts,
	}
	if c.embedded {
		g.demo = &demo{}
	}
	g.named = map[string]*tokencache.Cache{}
	var err error
	if g.telemetry, err = newTelemetry(&c); err == nil {
		err = g.share(ctx, &c)
	}
	if err == nil {
		err = g.authenticate(&c)
	}
	for _, mount := range []func(*config) error{g.mountRedacto, g.mountRedox, g.mountContactsManager, g.mountKudo, g.mountOBO, g.mountForward, g.mountOwn} {
		if err == nil {
			err = mount(&c)
		}
	}
	if err == nil {
		err = g.watch()
	}
	if err != nil {
		return nil, errors.Join(err, g.close())
	}
	g.Handler = g.mux
	if len(c.origins) > 0 {
		g.Handler = cors.New(cors.Options{
			AllowedOrigins:   c.origins,
			AllowCredentials: true,
			AllowedMethods:   []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"},
			AllowedHeaders:   []string{"Authorization", "Content-Type", "Cache-Control", "X-Api-Token"},
			ExposedHeaders:   []string{"Retry-After", "WWW-Authenticate", renewedHeader},
			MaxAge:           600,
		}).Handler(g.mux)
	}
	g.Handler = ownHosts(c.hosts, hurried(c.bodyTime, g.Handler))
	if c.tls != nil {
		g.Handler = strictTransport(g.Handler)
	}
	return g, nil
}

func (g *gateway) authenticate(c *config) (err error) {
	issuer := c.issuer
	if issuer == nil {
		if !c.embedded {
			return nil
		}
		demo, err := g.demoIssuer()
		if err != nil {
			return err
		}
		issuer = &demo
	}
	leeway := c.leeway
	if leeway == 0 {
		leeway = -1 // none
	}
	g.auth, err = middleware.New(middleware.Config{Issuers: []middleware.Issuer{*issuer}, Leeway: leeway, Logger: g.log, Observer: g.telemetry.observer("inbound")})
	return err
}

// cache is the token cache of one vendor.
func (g *gateway) cache(name string, p providers.Provider) (*tokencache.Cache, error) {
	cache, err := tokencache.New(p, g.cacheOptions(name))
	if err == nil {
		g.caches = append(g.caches, cache)
		g.named[name] = cache
	}
	return cache, err
}

// mountOwn adds what belongs to no vendor.
func (g *gateway) mountOwn(c *config) error {
	g.handle("/livez", "GET", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n")
	}))
	g.handle("/readyz", "GET", http.HandlerFunc(g.ready))
	if g.auth != nil {
		g.handle("/protected", "ANY", g.auth.Handler(http.HandlerFunc(protected)))
	}
	if g.demo != nil && g.demo.issuer != nil {
		g.handle("/demo/token", "POST", http.HandlerFunc(g.demo.demoToken))
	}
	g.mux.HandleFunc("/", notFound)
	g.demonstration = g.newDemonstration(c)
	return g.mountPage(g.demonstration)
}

// handle serves path and says so. Handlers of one method refuse others.
func (g *gateway) handle(path, method string, h http.Handler) {
	g.served = append(g.served, fmt.Sprintf("%-4s %s", method, strings.TrimSuffix(path, "{$}")))
	if method == "GET" {
		h = getOnly(h)
	}
	g.mux.Handle(path, h)
}

func getOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			handlers.WriteError(w, r, &providers.Error{Code: "method_not_allowed"})
			return
		}
		h.ServeHTTP(w, r)
	})
}

// optionalAuth verifies a caller who shows a token and lets others through.
func (g *gateway) optionalAuth(h http.Handler) http.Handler {
	if g.auth == nil {
		return h
	}
	verified := g.auth.Handler(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header["Authorization"]) == 0 {
			h.ServeHTTP(w, r)
			return
		}
		verified.ServeHTTP(w, r)
	})
}

func (g *gateway) ready(w http.ResponseWriter, _ *http.Request) {
	ready := !g.draining.Load() && !g.stopped.Load() && (g.auth == nil || g.auth.Ready())
	for _, c := range g.caches {
		ready = ready && c.Ready()
	}
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, http.StatusText(status)+"\n")
}

// stop ends the streams.
func (g *gateway) stop() { g.stopped.Store(true) }

// close ends the caches, which finish the calls under way, and then what they
// need. It has closeTime for the caches, whatever the callers' contexts say:
// a call that is cut off may have used up a user's only refresh token.
func (g *gateway) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	errs := make([]error, len(g.caches))
	var all sync.WaitGroup
	for i, c := range g.caches {
		all.Go(func() { errs[i] = c.Close(ctx) })
	}
	all.Wait()
	for _, c := range g.closers {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// protected answers with the caller's verified claims.
func protected(w http.ResponseWriter, r *http.Request) {
	v, _ := middleware.VerifiedFrom(r.Context())
	writeJSON(w, http.StatusOK, v.Claims)
}

func notFound(w http.ResponseWriter, r *http.Request) {
	handlers.WriteError(w, r, &providers.Error{Code: "not_found"})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
