package redacto_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/providertest"
	"github.com/bearerkit/bearerkit/providers/redacto"
)

func ExampleNew() {
	const tenant = "0b8e5a3c-6f1d-4a63-9c1f-1f6f2d1f7a01:7d3c1f2e-8a94-4b02-8a55-3f0f6f0a9b01"
	vendor, err := providertest.NewRedacto(providertest.RedactoConfig{Keys: map[string]string{tenant: "cms-key"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(vendor)
	defer server.Close()

	p, err := redacto.New(redacto.Config{
		BaseURL: server.URL, // leave it out for the vendor's own
		Tenants: []string{tenant},
		APIKey:  "cms-key",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := p.Generate(context.Background(), providers.Request{Subject: "user123"})
	fmt.Println(token.TokenType, token.RefreshToken != "", err)
	// Output: Bearer true <nil>
}

// What a documented frontend sends, and what it gets.
func ExampleProvider_Decode() {
	p, err := redacto.New(redacto.Config{
		Tenants: []string{"0b8e5a3c-6f1d-4a63-9c1f-1f6f2d1f7a01:7d3c1f2e-8a94-4b02-8a55-3f0f6f0a9b01"},
		APIKey:  "cms-key",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	req, err := p.Decode(nil, map[string]json.RawMessage{"org_user_id": json.RawMessage(`"user123"`)})
	fmt.Println(req.Subject, err)
	body, err := json.Marshal(p.Encode(req, providers.Token{AccessToken: "eyJ…", RefreshToken: "eyK…", TokenType: "Bearer"}))
	fmt.Println(string(body), err)
	// Output:
	// user123 <nil>
	// {"token":"eyJ…","refresh_token":"eyK…","token_type":"Bearer"} <nil>
}
