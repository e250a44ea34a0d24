package browser_test

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/handlers"
	kit "github.com/bearerkit/bearerkit/handlers/browser"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// app is a small application with a session of its own, the kit's endpoints in
// cookie mode, and a proxy to a vendor that loves caches.
type app struct {
	vendor *vendor
	cache  *tokencache.Cache

	mu       sync.Mutex
	paths    map[string]int
	refused  int               // answers of 401 to /data
	sessions map[string]string // handle to user
}

// vendor issues tokens and answers with whose token it was shown.
type vendor struct {
	mu      sync.Mutex
	n       int
	owner   map[string]string
	revoked map[string]bool
	slow    chan struct{} // if not nil, a token comes when it is closed
	began   chan struct{} // gets one for each call for a token
}

func (v *vendor) Generate(ctx context.Context, req providers.Request) (providers.Token, error) {
	v.mu.Lock()
	slow := v.slow
	v.mu.Unlock()
	v.began <- struct{}{}
	if slow != nil {
		<-slow
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.n++
	token := fmt.Sprintf("vendor-%s-%d", req.Subject, v.n)
	v.owner[token] = req.Subject
	return providers.Token{AccessToken: token, TokenType: "Bearer", IssuedAt: time.Now(), Expiry: time.Now().Add(time.Hour)}, nil
}

func (v *vendor) Revoke(_ context.Context, t providers.Token) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.revoked[t.AccessToken] = true
	return nil
}

// living are the tokens of user that were issued and not revoked.
func (v *vendor) living(user string) (tokens []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for token, owner := range v.owner {
		if owner == user && !v.revoked[token] {
			tokens = append(tokens, token)
		}
	}
	return tokens
}

// hold makes the next tokens wait until let is called.
func (v *vendor) hold() (let func()) {
	c := make(chan struct{})
	v.mu.Lock()
	v.slow = c
	v.mu.Unlock()
	for len(v.began) > 0 {
		<-v.began
	}
	return sync.OnceFunc(func() {
		v.mu.Lock()
		v.slow = nil
		v.mu.Unlock()
		close(c)
	})
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	owner := v.owner[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	v.mu.Unlock()
	switch {
	case owner == "":
		w.WriteHeader(http.StatusUnauthorized)
	case r.Header.Get("Upgrade") != "":
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		_, _ = fmt.Fprintf(buf, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
		_, _ = fmt.Fprintf(buf, "\x81%c%s", len(owner), owner) // one text frame
		_ = buf.Flush()
		_, _ = io.Copy(io.Discard, conn)
	default:
		if r.URL.Path == "/data/max-age" {
			w.Header().Set("Cache-Control", "max-age=600")
		}
		w.Header().Set("Last-Modified", "Mon, 01 Jan 2018 00:00:00 GMT")
		_, _ = io.WriteString(w, owner)
	}
}

func (v *vendor) Decode(url.Values, map[string]json.RawMessage) (providers.Request, error) {
	return providers.Request{}, nil
}

func (v *vendor) Encode(_ providers.Request, t providers.Token) any {
	return map[string]any{"token": t.AccessToken, "expires_in": int(time.Until(t.Expiry) / time.Second)}
}

// newApp serves the application on loopback.
func newApp(t *testing.T) (*app, string) {
	t.Helper()
	a := &app{
		vendor: &vendor{owner: map[string]string{}, revoked: map[string]bool{}, began: make(chan struct{}, 1000)},
		paths:  map[string]int{}, sessions: map[string]string{},
	}
	upstream := httptest.NewServer(a.vendor)
	t.Cleanup(upstream.Close)
	cache, err := tokencache.New(a.vendor, tokencache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a.cache = cache
	c := handlers.Config{Provider: cache, Wire: a.vendor, Authorize: a.authorize}
	plain := must(t)(handlers.Generate(c))
	c.Cookie = &http.Cookie{Name: "__Host-token"}
	c.Handle = a.handle
	generate := must(t)(handlers.Generate(c))
	signOut := must(t)(handlers.SignOut(c))
	proxy := must(t)(handlers.Proxy(handlers.ProxyConfig{
		Target: upstream.URL, Allow: []string{"GET /data/", "GET /ws"}, Authorize: a.authorizeData,
		Transport: &middleware.Transport{Source: func(r *http.Request) (middleware.TokenSource, error) {
			user, _ := r.Context().Value(userKey{}).(string)
			return cache.Source(providers.Request{Subject: user}), nil
		}},
	}))
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "user", Value: r.URL.Query().Get("user"), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	})
	mux.HandleFunc("POST /expire", func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "__Host-token", Path: "/", MaxAge: -1, Secure: true})
	})
	mux.Handle("/api/token", generate)
	mux.Handle("/api/plain", plain)
	mux.Handle("/api/sign-out", signOut)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/data/") || r.URL.Path == "/ws" {
			proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, a.user(r))))
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>app</title>"+r.URL.Path)
	})
	mux.Handle("/bearerkit.mjs", kit.Script())
	mux.HandleFunc("/worker.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = io.WriteString(w, workerScript)
	})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.paths[r.URL.Path]++
		a.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		_ = cache.Close(context.Background())
	})
	return a, s.URL
}

// workerScript is a service worker that passes every request on, and has a
// client of its own.
const workerScript = `import { createClient } from "/bearerkit.mjs";
let client;
addEventListener("install", () => skipWaiting());
addEventListener("activate", (e) => e.waitUntil(clients.claim()));
addEventListener("fetch", (e) => e.respondWith(fetch(e.request)));
addEventListener("message", (e) => {
  const say = (text) => e.ports[0].postMessage(text);
  client ??= createClient({ base: "/api", refresh: "", cookie: true });
  client.fetch(e.data).then(async (r) => say(r.status + " " + (await r.text())), (error) => say(error.code ?? String(error)));
});`

type userKey struct{}

// user is who the token or the cookie says the caller is.
func (a *app) user(r *http.Request) string {
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		a.vendor.mu.Lock()
		defer a.vendor.mu.Unlock()
		return a.vendor.owner[bearer]
	}
	if k, err := r.Cookie("__Host-token"); err == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.sessions[k.Value]
	}
	return ""
}

// handle is what goes into the token's cookie.
func (a *app) handle(_ *http.Request, req providers.Request, tok providers.Token) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	name := "session-of-" + tok.AccessToken
	a.sessions[name] = req.Subject
	return name, nil
}

// authorize is the application's own login, which a sign-out of the kit does not
// end: the worst case for the race.
func (a *app) authorize(r *http.Request, req *providers.Request) error {
	k, err := r.Cookie("user")
	if err != nil {
		return err
	}
	req.Subject = k.Value
	return nil
}

func (a *app) authorizeData(r *http.Request, _ *providers.Request) error {
	if a.user(r) == "" {
		a.mu.Lock()
		a.refused++
		a.mu.Unlock()
		return &providers.Error{Code: providers.CodeNotSignedIn}
	}
	return nil
}

func (a *app) calls(path string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.paths[path]
}

func must(t *testing.T) func(http.Handler, error) http.Handler {
	return func(h http.Handler, err error) http.Handler {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
}
