// Mount gives Redacto tokens to signed-in callers, and to visitors under
// identifiers that no user has; the API key stays here.
package main

import (
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/redacto"
	"github.com/bearerkit/bearerkit/tokencache"
)

func main() {
	auth := must(middleware.New(middleware.Config{Issuers: []middleware.Issuer{{
		Issuer: os.Getenv("AUTH_ISSUER"), Audiences: []string{os.Getenv("AUTH_AUDIENCE")},
		Algorithms: []string{"RS256", "ES256"}, Discover: true,
	}}}))
	vendor := must(redacto.New(redacto.Config{
		BaseURL: os.Getenv("REDACTO_BASE_URL"), Tenants: []string{os.Getenv("TENANT")}, APIKey: os.Getenv("CMS_API_KEY"),
	}))
	cache := must(tokencache.New(vendor, tokencache.Options{}))
	tokens := handlers.Config{Provider: cache, Wire: vendor, Authorize: handlers.SubjectFrom(middleware.Subject)}
	http.Handle("/api/consent/token", auth.Handler(must(handlers.Generate(tokens))))
	http.Handle("/api/consent/refresh-token", auth.Handler(must(handlers.Refresh(tokens))))
	tokens.Authorize = visitor
	http.Handle("/api/visitor/token", must(handlers.Generate(tokens)))
	log.Fatal(http.ListenAndServe(os.Getenv("ADDR"), nil))
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

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
