// Callout calls Redox's API; the client takes, keeps and renews the token.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/providers/redox"
	"github.com/bearerkit/bearerkit/tokencache"
)

func main() {
	base := os.Getenv("REDOX_BASE_URL")
	vendor := must(redox.New(redox.Config{
		BaseURL: base, ClientID: os.Getenv("REDOX_CLIENT_ID"),
		Key: oauth.Key{ID: os.Getenv("REDOX_KEY_ID"), PEM: must(os.ReadFile(os.Getenv("REDOX_PRIVATE_KEY_FILE")))},
	}))
	cache := must(tokencache.New(vendor, tokencache.Options{}))
	client := &http.Client{Transport: &middleware.Transport{
		Source: middleware.Fixed(cache.Source(providers.Request{})),
	}}
	res := must(client.Get(base + "/fhir/R4/metadata"))
	fmt.Println(res.Status)
	_ = res.Body.Close()
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
