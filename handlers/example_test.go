package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/contactsmanager"
	"github.com/bearerkit/bearerkit/providers/kudo"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/providers/redacto"
	"github.com/bearerkit/bearerkit/tokencache"
)

// show prints what h answers to a call, without the tokens.
func show(h http.Handler, r *http.Request) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Code, strings.TrimSpace(signed.ReplaceAllString(w.Body.String(), "<token>")))
}

func jsonCall(path, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return r
}

// The vendor's documented sample endpoint, with the secret kept on the server
// and the user taken from the verified claims instead of the body.
func ExampleGenerate() {
	vendor, err := contactsmanager.New(contactsmanager.Config{
		OrgID: "my-org", APIKey: "my-key", APISecret: "a-secret-of-at-least-32-bytes-....",
		Now: func() time.Time { return time.Unix(1700000000, 0) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	generate, err := handlers.Generate(handlers.Config{
		Provider:  vendor, // a token cache around it, for vendors that one has to call
		Wire:      vendor,
		Authorize: handlers.SubjectFrom(subject), // middleware.Subject
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/generate-token", generate)

	show(mux, signedIn(jsonCall("/generate-token", `{"userId":"user-123"}`), "user-123"))
	// Output:
	// 200 {"token":"<token>","expiresAt":1700086400,"message":"Token generated for user user-123","success":true}
}

func ExampleRefresh() {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Date"] = nil
		_, _ = io.WriteString(w, `{"detail":{"token":"new","refresh_token":"next","expires_at":"2024-01-16T10:30:00Z"}}`)
	}))
	defer upstream.Close()
	vendor, err := redacto.New(redacto.Config{
		BaseURL: upstream.URL, APIKey: "cms-key", Tenants: []string{org + ":" + workspace},
		Now: func() time.Time { return time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	refresh, err := handlers.Refresh(handlers.Config{
		Provider: vendor, Wire: vendor, Authorize: handlers.DangerouslyAllowAnyCaller,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	show(refresh, jsonCall("/api/consent/refresh-token", `{"refresh_token":"old"}`))
	show(refresh, jsonCall("/api/consent/refresh-token", `{}`))
	// Output:
	// 200 {"token":"new","refresh_token":"next","expires_at":"2024-01-16T10:30:00Z","expires_in":86400,"token_type":"Bearer"}
	// 400 {"code":"refresh_token_required","detail":"refresh_token is required.","error":"refresh_token is required.","status":400,"title":"Bad Request","type":"about:blank"}
}

func ExampleVerify() {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"file":"test.dwg","userId":"123","auth":"our key","server":"https://internal"}`)
	}))
	defer upstream.Close()
	vendor, err := kudo.New(kudo.Config{BaseURL: upstream.URL, AccessKey: "partner-key"})
	if err != nil {
		fmt.Println(err)
		return
	}
	verify, err := handlers.Verify(handlers.Config{Provider: vendor, Authorize: handlers.DangerouslyAllowAnyCaller})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := httptest.NewRequest(http.MethodGet, "/kudo/verify", nil)
	r.Header.Set("x-api-token", "bbf18f21-3d0d-4a4c-b650-9c14d4075ce0")
	show(verify, r)
	// Output:
	// 200 {"file":"test.dwg","userId":"123"}
}

// Introspection for services of our own, which show a key.
func ExampleVerify_introspection() {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"active":true,"token_type":"Bearer","sub":"alice","scope":"read"}`)
	}))
	defer upstream.Close()
	server, err := oauth.New(oauth.Config{TokenURL: upstream.URL, IntrospectionURL: upstream.URL, ClientID: "us", Secret: "secret"})
	if err != nil {
		fmt.Println(err)
		return
	}
	verify, err := handlers.Verify(handlers.Config{
		Provider: server, Introspection: true,
		Authorize: func(r *http.Request, _ *providers.Request) error {
			if _, key, _ := r.BasicAuth(); key != "service-key" { // in earnest: subtle.ConstantTimeCompare
				return errors.New("unknown service")
			}
			return nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := httptest.NewRequest(http.MethodPost, "/introspect", strings.NewReader("token=abc"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("billing", "service-key")
	show(verify, r)
	// Output:
	// 200 {"active":true,"scope":"read","sub":"alice","token_type":"Bearer"}
}

func ExampleSignOut() {
	cache := &fake{purge: func(_ context.Context, r providers.Request) error { // *tokencache.Cache
		fmt.Println("purged", r.Subject)
		return nil
	}}
	signOut, err := handlers.SignOut(handlers.Config{Provider: cache, Wire: wire{}, Authorize: handlers.SubjectFrom(subject)})
	if err != nil {
		fmt.Println(err)
		return
	}
	show(signOut, signedIn(jsonCall("/sign-out", `{}`), "alice"))
	// Output:
	// purged alice
	// 204
}

func ExampleJWKS() {
	source := keys(`{"keys":[{"kty":"EC","kid":"2024","crv":"P-256","x":"...","y":"..."}]}`) // *redox.Provider
	jwks, err := handlers.JWKS(source, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	show(jwks, httptest.NewRequest(http.MethodGet, "/.well-known/jwks.json", nil))

	_, err = handlers.JWKS(keys(`{"keys":[{"kty":"EC","kid":"2024","d":"..."}]}`), nil)
	fmt.Println(err)
	// Output:
	// 200 {"keys":[{"kty":"EC","kid":"2024","crv":"P-256","x":"...","y":"..."}]}
	// handlers: jwks: key 0: has a private part
}

func ExampleProxy() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s with %q for %s", r.URL, r.Header.Get("Authorization"), r.Header.Get("Redox-Source-Id"))
	}))
	defer api.Close()
	proxy, err := handlers.Proxy(handlers.ProxyConfig{
		Target:    api.URL,
		Transport: attach{http.DefaultTransport}, // *middleware.Transport
		Authorize: handlers.SubjectFrom(subject), // middleware.Subject
		Allow:     []string{"/fhir/", "POST /endpoint"},
		Header:    http.Header{"Redox-Source-Id": {"source-7"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := httptest.NewRequest(http.MethodGet, "/fhir/R4/Patient?name=x", nil)
	r.Header.Set("Authorization", "Bearer the caller's")
	r.Header.Set("redox_source_id", "forged")
	show(proxy, signedIn(r, "alice"))
	// Output:
	// 200 /fhir/R4/Patient?name=x with "Bearer ours" for source-7
}

// A rate limiter in front of the handlers answers in their shape.
func ExampleError() {
	limited := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // httprate.WithLimitHandler
		handlers.WriteError(w, r, &providers.Error{Code: "rate_limited", RetryAfter: time.Minute})
	})
	w := httptest.NewRecorder()
	limited.ServeHTTP(w, jsonCall("/api/consent/token", `{}`))
	fmt.Println(w.Code, "Retry-After:", w.Header().Get("Retry-After"))
	fmt.Println(w.Body)
	// Output:
	// 429 Retry-After: 60
	// {"code":"rate_limited","detail":"Too many requests. Try again later.","error":"Too many requests. Try again later.","status":429,"title":"Too Many Requests","type":"about:blank"}
}

// Without an Authorize there is no endpoint, and all mistakes come at once.
func ExampleConfig() {
	_, err := handlers.Generate(handlers.Config{Cookie: &http.Cookie{Name: "token"}})
	fmt.Println(err)
	// Output:
	// handlers: generate: Wire: required; a provider without one is for server to server: publish its keys with JWKS and forward calls with Proxy instead
	// Provider: required
	// Authorize: required; see SubjectFrom and DangerouslyAllowAnyCaller
	// Cookie: Name must begin with __Host- and be a cookie name
}

// Kudo's editor, opened for the signed-in user by a form of the application's
// own page.
func ExampleRedirect() {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"token":"bbf18f21","expiration_time":%d}`, time.Now().Add(time.Hour).Unix())
	}))
	defer upstream.Close()
	vendor, err := kudo.New(kudo.Config{BaseURL: upstream.URL, AccessKey: "partner-key"})
	if err != nil {
		fmt.Println(err)
		return
	}
	open, err := handlers.Redirect(handlers.Config{
		Provider:  vendor,
		Wire:      vendor,
		Authorize: handlers.SubjectFrom(subject), // middleware.Subject
		Target:    func(token string) (string, error) { return vendor.EditorURL("https://editor.example.com", token) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	form := httptest.NewRequest(http.MethodPost, "/kudo/open", strings.NewReader("file=test.dwg"))
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	open.ServeHTTP(w, signedIn(form, "ada"))
	fmt.Println(w.Code, w.Header().Get("Location"), w.Header().Get("Referrer-Policy"))
	// Output:
	// 303 https://editor.example.com/editor?apitoken=bbf18f21 no-referrer
}

// Redacto's user management, for the person whom the verified claims name. An
// email in the body that is not the verified one is refused.
func ExampleUsers() {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"detail":{"uuid":"0b8e5a3c-6f1d-4a63-9c1f-1f6f2d1f7a01","org_user_id":"ada"}}`)
	}))
	defer upstream.Close()
	vendor, err := redacto.New(redacto.Config{
		BaseURL: upstream.URL, APIKey: "cms-key",
		Tenants: []string{"0b8e5a3c-6f1d-4a63-9c1f-1f6f2d1f7a01:7d3c1f2e-8a94-4b02-8a55-3f0f6f0a9b01"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	users := vendor.Users()
	create, err := handlers.Users(handlers.Config{Wire: users, Authorize: func(r *http.Request, req *providers.Request) error {
		err := handlers.SubjectFrom(subject)(r, req)
		req.Identifiers = map[string]string{"email": "ada@example.com"} // where the claim email_verified is true
		return err
	}}, users.Create)
	if err != nil {
		fmt.Println(err)
		return
	}
	show(create, signedIn(jsonCall("/create-user", `{"primary_email":"bob@example.com"}`), "ada"))
	// Output:
	// 403 {"code":"identity_mismatch","detail":"You may act only for yourself.","error":"You may act only for yourself.","status":403,"title":"Forbidden","type":"about:blank"}
}

// A vendor whole: three lines for each, whatever it can.
func ExampleMount() {
	vendor, err := kudo.New(kudo.Config{AccessKey: "partner-key"})
	if err != nil {
		fmt.Println(err)
		return
	}
	cache, err := tokencache.New(vendor, tokencache.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	patterns, err := handlers.Mount(mux, "/kudo", vendor, handlers.Config{Provider: cache, Authorize: handlers.SubjectFrom(subject)})
	fmt.Println(strings.Join(patterns, "\n"))
	fmt.Println(err)
	// Output:
	// POST /kudo/token
	// POST /kudo/sign-out
	// GET /kudo/verify
	// <nil>
}
