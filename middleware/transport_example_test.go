package middleware_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// counting is a provider whose n-th token is "<subject>-n".
type counting struct{ n int }

func (c *counting) Generate(_ context.Context, req providers.Request) (providers.Token, error) {
	c.n++
	return providers.Token{AccessToken: fmt.Sprintf("%s-%d", req.Subject, c.n), TokenType: "Bearer"}, nil
}

// One token for all requests. The server revokes it early; the POST is sent
// again, whole, with a new one.
func ExampleTransport() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") == "Bearer service-1" {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprintf(w, "%s with %s", body, r.Header.Get("Authorization"))
	}))
	defer api.Close()

	cache, err := tokencache.New(&counting{}, tokencache.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = cache.Close(context.Background()) }()
	client := &http.Client{Transport: &middleware.Transport{
		Source: middleware.Fixed(cache.Source(providers.Request{Subject: "service"})),
	}}
	res, err := client.Post(api.URL, "text/plain", strings.NewReader("an order"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = res.Body.Close() }()
	body, _ := io.ReadAll(res.Body)
	fmt.Println(res.StatusCode, string(body))
	// Output:
	// 200 an order with Bearer service-2
}

// One client for many users: whose token a request carries is read from its
// context, here by the claims that the Authenticator verified.
func ExampleTransport_perUser() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, "upstream saw "+r.Header.Get("Authorization"))
	}))
	defer api.Close()
	cache, err := tokencache.New(&counting{}, tokencache.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = cache.Close(context.Background()) }()
	client := &http.Client{Transport: &middleware.Transport{
		Source: func(r *http.Request) (middleware.TokenSource, error) {
			subject, ok := middleware.Subject(r.Context())
			if !ok {
				return nil, &providers.Error{Code: providers.CodeNotSignedIn, Class: providers.Permanent}
			}
			return cache.Source(providers.Request{Subject: subject}), nil
		},
	}}

	idp, issuer := exampleIssuer()
	auth, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{issuer}})
	if err != nil {
		fmt.Println(err)
		return
	}
	orders := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, _ := http.NewRequestWithContext(r.Context(), http.MethodGet, api.URL, nil)
		res, err := client.Do(req)
		if err != nil {
			http.Error(w, "upstream failed", http.StatusBadGateway)
			return
		}
		defer func() { _ = res.Body.Close() }()
		_, _ = io.Copy(w, res.Body)
	}))
	for _, sub := range []string{"ada", "grace"} {
		token, _ := idp.Token(map[string]any{"sub": sub})
		fmt.Println(get(orders, "/", token).Body)
	}
	_, err = client.Get(api.URL)
	fmt.Println(err != nil)
	// Output:
	// upstream saw Bearer ada-1
	// upstream saw Bearer grace-2
	// true
}

// Kudo wants its token in a header of its own, and says 403 where others say
// 401.
func ExampleTransport_kudo() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Api-Token") == "editor-1" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "{ Wrong token }")
			return
		}
		_, _ = io.WriteString(w, "opened with "+r.Header.Get("X-Api-Token"))
	}))
	defer api.Close()
	cache, err := tokencache.New(&counting{}, tokencache.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = cache.Close(context.Background()) }()
	client := &http.Client{Transport: &middleware.Transport{
		Source: middleware.Fixed(cache.Source(providers.Request{Subject: "editor"})),
		Attach: func(r *http.Request, t providers.Token) { r.Header.Set("X-Api-Token", t.AccessToken) },
		Rejected: func(_ *http.Response, start []byte) bool {
			return strings.Contains(string(start), "Wrong token")
		},
	}}
	res, err := client.Get(api.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = res.Body.Close() }()
	body, _ := io.ReadAll(res.Body)
	fmt.Println(string(body))
	// Output:
	// opened with editor-2
}

// A newer token would not have the scope either: the answer comes through, and
// says what to ask the user for.
func ExampleChallengeFrom() {
	res := &http.Response{StatusCode: http.StatusForbidden, Header: http.Header{"Www-Authenticate": {
		`Bearer error="insufficient_scope", scope="orders:write admin"`,
	}}}
	if e := middleware.ChallengeFrom(res); e != nil {
		fmt.Println(e.Code, e.Scopes)
	}
	// Output:
	// insufficient_scope [orders:write admin]
}
