package handlers

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/bearerkit/bearerkit/providers"
)

// Mount adds to mux all endpoints that vendor can serve, below prefix, and
// returns their patterns:
//
//	POST {prefix}/token          Generate
//	POST {prefix}/refresh-token  Refresh, for a vendor with refresh tokens and no Cookie
//	POST {prefix}/sign-out       SignOut, where tokens can be forgotten or revoked
//	GET  {prefix}/verify         Verify, for a vendor that tells whether a token is valid, see [Verify]
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
	if verifierOf(vendor) != nil && !c.Introspection {
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
	list := eachPath(p.Allow)
	if _, err := patterns("Allow", list); err != nil {
		list = p.Allow // two paths overlap, and only their methods keep them apart
	}
	for _, pattern := range list {
		if err := register(m.mux, "pattern", pattern, h); err != nil {
			m.faults = append(m.faults, err)
			return
		}
	}
	m.patterns = append(m.patterns, p.Allow...)
}

// add registers the path of pattern. Its method is left out, because a handler
// refuses other methods itself, in the shape of all errors.
func (m *mount) add(pattern string, build func() (http.Handler, error)) {
	h, err := build()
	if err == nil {
		err = register(m.mux, "pattern", pathOf(pattern), h)
	}
	if err != nil {
		m.faults = append(m.faults, err)
		return
	}
	m.patterns = append(m.patterns, pattern)
}

// pathOf returns pattern without its method.
func pathOf(pattern string) string {
	if i := strings.IndexAny(pattern, " \t"); i >= 0 {
		return strings.TrimLeft(pattern[i:], " \t")
	}
	return pattern
}

var wildcardName = regexp.MustCompile(`\{[^{}.$]+`)

// eachPath returns each path of patterns once. The names of wildcards do not
// make another path.
func eachPath(patterns []string) (list []string) {
	seen := map[string]bool{}
	for _, pattern := range patterns {
		path := pathOf(pattern)
		if unnamed := wildcardName.ReplaceAllString(path, "{"); !seen[unnamed] {
			seen[unnamed] = true
			list = append(list, path)
		}
	}
	return list
}
