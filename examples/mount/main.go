// Mount gives Redacto tokens to signed-in callers, and to visitors under
// identifiers that no user has; the API key stays here. Variables: AUTH_ISSUER,
// AUTH_AUDIENCE, CMS_API_KEY, TENANT, REDACTO_BASE_URL, ADDR. Without AUTH_ISSUER
// or CMS_API_KEY an issuer or a fake of Redacto in this process takes its place.
package main

import (
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/bearerkit/bearerkit/examples/demo"
	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/redacto"
	"github.com/bearerkit/bearerkit/tokencache"
)

func main() {
	issuer, audience, token := os.Getenv("AUTH_ISSUER"), os.Getenv("AUTH_AUDIENCE"), "…"
	if issuer == "" {
		issuer, audience, token = demo.Issuer("")
	}
	base, tenant, key := os.Getenv("REDACTO_BASE_URL"), os.Getenv("TENANT"), os.Getenv("CMS_API_KEY")
	if key == "" {
		base, tenant, key = demo.Redacto()
	}
	auth := demo.Must(middleware.New(middleware.Config{Issuers: []middleware.Issuer{{
		Issuer: issuer, Audiences: []string{audience}, Algorithms: []string{"RS256", "ES256"}, Discover: true,
	}}, Logger: slog.Default()}))
	vendor := demo.Must(redacto.New(redacto.Config{BaseURL: base, Tenants: []string{tenant}, APIKey: key}))
	cache := demo.Must(tokencache.New(vendor, tokencache.Options{Logger: slog.Default()}))
	tokens := handlers.Config{Provider: cache, Wire: vendor, Authorize: handlers.SubjectFrom(middleware.Subject), Logger: slog.Default()}

	mux := http.NewServeMux() // no methods here: the handlers answer 405 in JSON too
	mux.Handle("/api/consent/token", auth.Handler(demo.Must(handlers.Generate(tokens))))
	mux.Handle("/api/consent/refresh-token", auth.Handler(demo.Must(handlers.Refresh(tokens))))
	tokens.Authorize = visitor
	mux.Handle("/api/visitor/token", demo.Must(handlers.Generate(tokens)))
	demo.Serve(mux, "AUTH_ISSUER, AUTH_AUDIENCE, CMS_API_KEY, TENANT, REDACTO_BASE_URL, ADDR",
		"curl -i {base}/api/consent/token -H 'Content-Type: application/json' -d '{}' -H 'Authorization: Bearer "+token+"'",
		`curl -i {base}/api/visitor/token -H 'Content-Type: application/json' -d '{"identifier":"anonymous-1"}'`)
}

// visitor lets anybody in who names an anonymous identifier, as the vendor's
// listing with {"identifier": …} does. handlers.DangerouslyAllowAnyCaller is the
// listing to the letter: there any caller may name any user.
func visitor(_ *http.Request, req *providers.Request) error {
	if !strings.HasPrefix(req.Subject, "anonymous-") || len(req.Identifiers) > 0 {
		return &providers.Error{Code: providers.CodeIdentityMismatch, Class: providers.Permanent}
	}
	return nil
}
