package handlers

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/bearerkit/bearerkit/providers"
)

// Mount adds to mux all endpoints that vendor can serve, below prefix, and
// returns their patterns:
//
//	POST {prefix}/token          Generate
//	POST {prefix}/refresh-token  Refresh, for a vendor with refresh tokens and no Cookie
//	POST {prefix}/sign-out       SignOut, where tokens can be forgotten or revoked
//	GET  {prefix}/verify         Verify, for a vendor that tells whether a token is valid
//	     {prefix}/open           Redirect, with c.Target
//	GET  /.well-known/jwks.json  JWKS, for a vendor that verifies our signatures
//	     each of proxies, at the patterns that it allows
//
// vendor is the vendor's provider itself. Put its token cache into c.Provider;
// nil means vendor. If c.Wire is nil and vendor is a Wire, vendor is used.
// Without a Wire there is no endpoint that hands out tokens. A proxy without
// Authorize or Logger has those of c. A middleware or a rate limiter for the
// endpoints wraps mux. If a vendor's documentation names other paths, mount the
// handlers one by one.
//
// The error joins every fault. After an error mux has none or some of the
// endpoints.
func Mount(mux *http.ServeMux, prefix string, vendor providers.Provider, c Config, proxies ...ProxyConfig) (patterns []string, err error) {
	if mux == nil || vendor == nil {
		return nil, errors.New("handlers: mount: mux and vendor are required")
	}
	if prefix != "" && (!strings.HasPrefix(prefix, "/") || strings.HasSuffix(prefix, "/") || strings.ContainsAny(prefix, "{} ")) {
		return nil, errors.New("handlers: mount: prefix must be empty or a path like /api/consent")
	}
	m := &mount{mux: mux, prefix: prefix}
	if c.Provider == nil {
		c.Provider = vendor
	}
	if c.Wire == nil {
		c.Wire, _ = vendor.(Wire)
	}
	if c.Wire != nil {
		m.tokens(c)
	}
	if _, ok := vendor.(providers.Verifier); ok && !c.Introspection {
		verify := c
		verify.Provider, verify.Cookie, verify.Handle = vendor, nil, nil
		m.endpoint("GET %s/verify", Verify, verify)
	}
	if source, ok := vendor.(interface{ JWKS() []byte }); ok {
		m.add("GET /.well-known/jwks.json", func() (http.Handler, error) { return JWKS(source, c.Logger) })
	}
	for _, p := range proxies {
		m.proxy(c, p)
	}
	if len(m.patterns) == 0 && len(m.faults) == 0 {
		m.faults = append(m.faults, errors.New("handlers: mount: nothing to mount: the vendor is no Wire and there is no proxy"))
	}
	return m.patterns, errors.Join(m.faults...)
}

type mount struct {
	mux      *http.ServeMux
	prefix   string
	patterns []string
	faults   []error
}

// tokens adds the endpoints that hand out tokens or end them.
func (m *mount) tokens(c Config) {
	m.endpoint("POST %s/token", Generate, c)
	refresher, ok := c.Provider.(providers.Refresher)
	if o, optional := refresher.(providers.OptionalRefresher); optional {
		ok = o.CanRefresh()
	}
	if ok && c.Cookie == nil {
		m.endpoint("POST %s/refresh-token", Refresh, c)
	}
	_, purges := c.Provider.(providers.Purger)
	_, revokes := c.Provider.(providers.Revoker)
	if purges || revokes {
		m.endpoint("POST %s/sign-out", SignOut, c)
	}
	if c.Target != nil {
		open := c
		open.Cookie, open.Handle = nil, nil
		m.endpoint("%s/open", Redirect, open)
	}
}

func (m *mount) endpoint(pattern string, build func(Config) (http.Handler, error), c Config) {
	m.add(fmt.Sprintf(pattern, m.prefix), func() (http.Handler, error) { return build(c) })
}

func (m *mount) proxy(c Config, p ProxyConfig) {
	if p.Authorize == nil {
		p.Authorize = c.Authorize
	}
	if p.Logger == nil {
		p.Logger = c.Logger
	}
	h, err := Proxy(p)
	if err != nil {
		m.faults = append(m.faults, err)
		return
	}
	for _, pattern := range p.Allow {
		m.add(pattern, func() (http.Handler, error) { return h, nil })
	}
}

// add changes ServeMux's panic about a pattern to an error. Patterns have no
// method, because a handler refuses other methods itself.
func (m *mount) add(pattern string, build func() (http.Handler, error)) {
	h, err := build()
	if err == nil {
		_, path, found := strings.Cut(pattern, " ")
		if !found {
			path = pattern
		}
		err = register(m.mux, "pattern", path, h)
	}
	if err != nil {
		m.faults = append(m.faults, err)
		return
	}
	m.patterns = append(m.patterns, pattern)
}
