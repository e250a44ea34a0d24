package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/contactsmanager"
	"github.com/bearerkit/bearerkit/providers/kudo"
	"github.com/bearerkit/bearerkit/providers/redacto"
	"github.com/bearerkit/bearerkit/providers/redox"
	"github.com/bearerkit/bearerkit/tokencache"
)

// Each mount function adds one vendor's routes, real or embedded, or none.

func (g *gateway) mountRedacto(c *config) error {
	var p *redacto.Provider
	var base string
	var err error
	switch {
	case c.redacto != nil:
		names, _ := tenantKeys(c.redacto.tenants.value())
		if len(names) == 0 {
			return errors.New("REDACTO_TENANTS: names no tenant")
		}
		base = c.redacto.baseURL
		p, err = redacto.New(redacto.Config{
			BaseURL: base, Prefix: c.redacto.prefix, Tenants: names, ExpiresInDays: c.redacto.days,
			APIKeyFunc: c.redacto.apiKey, HTTPClient: g.client,
		})
		g.open = g.open || c.redacto.anyone
	case c.embedded:
		p, base, err = g.embeddedRedacto()
	default:
		return nil
	}
	if err != nil {
		return err
	}
	cache, err := g.cache("redacto", p)
	if err != nil {
		return err
	}
	var window time.Duration
	anyone := c.redacto == nil || c.redacto.anyone
	if c.redacto != nil {
		window = c.redacto.expired
	}
	pages, err := tokencache.NewHandedOut(cache, window)
	if err != nil {
		return err
	}
	cfg := handlers.Config{Provider: pages, Wire: p, Authorize: handlers.DangerouslyAllowAnyCaller, Logger: g.log}
	refresh, err1 := handlers.Refresh(cfg) // the refresh token is the caller's credential
	cfg.Authorize = byBearer(anyone)
	generate, err2 := handlers.Generate(cfg)
	proxy, err3 := handlers.Proxy(handlers.ProxyConfig{
		Target: base, Allow: []string{"/consent/"}, Authorize: g.pageOrCaller(pages), Logger: g.log,
		Observer:  g.telemetry.observer("redacto"),
		Transport: &middleware.Transport{Base: g.client.Transport, Observer: g.telemetry.observer("redacto"), Source: redactoSource(p, cache)},
	})
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	g.handle("/api/consent/token", "POST", g.limited(g.ifBearer(anyone, generate)))
	g.handle("/api/consent/refresh-token", "POST", g.limited(refresh))
	if g.auth != nil {
		if err := g.mountUsers(p); err != nil {
			return err
		}
		g.handle("/consent/", "ANY", g.orPages(pages, withoutTokens(unhurried(proxy))))
	}
	return nil
}

// apiKey is the key that REDACTO_TENANTS gives a tenant, or else CMS_API_KEY.
func (c *redactoConfig) apiKey(_ context.Context, tenant string) (string, error) {
	_, keys := tenantKeys(c.tenants.value())
	key := keys[tenant]
	if key == "" {
		key = c.key.value()
	}
	if key == "" {
		return "", fmt.Errorf("no API key for tenant %s", tenant)
	}
	return key, nil
}

