// Package demo serves what the small examples need and their variables do not
// name: an issuer, a vendor, an OAuth server with an API behind it. All of it
// runs in this process, on free loopback ports, and is not for production.
package demo

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bearerkit/bearerkit/middleware/authtest"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/contactsmanager"
	"github.com/bearerkit/bearerkit/providers/providertest"
)

// Issuer returns the address of an OIDC issuer, the audience of its tokens, and
// a token for ada with scope that is good for an hour.
func Issuer(scope string) (issuer, audience, token string) {
	idp := Must(authtest.New("ES256"))
	idp.URL = serve(idp)
	return idp.URL, idp.Audience, Must(idp.Token(map[string]any{"sub": "ada", "scope": scope}))
}

// Redacto returns the address of a fake of Redacto's API, a workspace and its key.
func Redacto() (base, tenant, key string) {
	const workspace = "6b1c4a0e-7a51-4c0f-9a3e-2f5d8e1b7c10:0d9f2b34-51c8-4e7a-8f60-a1b2c3d4e5f6"
	key = rand.Text()
	vendor := Must(providertest.NewRedacto(providertest.RedactoConfig{Keys: map[string]string{workspace: key}}))
	return serve(vendor), workspace, key
}

// OAuth returns the addresses of a token endpoint and of an API that takes its
// tokens, and the client's credentials. The API refuses each token after three
// calls, long before its expiry, to show what a client then does.
func OAuth() (tokenURL, apiURL, clientID, secret string) {
	clientID, secret = "demo-client", rand.Text()
	var current atomic.Value
	var issued, calls atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if !isClient(r, clientID, secret) {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":"invalid_client"}`))
			return
		}
		token := rand.Text()
		current.Store("Bearer " + token)
		issued.Add(1)
		calls.Store(0)
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 3600})
	})
	mux.HandleFunc("GET /orders", func(w http.ResponseWriter, r *http.Request) {
		if token, _ := current.Load().(string); r.Header.Get("Authorization") != token || token == "" || calls.Add(1) > 3 {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprintf(w, "orders, read with token number %d\n", issued.Load())
	})
	base := serve(mux)
	return base + "/token", base, clientID, secret
}

// Contacts returns the credentials of a ContactsManager organization, which
// signs tokens by itself: those of CM_ORGANIZATION_ID, CM_API_KEY and
// CM_API_SECRET, or made-up ones. expired is a token for ada that has expired.
func Contacts() (organization, key, secret, expired string) {
	organization, key, secret = os.Getenv("CM_ORGANIZATION_ID"), os.Getenv("CM_API_KEY"), os.Getenv("CM_API_SECRET")
	if secret != "" {
		return organization, key, secret, "…"
	}
	organization, key, secret = "demo-org", rand.Text(), rand.Text()+rand.Text()
	past := Must(contactsmanager.New(contactsmanager.Config{
		OrgID: organization, APIKey: key, APISecret: secret, TTL: time.Hour,
		Now: func() time.Time { return time.Now().Add(-2 * time.Hour) },
	}))
	token := Must(past.Generate(context.Background(), providers.Request{Subject: "ada"}))
	return organization, key, secret, token.AccessToken
}

// Login is an OIDC issuer with a token endpoint, a client of it, and what a user
// of that client holds: a token that has expired and a refresh token.
type Login struct{ Issuer, Audience, TokenURL, ClientID, Secret, Expired, Refresh string }

// Logins returns the Login of AUTH_ISSUER, AUTH_AUDIENCE, TOKEN_URL, CLIENT_ID and
// CLIENT_SECRET, or one in this process, which takes each refresh token once.
func Logins() Login {
	if issuer := os.Getenv("AUTH_ISSUER"); issuer != "" {
		return Login{issuer, os.Getenv("AUTH_AUDIENCE"), os.Getenv("TOKEN_URL"), os.Getenv("CLIENT_ID"), os.Getenv("CLIENT_SECRET"), "…", "…"}
	}
	idp := Must(authtest.New("ES256"))
	id, secret := "demo-client", rand.Text()
	var current atomic.Value
	current.Store(rand.Text())
	mux := http.NewServeMux()
	mux.Handle("/", idp)
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		next := rand.Text()
		if !isClient(r, id, secret) || !current.CompareAndSwap(r.FormValue("refresh_token"), next) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": Must(idp.Token(nil)), "token_type": "Bearer", "expires_in": 3600, "refresh_token": next,
		})
	})
	idp.URL = serve(mux)
	expired := Must(idp.Token(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}))
	return Login{idp.URL, idp.Audience, idp.URL + "/token", id, secret, expired, current.Load().(string)}
}

// CookieName is the cookie that the refresh token of a Login is in.
const CookieName = "__Host-refresh"

// RefreshCookie returns the value of that cookie, "" without one.
func RefreshCookie(r *http.Request) string {
	c, err := r.Cookie(CookieName)
	if err != nil {
		return ""
	}
	return c.Value
}

// isClient reports whether r has the client's credentials.
func isClient(r *http.Request, id, secret string) bool {
	name, s, _ := r.BasicAuth()
	return name == id && subtle.ConstantTimeCompare([]byte(s), []byte(secret)) == 1
}

// serve serves h on a free loopback port.
func serve(h http.Handler) (base string) {
	l := Must(net.Listen("tcp", "127.0.0.1:0"))
	go func() { _ = (&http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}).Serve(l) }()
	return "http://" + l.Addr().String()
}

// Serve serves h on ADDR, 127.0.0.1:8080 if that is not set, and writes to
// standard output which variables the program reads and what to try. "{base}" in
// try is the server's address. It ends the program where it cannot serve.
func Serve(h http.Handler, variables string, try ...string) {
	addr := os.Getenv("ADDR")
	if addr == "" {
		addr = "127.0.0.1:8080"
	}
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		log.Fatalf("%v; choose another address, like ADDR=127.0.0.1:0 for any free port", err)
	} else if err != nil {
		log.Fatalf("ADDR: %v", err)
	}
	base := "http://" + l.Addr().String()
	fmt.Println("Variables:", variables)
	fmt.Println("Try it:")
	for _, line := range try {
		fmt.Println("  " + strings.ReplaceAll(line, "{base}", base))
	}
	slog.Info("listening", "url", base)
	log.Fatal((&http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute}).Serve(l))
}

// Must returns v, and ends the program on an error.
func Must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
