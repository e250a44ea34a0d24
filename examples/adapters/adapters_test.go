package adapters_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/examples/adapters"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
)

func TestRouters(t *testing.T) {
	issuer, err := authtest.New("ES256")
	if err != nil {
		t.Fatal(err)
	}
	auth, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{{
		Issuer: issuer.URL, Audiences: []string{issuer.Audience}, Algorithms: []string{"ES256"}, Keys: issuer.PublicKeys(),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	token, err := issuer.Token(map[string]any{"sub": "ada"})
	if err != nil {
		t.Fatal(err)
	}
	for name, router := range map[string]func(*middleware.Authenticator) http.Handler{
		"ServeMux": adapters.ServeMux, "chi": adapters.Chi, "gin": adapters.Gin, "echo": adapters.Echo,
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(router(auth))
			defer srv.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			get := func(path, token string) *http.Response {
				req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL+path, nil)
				if token != "" {
					req.Header.Set("Authorization", "Bearer "+token)
				}
				if path == "/socket" {
					req.Header.Set("Connection", "Upgrade")
					req.Header.Set("Upgrade", "websocket")
				}
				res, err := srv.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = res.Body.Close() })
				return res
			}
			for _, path := range []string{"/me", "/events", "/socket"} {
				for _, bad := range []string{"", token + "x"} {
					res := get(path, bad)
					if res.StatusCode != 401 || res.Header.Get("WWW-Authenticate") == "" {
						t.Errorf("%s with %q: %d", path, bad, res.StatusCode)
					}
				}
			}
			if b, _ := io.ReadAll(get("/me", token).Body); string(b) != "ada" {
				t.Errorf("the subject is %q", b)
			}
			if line, err := bufio.NewReader(get("/events", token).Body).ReadString('\n'); line != "data: hello\n" {
				t.Errorf("the stream begins with %q, %v", line, err)
			}
			res := get("/socket", token)
			if b, _ := io.ReadAll(res.Body); res.StatusCode != 101 || string(b) != "hello" {
				t.Errorf("the socket answers %d %q", res.StatusCode, b)
			}
			cancel()
		})
	}
}

// The document shows the bridges as they are here.
func TestTheDocumentShowsTheBridges(t *testing.T) {
	doc, err := os.ReadFile("../../docs/forward-auth-and-grpc.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("adapters.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"// Echo has", "// GinBridge makes"} {
		_, rest, ok := strings.Cut(string(source), name)
		body, _, _ := strings.Cut(rest, "\n}\n")
		if !ok || !strings.Contains(string(doc), name+body+"\n}\n") {
			t.Errorf("%s… is not in the document as it is here", name)
		}
	}
}