// withoutTokens keeps callers away from the endpoints that issue tokens, and from
// those of user management: the proxy does not check which person such a call
// names; the routes of mountUsers do.
func withoutTokens(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, segment := range strings.Split(r.URL.Path, "/") {
			segment, _, _ = strings.Cut(segment, ";") // some servers cut parameters off, or blanks
			segment = strings.TrimSpace(segment)
			if strings.EqualFold(segment, "tokens") || strings.EqualFold(segment, "consent-ledger") || strings.EqualFold(segment, "consent-users") {
				notFound(w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (g *gateway) mountRedox(c *config) error {
	var p *redox.Provider
	var base string
	var err error
	header := http.Header{}
	switch {
	case c.redox != nil:
		base = c.redox.baseURL
		p, err = redox.New(redox.Config{
			BaseURL: base, ClientID: c.redox.clientID, Key: c.redox.key, Next: c.redox.next,
			Scopes: c.redox.scopes, HTTPClient: g.client,
		})
		header["Redox-Source-Id"] = nil
		if c.redox.sourceID != "" {
			header.Set("Redox-Source-Id", c.redox.sourceID)
		}
	case c.embedded:
		p, base, err = g.embeddedRedox()
	default:
		return nil
	}
	if err != nil {
		return err
	}
	keys, err := handlers.JWKS(p, g.log)
	if err != nil {
		return err
	}
	g.handle("/.well-known/jwks.json", "GET", keys)
	if g.auth == nil {
		return nil
	}
	cache, err := g.cache("redox", p)
	if err != nil {
		return err
	}
	proxy, err := handlers.Proxy(handlers.ProxyConfig{
		Target: base, Allow: []string{"/fhir/", "/endpoint"}, Header: header,
		Authorize: g.caller, Logger: g.log, Observer: g.telemetry.observer("redox"),
		Transport: &middleware.Transport{
			Observer: g.telemetry.observer("redox"),
			Base:     g.client.Transport, Source: middleware.Fixed(cache.Source(providers.Request{})),
		},
	})
	if err != nil {
		return err
	}
	g.handle("/fhir/", "ANY", g.auth.Handler(unhurried(proxy)))
	g.handle("/endpoint", "ANY", g.auth.Handler(unhurried(proxy)))
	return nil
}

func (g *gateway) mountContactsManager(c *config) error {
	var p *contactsmanager.Provider
	var err error
	switch {
	case c.cm != nil:
		p, err = contactsmanager.New(contactsmanager.Config{
			OrgID: c.cm.orgID, Profile: c.cm.profile, TTL: c.cm.ttl, Logger: g.log,
			Credentials: func(context.Context) (string, string, error) { return c.cm.key.value(), c.cm.secret.value(), nil },
		})
		g.open = g.open || c.cm.anyone
	case c.embedded:
		p, err = g.embeddedContactsManager()
	default:
		return nil
	}
	if err != nil {
		return err
	}
	anyone := c.cm == nil || c.cm.anyone
	authorize := handlers.SubjectFrom(middleware.Subject)
	if anyone {
		authorize = subjectOr(middleware.Subject)
	}
	generate, err := handlers.Generate(handlers.Config{Provider: p, Wire: p, Authorize: authorize, Logger: g.log})
	if err != nil {
		return err
	}
	if anyone {
		generate = g.optionalAuth(generate)
	}
	g.handle("/generate-token", "POST", g.limited(g.ifBearer(anyone, generate)))
	return g.mountRenewed(c, p)
}

func (g *gateway) mountKudo(c *config) error {
	var p *kudo.Provider
	var err error
	switch {
	case c.kudo != nil:
		p, err = kudo.New(kudo.Config{
			BaseURL: c.kudo.baseURL, Server: c.kudo.server, HTTPClient: g.client,
			Credentials: func(context.Context) (string, string, error) { return c.kudo.key.value(), c.kudo.auth.value(), nil },
		})
		g.open = g.open || c.kudo.anyone
	case c.embedded:
		p, err = g.embeddedKudo()
	default:
		return nil
	}
	if err != nil {
		return err
	}
	cache, err := g.cache("kudo", p)
	if err != nil {
		return err
	}
	anyone := c.kudo == nil || c.kudo.anyone
	cfg := handlers.Config{Provider: cache, Wire: p, Authorize: byBearer(anyone), Logger: g.log}
	generate, err1 := handlers.Generate(cfg)
	verify, err2 := handlers.Verify(handlers.Config{Provider: p, Authorize: handlers.DangerouslyAllowAnyCaller, Logger: g.log})
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	g.handle("/kudo/generate", "POST", g.limited(g.ifBearer(anyone, generate)))
	g.handle("/kudo/verify", "GET", g.limited(verify)) // each answer may cost a call of the vendor
	if c.kudo == nil || c.kudo.editor == "" {
		return nil
	}
	cfg.Target = func(token string) (string, error) { return p.EditorURL(c.kudo.editor, token) }
	open, err := handlers.Redirect(cfg)
	if err != nil {
		return err
	}
	g.handle("/kudo/open", "ANY", g.limited(g.ifBearer(anyone, open)))
	return nil
}

// byBearer lets anyone name anybody, or else only the verified caller himself.
func byBearer(anyone bool) handlers.Authorize {
	if anyone {
		return handlers.DangerouslyAllowAnyCaller
	}
	return handlers.SubjectFrom(middleware.Subject)
}

// ifBearer demands a verified caller, unless anyone may call.
func (g *gateway) ifBearer(anyone bool, h http.Handler) http.Handler {
	if anyone {
		return h
	}
	return g.auth.Handler(h)
}
