// Protect lets valid tokens of an OIDC issuer through, and one route asks for a
// scope too. Variables: AUTH_ISSUER, AUTH_AUDIENCE, ADDR. Without AUTH_ISSUER an
// issuer in this process takes its place.
package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/bearerkit/bearerkit/examples/demo"
	"github.com/bearerkit/bearerkit/middleware"
)

func main() {
	issuer, audience, token := os.Getenv("AUTH_ISSUER"), os.Getenv("AUTH_AUDIENCE"), "…"
	if issuer == "" {
		issuer, audience, token = demo.Issuer("orders:read")
	}
	auth := demo.Must(middleware.New(middleware.Config{
		Issuers: []middleware.Issuer{{
			Issuer: issuer, Audiences: []string{audience},
			Algorithms: []string{"RS256", "ES256"}, Discover: true,
		}},
		Logger: slog.Default(),
	}))
	writers := demo.Must(auth.Require(middleware.Rule{AllScopes: []string{"orders:write"}}))

	mux := http.NewServeMux()
	mux.Handle("GET /orders", auth.Handler(http.HandlerFunc(orders)))
	mux.Handle("POST /orders", writers.Handler(http.HandlerFunc(orders)))
	demo.Serve(mux, "AUTH_ISSUER, AUTH_AUDIENCE, ADDR",
		"curl -i {base}/orders -H 'Authorization: Bearer "+token+"'",
		"curl -i {base}/orders -X POST -H 'Authorization: Bearer "+token+"'   # 403: the scope is missing",
		"curl -i {base}/orders   # 401: no token")
}

func orders(w http.ResponseWriter, r *http.Request) {
	subject, _ := middleware.Subject(r.Context())
	fmt.Fprintln(w, "orders of", subject)
}
