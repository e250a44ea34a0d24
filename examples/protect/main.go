// Protect lets through who shows a valid token, and asks more of one route.
package main

import (
	"fmt"
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
	writers := must(auth.Require(middleware.Rule{AllScopes: []string{"orders:write"}}))
	http.Handle("GET /orders", auth.Handler(http.HandlerFunc(orders)))
	http.Handle("POST /orders", writers.Handler(http.HandlerFunc(orders)))
	log.Fatal(http.ListenAndServe(os.Getenv("ADDR"), nil))
}

func orders(w http.ResponseWriter, r *http.Request) {
	subject, _ := middleware.Subject(r.Context())
	fmt.Fprintln(w, "orders of", subject)
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
