package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
)

// oboConfig is an API that is called on behalf of the caller, and the server
// that exchanges the caller's token for one of that API (RFC 8693).
type oboConfig struct {
	tokenURL, clientID, target string
	audience, scopes           []string
	secret                     *secret
	key                        oauth.Key
	assertionFile              string
	assertionAudience          string
	plain                      []string // PLAIN_HTTP_HOSTS
}

func (e *env) obo() *oboConfig {
	if !e.group("calling on behalf of the caller", []string{"OBO_TOKEN_URL", "OBO_CLIENT_ID", "OBO_AUDIENCE", "OBO_TARGET"},
		[]string{"OBO_CLIENT_SECRET", "OBO_KEY_ID", "OBO_PRIVATE_KEY_FILE", "OBO_ASSERTION_FILE", "OBO_ASSERTION_AUDIENCE", "OBO_SCOPE"}) {
		return nil
	}
	c := &oboConfig{
		tokenURL: e.get("OBO_TOKEN_URL"), clientID: e.get("OBO_CLIENT_ID"), target: e.get("OBO_TARGET"),
		audience: e.list("OBO_AUDIENCE", ""), scopes: strings.Fields(e.get("OBO_SCOPE")),
		secret: e.secret("OBO_CLIENT_SECRET"), assertionFile: e.get("OBO_ASSERTION_FILE"), assertionAudience: e.get("OBO_ASSERTION_AUDIENCE"),
		plain: e.list("PLAIN_HTTP_HOSTS", ""),
	}
	if e.isSet("OBO_PRIVATE_KEY") {
		c.key = oauth.Key{ID: e.get("OBO_KEY_ID"), PEM: e.file("OBO_PRIVATE_KEY_FILE")}
	}
	return c
}

// authenticates reports whether the gateway has a credential for the token
// endpoint.
func (c *oboConfig) authenticates() bool {
	return c.secret != nil || len(c.key.PEM) > 0 || c.assertionFile != ""
}

// provider exchanges the tokens of issuer.
func (c *oboConfig) provider(issuer string, g *gateway) (*oauth.Provider, error) {
	cfg := oauth.Config{
		TokenURL: c.tokenURL, ClientID: c.clientID, Grant: "token_exchange", Issuers: []string{issuer},
		Audience: c.audience, Scopes: c.scopes, Key: c.key, AssertionFile: c.assertionFile, AssertionAudience: c.assertionAudience,
		DangerouslyPlainHTTP: c.plain, HTTPClient: g.client, Logger: g.log,
	}
	if c.secret != nil {
		cfg.SecretFunc = func(context.Context) (string, error) { return c.secret.value(), nil }
	}
	return oauth.New(cfg)
}

// mountOBO serves /obo/: a proxy to the target that exchanges the caller's
// token. Calls of one caller share one exchange.
func (g *gateway) mountOBO(c *config) error {
	obo, issuer := c.obo, ""
	switch {
	case g.auth == nil:
		if obo != nil {
			return errors.New("OBO_TOKEN_URL: needs AUTH_ISSUER and AUTH_AUDIENCE")
		}
		return nil
	case obo != nil && c.issuer != nil:
		issuer = c.issuer.Issuer
	case c.embedded && g.demo.issuer != nil:
		var err error
		if obo, err = g.embeddedOBO(); err != nil {
			return err
		}
		issuer = g.demo.issuer.URL
	default:
		return nil
	}
	p, err := obo.provider(issuer, g)
	if err != nil {
		return err
	}
	cache, err := g.cache("obo", p)
	if err != nil {
		return err
	}
	proxy, err := handlers.Proxy(handlers.ProxyConfig{
		Target: obo.target, DangerouslyPlainHTTP: obo.plain, Allow: []string{"/"}, Authorize: g.caller, Logger: g.log, Observer: g.telemetry.observer("obo"),
		Transport: &middleware.Transport{Base: g.client.Transport, DangerouslyPlainHTTP: obo.plain, Observer: g.telemetry.observer("obo"), Source: func(r *http.Request) (middleware.TokenSource, error) {
			caller, _ := middleware.TokenFrom(r.Context()) // without one the exchange fails
			return cache.Source(providers.Request{Assertion: caller}), nil
		}},
	})
	if err != nil {
		return err
	}
	g.handle("/obo/", "ANY", g.auth.Handler(unhurried(http.StripPrefix("/obo", proxy))))
	return nil
}

// demoAudience is the API of the demonstration that is called on behalf of the
// caller.
const demoAudience = "urn:demo:orders"

// embeddedOBO runs a token endpoint that exchanges the demo issuer's tokens, and
// an API that wants such a token and answers with its claims.
func (g *gateway) embeddedOBO() (*oboConfig, error) {
	api, err := middleware.New(middleware.Config{Logger: g.log, Issuers: []middleware.Issuer{{
		Issuer: g.demo.issuer.URL, Audiences: []string{demoAudience}, Algorithms: []string{"ES256"}, Discover: true, HTTPClient: g.demo.issuer.Client(),
	}}})
	if err != nil {
		return nil, err
	}
	c := &oboConfig{clientID: "gateway", audience: []string{demoAudience}, secret: &secret{last: "demo"}}
	err = g.embed(func(url string) (http.Handler, error) {
		c.tokenURL, c.target = url+"/token", url+"/api"
		mux := http.NewServeMux()
		mux.HandleFunc("POST /token", g.demoExchange)
		mux.Handle("/api/", api.Handler(http.HandlerFunc(protected)))
		return mux, nil
	})
	return c, err
}

// demoExchange is the demo issuer's token endpoint (RFC 8693).
func (g *gateway) demoExchange(w http.ResponseWriter, r *http.Request) {
	refuse := func(code string) { writeJSON(w, http.StatusBadRequest, map[string]any{"error": code}) }
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	caller, err := g.auth.Verify(r.Context(), r.PostFormValue("subject_token"))
	client, secret, _ := r.BasicAuth()
	switch {
	case client != "gateway" || secret != "demo":
		writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	case err != nil:
		refuse("invalid_grant")
		return
	case r.PostFormValue("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange" || r.PostFormValue("audience") != demoAudience:
		refuse("invalid_target")
		return
	}
	token, err := g.demo.issuer.Token(map[string]any{"sub": caller.Subject, "aud": demoAudience, "act": map[string]any{"sub": "gateway"}})
	if err != nil {
		refuse("server_error")
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": token, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer",
		"expires_in": int((5 * time.Minute).Seconds()),
	})
}
