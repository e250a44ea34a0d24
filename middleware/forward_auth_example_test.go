package middleware_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/bearerkit/bearerkit/middleware"
)

// nginx asks, by auth_request, before it passes a request on.
func ExampleForwardAuth() {
	idp, issuer := exampleIssuer()
	auth, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{issuer}})
	if err != nil {
		fmt.Println(err)
		return
	}
	h, err := middleware.ForwardAuth(auth, middleware.ForwardAuthConfig{
		Proxy: "nginx",
		Peers: []string{"10.0.0.7"},
		Headers: map[string]func(*middleware.Verified) []string{
			"Remote-User": func(v *middleware.Verified) []string { user, _ := v.User(); return []string{user} },
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("GET /forward-auth", h)

	token, _ := idp.Token(map[string]any{"sub": "ada"})
	for _, authorization := range []string{"Bearer " + token, ""} {
		r := httptest.NewRequest(http.MethodGet, "/forward-auth", nil) // what nginx sends
		r.RemoteAddr = "10.0.0.7:4711"
		r.Header.Set("X-Original-Method", "POST")
		r.Header.Set("X-Original-Host", "shop.example.com")
		r.Header.Set("X-Original-URI", "/orders")
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Printf("%d Remote-User: %q\n", w.Code, w.Header().Get("Remote-User"))
	}
	// Output:
	// 200 Remote-User: "ada"
	// 401 Remote-User: ""
}
