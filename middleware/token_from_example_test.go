package middleware_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/tokencache"
)

// Calls the next API as the caller: the verified token is exchanged (RFC 8693),
// once for all calls of one caller.
func ExampleTokenFrom() {
	idp, issuer := exampleIssuer()
	auth, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{issuer}})
	if err != nil {
		fmt.Println(err)
		return
	}
	as := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("exchanges for", r.PostFormValue("audience"))
		_, _ = fmt.Fprint(w, `{"access_token":"for-orders","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":300}`)
	}))
	defer as.Close()
	orders := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "orders saw "+r.Header.Get("Authorization"))
	}))
	defer orders.Close()

	exchange, err := oauth.New(oauth.Config{TokenURL: as.URL, ClientID: "shop", Secret: "secret", Grant: "token_exchange",
		Issuers: []string{issuer.Issuer}, Audience: []string{"orders"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	cache, err := tokencache.New(exchange, tokencache.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = cache.Close(context.Background()) }()
	client := &http.Client{Transport: &middleware.Transport{
		Source: func(r *http.Request) (middleware.TokenSource, error) {
			caller, _ := middleware.TokenFrom(r.Context()) // without one the exchange fails
			return cache.Source(providers.Request{Assertion: caller}), nil
		},
	}}
	shop := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, _ := http.NewRequestWithContext(r.Context(), http.MethodGet, orders.URL, nil)
		res, err := client.Do(req)
		if err != nil {
			http.Error(w, "orders failed", http.StatusBadGateway)
			return
		}
		defer func() { _ = res.Body.Close() }()
		_, _ = io.Copy(w, res.Body)
	}))
	token, err := idp.Token(map[string]any{"sub": "ada"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		fmt.Println(get(shop, "/", token).Body)
	}
	_, err = client.Get(orders.URL)
	fmt.Println(err != nil)
	// Output:
	// exchanges for orders
	// orders saw Bearer for-orders
	// orders saw Bearer for-orders
	// true
}
