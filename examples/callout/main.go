// Callout calls an API whose tokens come from an OAuth server: the client takes,
// keeps and renews them. Variables: TOKEN_URL, CLIENT_ID, CLIENT_SECRET, API_URL,
// ADDR. Without TOKEN_URL a server and an API in this process take their place.
package main

import (
	"io"
	"log/slog"
	"net/http"
	"os"

	"github.com/bearerkit/bearerkit/examples/demo"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/tokencache"
)

func main() {
	tokenURL, api := os.Getenv("TOKEN_URL"), os.Getenv("API_URL")
	id, secret := os.Getenv("CLIENT_ID"), os.Getenv("CLIENT_SECRET")
	if tokenURL == "" {
		tokenURL, api, id, secret = demo.OAuth()
	}
	server := demo.Must(oauth.New(oauth.Config{TokenURL: tokenURL, ClientID: id, Secret: secret, Grant: "client_credentials"}))
	cache := demo.Must(tokencache.New(server, tokencache.Options{Logger: slog.Default()}))
	client := &http.Client{Transport: &middleware.Transport{
		Source: middleware.Fixed(cache.Source(providers.Request{})),
	}}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders", func(w http.ResponseWriter, r *http.Request) {
		res, err := client.Get(api + "/orders")
		if err != nil {
			slog.Error("the API cannot be called", "err", err)
			http.Error(w, "the API cannot be called", http.StatusBadGateway)
			return
		}
		defer func() { _ = res.Body.Close() }()
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	})
	demo.Serve(mux, "TOKEN_URL, CLIENT_ID, CLIENT_SECRET, API_URL, ADDR",
		"curl -i {base}/orders   # five times: the API refuses a token after three calls, and yours succeed")
}
