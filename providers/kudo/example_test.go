package kudo_test

import (
	"context"
	"fmt"
	"net/http/httptest"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/kudo"
	"github.com/bearerkit/bearerkit/providers/providertest"
)

func ExampleNew() {
	vendor, err := providertest.NewKudo(providertest.KudoConfig{AccessKey: "access-key"})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(vendor)
	defer server.Close()

	p, err := kudo.New(kudo.Config{
		BaseURL:   server.URL, // leave it out for the vendor's own
		AccessKey: "access-key",
		Auth:      "app-id",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	token, err := p.Generate(ctx, providers.Request{Subject: "user123", Params: map[string]any{"file": "plan.dwg"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	verified, err := p.Verify(ctx, token.AccessToken)
	fmt.Println(verified.Subject, string(verified.Claims), err)
	// Output: user123 {"file":"plan.dwg","userId":"user123"} <nil>
}

func ExampleProvider_EditorURL() {
	p, err := kudo.New(kudo.Config{AccessKey: "access-key"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.EditorURL("https://editor.example.com", "bbf18f21-3d0d-4a4c-b650-9c14d4075ce0"))
	// Output: https://editor.example.com/editor?apitoken=bbf18f21-3d0d-4a4c-b650-9c14d4075ce0 <nil>
}
