// Forwardauth answers a reverse proxy's question who a caller is, for
// applications that do not check tokens themselves. nginx.conf and Caddyfile
// are the proxies' configurations.
package main

import (
	"log"
	"net/http"
	"os"

	"github.com/bearerkit/bearerkit/middleware"
)

func main() {
	auth := must(middleware.New(middleware.Config{Issuers: []middleware.Issuer{{
		Issuer: os.Getenv("AUTH_ISSUER"), Audiences: []string{os.Getenv("AUTH_AUDIENCE")},
		Algorithms: []string{"RS256", "ES256"}, Discover: true,
	}}}))
	http.Handle("GET /forward-auth", must(handler(auth, os.Getenv("PROXY"))))
	log.Fatal(http.ListenAndServe(os.Getenv("ADDR"), nil))
}

// handler tells proxy, "nginx" or "caddy" on this machine, who a caller is and
// what the token allows.
func handler(auth *middleware.Authenticator, proxy string) (http.Handler, error) {
	return middleware.ForwardAuth(auth, middleware.ForwardAuthConfig{
		Proxy: proxy,
		Peers: []string{"127.0.0.1", "::1"},
		Headers: map[string]func(*middleware.Verified) []string{
			"X-Auth-Subject": func(v *middleware.Verified) []string {
				user, _ := v.User()
				return []string{user}
			},
			"X-Auth-Scopes": func(v *middleware.Verified) []string { return v.Scopes },
		},
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
