package providertest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/contactsmanager"
	"github.com/bearerkit/bearerkit/providers/kudo"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/providers/providertest"
	"github.com/bearerkit/bearerkit/providers/redacto"
	"github.com/bearerkit/bearerkit/providers/redox"
)

// A provider's own test, in which t is the parameter of a Test function.
func ExampleRun() {
	var t *testing.T
	providertest.Run(t, providertest.Suite{
		New: func(t testing.TB, baseURL string) providers.Provider {
			p, err := kudo.New(kudo.Config{BaseURL: baseURL, AccessKey: "access-key-canary"})
			require.NoError(t, err)
			return p
		},
		Request: providers.Request{Params: map[string]any{"file": "plan.dwg"}},
		Answer:  `{"token":"token-canary","expiration_time":4102444800}`,
		Secrets: []string{"access-key-canary", "token-canary"},
	})
}

// A user's second pair ends the first.
func ExampleNewRedacto() {
	const tenant = "0b8e5a3c-6f1d-4a63-9c1f-1f6f2d1f7a01:7d3c1f2e-8a94-4b02-8a55-3f0f6f0a9b01"
	vendor, err := providertest.NewRedacto(providertest.RedactoConfig{Keys: map[string]string{tenant: "cms-key"}})
	check(err)
	server := httptest.NewServer(vendor)
	defer server.Close()
	p, err := redacto.New(redacto.Config{BaseURL: server.URL, Tenants: []string{tenant}, APIKey: "cms-key"})
	check(err)

	var tokens []providers.Token
	for range 2 {
		token, err := p.Generate(context.Background(), providers.Request{Subject: "user123"})
		check(err)
		tokens = append(tokens, token)
	}
	for _, token := range tokens {
		req, err := http.NewRequest("GET", server.URL+"/consent/notices", nil)
		check(err)
		req.Header.Set("Authorization", "Bearer "+token.AccessToken)
		res, err := server.Client().Do(req)
		check(err)
		res.Body.Close()
		fmt.Println(res.StatusCode)
	}
	stats := vendor.Stats()
	fmt.Println(stats.Generates, "generates,", stats.Killed, "killed,", stats.Unauthorized, "unauthorized")
	// Output:
	// 401
	// 200
	// 2 generates, 1 killed, 1 unauthorized
}

func ExampleNewRedox() {
	signer, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	check(err)
	key := oauth.Key{ID: "key-1", Signer: signer}
	// The provider knows the public set that the vendor wants to see.
	publisher, err := redox.New(redox.Config{ClientID: "client", Key: key})
	check(err)
	vendor, err := providertest.NewRedox(providertest.RedoxConfig{ClientID: "client", JWKS: publisher.JWKS()})
	check(err)
	server := httptest.NewServer(vendor)
	defer server.Close()

	p, err := redox.New(redox.Config{ClientID: "client", Key: key, BaseURL: server.URL})
	check(err)
	_, err = p.Generate(context.Background(), providers.Request{})
	fmt.Println(err, vendor.Stats().Issued)

	res, err := server.Client().Get(server.URL + "/fhir/R4/redox-fhir-sandbox/Development/Patient/1")
	check(err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	fmt.Println(res.StatusCode, string(text), err)
	// Output:
	// <nil> 1
	// 401 This source is not authorized. <nil>
}

func ExampleNewKudo() {
	vendor, err := providertest.NewKudo(providertest.KudoConfig{AccessKey: "access-key"})
	check(err)
	server := httptest.NewServer(vendor)
	defer server.Close()
	p, err := kudo.New(kudo.Config{BaseURL: server.URL, AccessKey: "access-key"})
	check(err)

	vendor.SetFault(providertest.Fault{Status: 429, RetryAfter: "2", Times: 1})
	for range 2 {
		_, err := p.Generate(context.Background(), providers.Request{Params: map[string]any{"file": "plan.dwg"}})
		fmt.Println(err)
	}
	// Output:
	// kudo: generate: upstream_busy (upstream status 429)
	// <nil>
}

func ExampleNewContactsManager() {
	vendor, err := providertest.NewContactsManager(providertest.ContactsManagerConfig{OrgID: "org", APIKey: "key", APISecret: "secret"})
	check(err)
	server := httptest.NewServer(vendor)
	defer server.Close()
	p, err := contactsmanager.New(contactsmanager.Config{OrgID: "org", APIKey: "key", APISecret: "secret"})
	check(err)

	token, err := p.Generate(context.Background(), providers.Request{Subject: "user-123"})
	check(err)
	req, err := http.NewRequest("POST", server.URL+"/api/v1/client/validate-key", strings.NewReader(`{"api_key":"key"}`))
	check(err)
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	req.Header.Set("Content-Type", "application/json")
	res, err := server.Client().Do(req)
	check(err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	fmt.Print(res.StatusCode, " ", string(text))
	check(err)
	// Output: 200 {"data":{"valid":true},"status":"success"}
}

// check keeps the examples short.
func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
