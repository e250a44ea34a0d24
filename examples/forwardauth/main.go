// Forwardauth answers a reverse proxy's question who a caller is, for applications
// that do not check tokens themselves. nginx.conf and Caddyfile are the proxies'
// configurations; they expect it at ADDR=127.0.0.1:9001. Variables: AUTH_ISSUER,
// AUTH_AUDIENCE, PROXY (nginx or caddy), ADDR. Without AUTH_ISSUER an issuer in this
// process takes its place.
package main

import (
	"cmp"
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
	auth := demo.Must(middleware.New(middleware.Config{Issuers: []middleware.Issuer{{
		Issuer: issuer, Audiences: []string{audience},
		Algorithms: []string{"RS256", "ES256"}, Discover: true,
	}}, Logger: slog.Default()}))

	mux := http.NewServeMux()
	mux.Handle("GET /forward-auth", demo.Must(handler(auth, cmp.Or(os.Getenv("PROXY"), "nginx"))))
	ask := "curl -i {base}/forward-auth -H 'X-Original-Method: GET' -H 'X-Original-Host: shop.example' -H 'X-Original-URI: /orders'"
	demo.Serve(mux, "AUTH_ISSUER, AUTH_AUDIENCE, PROXY, ADDR",
		ask+" -H 'Authorization: Bearer "+token+"'   # what nginx asks: 200 and X-Auth-Subject",
		ask+"   # 401: no token")
}

// handler tells proxy, "nginx" or "caddy" on this machine, who a caller is and
// what the token allows.
func handler(auth *middleware.Authenticator, proxy string) (http.Handler, error) {
	return middleware.ForwardAuth(auth, middleware.ForwardAuthConfig{Proxy: proxy, Peers: []string{"127.0.0.1", "::1"}})
}
