package oauth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
)

// A service takes a token of its own.
func ExampleNew() {
	as := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.PostFormValue("grant_type"), r.PostFormValue("scope"), r.PostFormValue("resource"))
		fmt.Fprint(w, `{"access_token":"at-1","token_type":"bearer","expires_in":"300"}`)
	}))
	defer as.Close()

	p, err := oauth.New(oauth.Config{
		TokenURL:      as.URL + "/token",
		ClientID:      "billing",
		Secret:        "from the environment",
		Scopes:        []string{"invoices:read"},
		Audience:      []string{"https://api.example"},
		AudienceParam: "resource", // RFC 8707
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	t, err := p.Generate(context.Background(), providers.Request{})
	fmt.Println(t.TokenType, t.Expiry.Sub(t.IssuedAt).Round(time.Second), err)
	// Output:
	// client_credentials invoices:read https://api.example
	// Bearer 5m0s <nil>
}

// A user's grant, which a login elsewhere brought, is renewed; the server does
// not rotate, so the refresh token stays.
func ExampleProvider_Refresh() {
	as := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("refresh_token") != "rt-1" {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"invalid_grant"}`)
			return
		}
		fmt.Fprint(w, `{"access_token":"at-2","token_type":"Bearer","expires_in":300}`)
	}))
	defer as.Close()

	p, err := oauth.New(oauth.Config{TokenURL: as.URL, ClientID: "web", Secret: "s", Grant: "refresh_token"})
	if err != nil {
		fmt.Println(err)
		return
	}
	alice := providers.Request{Subject: "alice"}
	t, err := p.Refresh(context.Background(), alice, "rt-1")
	fmt.Println(t.RefreshToken == "rt-1", err)
	_, err = p.Refresh(context.Background(), alice, "rt-0")
	fmt.Println(err)
	// Output:
	// true <nil>
	// oauth: refresh: refresh_rejected (upstream status 400): the server answered invalid_grant
}
