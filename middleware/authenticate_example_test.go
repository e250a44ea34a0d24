package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
)

// exampleIssuer stands in for an identity provider.
func exampleIssuer() (*authtest.Issuer, middleware.Issuer) {
	i, _ := authtest.New("ES256")
	return i, middleware.Issuer{
		Issuer: i.URL, Audiences: []string{i.Audience}, Algorithms: []string{"ES256"},
		Discover: true, HTTPClient: i.Client(),
	}
}

func get(h http.Handler, path, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Protect routes of an http.ServeMux, one of them with a scope of its own.
func ExampleNew() {
	idp, issuer := exampleIssuer()
	auth, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{issuer}})
	if err != nil {
		fmt.Println(err)
		return
	}
	admin, err := auth.Require(middleware.Rule{AllScopes: []string{"admin"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("GET /hello", auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		subject, _ := middleware.Subject(r.Context())
		fmt.Fprintf(w, "hello %s", subject)
	})))
	mux.Handle("GET /admin", admin.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "welcome")
	})))

	token, _ := idp.Token(map[string]any{"sub": "ada"})
	fmt.Println(get(mux, "/hello", token).Body)
	for _, path := range []string{"/hello", "/admin"} {
		w := get(mux, path, map[string]string{"/admin": token}[path])
		fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	}
	// Output:
	// hello ada
	// 401 Bearer realm="api"
	// 403 Bearer realm="api", error="insufficient_scope", error_description="The access token does not allow this.", scope="admin"
}

// Every fault of a configuration is reported at once.
func ExampleNew_faults() {
	_, err := middleware.New(middleware.Config{
		Issuers: []middleware.Issuer{{Issuer: "https://id.example.com", Algorithms: []string{"none"}, Discover: true}},
		Leeway:  -1,
	})
	fmt.Println(err)
	// Output:
	// middleware: Issuers[0]: Audiences is empty (AnyAudience accepts tokens for everybody)
	// middleware: Issuers[0]: algorithm "none" is not known
}

// Claims are any struct.
func ExampleClaimsFrom() {
	idp, issuer := exampleIssuer()
	auth, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{issuer}})
	if err != nil {
		fmt.Println(err)
		return
	}
	type claims struct {
		Name  string   `json:"name"`
		Roles []string `json:"roles"`
	}
	h := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := middleware.ClaimsFrom[claims](r.Context())
		fmt.Fprint(w, c.Name, c.Roles, ok)
	}))
	token, _ := idp.Token(map[string]any{"name": "Ada", "roles": []string{"engineer"}})
	fmt.Println(get(h, "/", token).Body)
	// Output: Ada[engineer] true
}

// A token from gRPC metadata, a websocket or a queue.
func ExampleAuthenticator_Verify() {
	idp, issuer := exampleIssuer()
	auth, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{issuer}})
	if err != nil {
		fmt.Println(err)
		return
	}
	receive := func(ctx context.Context, token string) {
		v, err := auth.Verify(ctx, token)
		var e *middleware.Error
		if errors.As(err, &e) {
			// For gRPC: 503 is codes.Unavailable, 403 PermissionDenied, the
			// rest Unauthenticated. A queue redelivers on 503 alone.
			fmt.Println(e.Status, e.Code, e.Reason)
			return
		}
		ctx = middleware.NewContext(ctx, v)
		subject, _ := middleware.Subject(ctx) // as behind Handler
		fmt.Println("message of", subject)
	}
	good, _ := idp.Token(map[string]any{"sub": "ada"})
	bad, _ := idp.Token(map[string]any{"aud": "https://somebody.else"})
	receive(context.Background(), good)
	receive(context.Background(), bad)
	// Output:
	// message of ada
	// 401 invalid_token audience
}

// Custom rules see the claims; an error of their own kind is the answer.
func ExampleRule() {
	idp, issuer := exampleIssuer()
	auth, err := middleware.New(middleware.Config{
		Issuers: []middleware.Issuer{issuer},
		Require: middleware.Rule{Check: func(_ context.Context, v *middleware.Verified) error {
			var c struct {
				Tenant string `json:"tenant"`
			}
			if err := v.Decode(&c); err != nil {
				return err // 401: not the claims we know
			}
			if c.Tenant != "acme" {
				return errors.New("another tenant") // 403, and the text stays here
			}
			return nil
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, tenant := range []any{"acme", "other", 7} {
		token, _ := idp.Token(map[string]any{"tenant": tenant})
		_, err := auth.Verify(context.Background(), token)
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// middleware: 403 insufficient_scope (forbidden)
	// middleware: 401 invalid_token (claims)
}

// Withdraw a token before its end.
func ExampleDenyList() {
	idp, issuer := exampleIssuer()
	var withdrawn middleware.DenyList
	auth, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{issuer}, Revoked: withdrawn.Revoked})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, _ := idp.Token(nil)
	v, err := auth.Verify(context.Background(), token)
	fmt.Println(v.Subject, err)
	withdrawn.Add(v)
	_, err = auth.Verify(context.Background(), token)
	fmt.Println(err)
	// Output:
	// ada <nil>
	// middleware: 401 invalid_token (revoked)
}

// Every customer has a realm of its own, and may be added while the server
// runs. Subjects are qualified, for two realms may have a user of one name.
func ExampleConfig_resolve() {
	realm, err := authtest.New("ES256")
	if err != nil {
		fmt.Println(err)
		return
	}
	realm.URL = "https://id.example/realms/acme"
	customers := map[string]bool{realm.URL: true}
	client := realm.Client() // yours may be left out: see Issuer.HTTPClient
	auth, err := middleware.New(middleware.Config{
		DangerouslyPrivateHosts: []string{"id.example"}, // for the test's own client alone
		Resolve: func(_ context.Context, iss string) (*middleware.Issuer, error) {
			if !customers[iss] {
				return nil, nil // not accepted, and nothing is fetched
			}
			return &middleware.Issuer{
				Issuer: iss, Audiences: []string{realm.Audience}, Algorithms: []string{"ES256"}, Discover: true,
				Subjects: middleware.Qualified, HTTPClient: client,
			}, nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, _ := realm.Token(nil)
	v, err := auth.Verify(context.Background(), token)
	user, _ := v.User()
	fmt.Println(user, err)
	stranger, _ := realm.Token(map[string]any{"iss": "https://id.example/realms/evil"})
	_, err = auth.Verify(context.Background(), stranger)
	fmt.Println(err)
	// Output:
	// iss:30:https://id.example/realms/acme:ada <nil>
	// middleware: 401 invalid_token (issuer)
}
