package main

import (
	"context"
	"net/http"
	"strings"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/redacto"
	"github.com/bearerkit/bearerkit/tokencache"
)

// A page that holds Redacto's pair alone shows its token to our proxy, as the
// document's fetchWithAuth does. Only the vendor can verify such a token, but the
// cache knows those that it has handed out.
//
// The token proves what was proved when it was handed out, and with
// REDACTO_ANYONE that is nothing about a person. So it opens the proxy of its own
// vendor and tenant, where it is worth what its holder has anyway. It opens no
// other route.

// page is a caller whose token was handed out here.
type page struct {
	token string
	grant *tokencache.Grant
}

type pageKey struct{}

func pageOf(ctx context.Context) *page {
	p, _ := ctx.Value(pageKey{}).(*page)
	return p
}

// orPages serves those whom auth lets through, and pages with a token of h.
func (g *gateway) orPages(h *tokencache.HandedOut, proxy http.Handler) http.Handler {
	verified := g.auth.Handler(proxy)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := bearerOf(r)
		grant, ok, err := h.Grant(r.Context(), token)
		switch {
		case ok:
			r = r.WithContext(context.WithValue(r.Context(), pageKey{}, &page{token, grant}))
			proxy.ServeHTTP(w, r)
		case err != nil && !g.accepts(r):
			handlers.WriteError(w, r, err) // the Store cannot tell whose token it is
		default:
			verified.ServeHTTP(w, r)
		}
	})
}

func (g *gateway) accepts(r *http.Request) bool {
	_, err := g.auth.Check(r)
	return err == nil
}

// bearerOf is the one bearer token of r's Authorization header, or "".
func bearerOf(r *http.Request) string {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimLeft(token, " ")
}

// pageOrCaller is asked again while a stream is under way: a sign-out ends a
// page's too.
func (g *gateway) pageOrCaller(h *tokencache.HandedOut) handlers.Authorize {
	return func(r *http.Request, req *providers.Request) error {
		p := pageOf(r.Context())
		if p == nil {
			return g.caller(r, req)
		}
		grant, ok, err := h.Grant(r.Context(), p.token)
		switch {
		case err != nil:
			return err
		case !ok:
			return &providers.Error{Code: providers.CodeNotSignedIn, Class: providers.Permanent}
		}
		req.Subject = grant.Subject()
		return nil
	}
}

// redactoSource chooses whose token the proxy attaches: the verified caller's in
// the tenant that the call names, or the page's own.
func redactoSource(p *redacto.Provider, cache *tokencache.Cache) func(*http.Request) (middleware.TokenSource, error) {
	return func(r *http.Request) (middleware.TokenSource, error) {
		tenant, err := redactoTenant(p, r)
		if page := pageOf(r.Context()); page != nil {
			switch {
			case err != nil && providers.AsError(err).Code == providers.CodeTenantRequired:
			case err != nil:
				return nil, err
			case tenant != page.grant.Tenant():
				return nil, &providers.Error{Code: providers.CodeTenantNotAllowed, Class: providers.Permanent}
			}
			return page.grant, nil
		}
		subject, ok := middleware.Subject(r.Context())
		if !ok {
			return nil, &providers.Error{Code: providers.CodeNotSignedIn, Class: providers.Permanent}
		}
		if err != nil {
			return nil, err
		}
		return cache.Source(providers.Request{Tenant: tenant, Subject: subject}), nil
	}
}
