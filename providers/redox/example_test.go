package redox_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/providers/providertest"
	"github.com/bearerkit/bearerkit/providers/redox"
)

func ExampleNew() {
	cfg := redox.Config{
		ClientID: "my-client",
		Key:      oauth.Key{ID: "2026-01", PEM: currentKey.PEM}, // read from a file
	}
	p, err := redox.New(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	// A Redox in this process, which has our public keys. Leave BaseURL out
	// for the real one.
	vendor, err := providertest.NewRedox(providertest.RedoxConfig{ClientID: "my-client", JWKS: p.JWKS()})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(vendor)
	defer server.Close()
	cfg.BaseURL = server.URL

	if p, err = redox.New(cfg); err != nil {
		fmt.Println(err)
		return
	}
	t, err := p.Generate(context.Background(), providers.Request{})
	fmt.Println(t.TokenType, t.Expiry.Sub(t.IssuedAt).Round(time.Minute), err)
	// Output: Bearer 5m0s <nil>
}
