package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// subjectOf is the subject that an embedded route's claims tell.
func subjectOf(v map[string]any) string { return fmt.Sprint(v["sub"], " ", v["aud"], " ", v["act"]) }

func TestOnBehalfOfTheCaller(t *testing.T) {
	_, srv, _ := start(t, nil)
	for _, name := range []string{"ada", "grace"} {
		_, _, v := call(t, srv, "POST", "/demo/token", "", `{"sub":"`+name+`"}`)
		bearer := fmt.Sprint(v["access_token"])
		for range 2 {
			status, _, v := call(t, srv, "GET", "/obo/orders/1", bearer, "")
			if status != 200 || subjectOf(v) != name+" urn:demo:orders map[sub:gateway]" {
				t.Errorf("%s: %d %v", name, status, v)
			}
		}
		// The token of one API is none at another.
		if status, _, v := call(t, srv, "GET", "/obo/orders/1", "", ""); status != 401 {
			t.Errorf("%d %v", status, v)
		}
	}
}

// A real exchange: the client's secret, the caller's token and the audience go
// to the token endpoint, and only the new token to the target.
func TestOnBehalfOfWithAServer(t *testing.T) {
	var exchanges, refusing atomic.Int32
	var sent atomic.Value
	as := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		exchanges.Add(1)
		client, secret, _ := r.BasicAuth()
		sent.Store(client + " " + secret + " " + r.FormValue("audience") + " " + r.FormValue("subject_token"))
		if refusing.Load() == 1 {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
			return
		}
		_, _ = io.WriteString(w, `{"access_token":"exchanged","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":300}`)
	}))
	defer as.Close()
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"saw": r.Header.Get("Authorization"), "path": r.URL.Path})
	}))
	defer target.Close()

	vars, issuer, _ := realVars(t)
	for name, value := range map[string]string{"OBO_TOKEN_URL": as.URL + "/token", "OBO_CLIENT_ID": "gw", "OBO_CLIENT_SECRET": "planted-obo",
		"OBO_AUDIENCE": "urn:orders", "OBO_TARGET": target.URL + "/v1"} {
		vars[name] = value
	}
	_, srv, logs := start(t, vars)
	bearer, err := issuer.Token(map[string]any{"sub": "ada"})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		status, _, v := call(t, srv, "GET", "/obo/orders", bearer, "")
		if status != 200 || v["saw"] != "Bearer exchanged" || v["path"] != "/v1/orders" {
			t.Fatalf("%d %v", status, v)
		}
	}
	if got := sent.Load(); got != "gw planted-obo urn:orders "+bearer || exchanges.Load() != 1 {
		t.Errorf("%d exchanges, %v", exchanges.Load(), got)
	}
	// The caller's token will not do: that is the caller's 401.
	refusing.Store(1)
	other, err := issuer.Token(map[string]any{"sub": "bob"})
	if err != nil {
		t.Fatal(err)
	}
	if status, _, v := call(t, srv, "GET", "/obo/orders", other, ""); status != 401 || v["code"] != "not_signed_in" {
		t.Errorf("%d %v", status, v)
	}
	for _, secret := range []string{bearer, other, "planted-obo", base64.StdEncoding.EncodeToString([]byte("gw:planted-obo"))} {
		if strings.Contains(logs.String(), secret) {
			t.Errorf("the log has a secret: %.20s…", secret)
		}
	}
}

// Inside a compose network the token endpoint and the target have no TLS.
func TestOnBehalfOfOverPlainHTTPOfNamedHosts(t *testing.T) {
	make := func(plain string) error {
		vars := map[string]string{
			"EMBEDDED": "off", "AUTH_ISSUER": "http://keycloak:8080/realms/a", "AUTH_AUDIENCE": "gw", "PLAIN_HTTP_HOSTS": plain,
			"OBO_TOKEN_URL": "http://keycloak:8080/token", "OBO_CLIENT_ID": "gw", "OBO_CLIENT_SECRET": "secret", "OBO_AUDIENCE": "a", "OBO_TARGET": "http://orders/v1",
		}
		log := slog.New(slog.DiscardHandler)
		c, err := readConfig(func(name string) string { return vars[name] }, log)
		if err != nil {
			return err
		}
		g, err := newGateway(t.Context(), c, log)
		if err != nil {
			return err
		}
		g.stop()
		return g.close()
	}
	if err := make("keycloak:8080,orders:80"); err != nil {
		t.Error(err)
	}
	for plain, want := range map[string]string{"keycloak:8080": "Target: must be https", "keycloak:8080,orders:8080": "Target: must be https", "": "must be https"} {
		if err := make(plain); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", plain, err)
		}
	}
}

func TestOnBehalfOfIsConfiguredWhole(t *testing.T) {
	for want, vars := range map[string]map[string]string{
		"OBO_AUDIENCE, OBO_TARGET missing": {"OBO_TOKEN_URL": "https://as.example/token", "OBO_CLIENT_ID": "gw"},
		"AUTH_ISSUER and AUTH_AUDIENCE":    {"OBO_TOKEN_URL": "https://as.example/token", "OBO_CLIENT_ID": "gw", "OBO_AUDIENCE": "a", "OBO_TARGET": "https://t.example"},
	} {
		_, err := readConfig(func(name string) string { return vars[name] }, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestOnBehalfOfNeedsOneWayToAuthenticate(t *testing.T) {
	vars := map[string]string{
		"AUTH_ISSUER": "https://id.example", "AUTH_AUDIENCE": "gw",
		"OBO_TOKEN_URL": "https://id.example/token", "OBO_CLIENT_ID": "gw", "OBO_AUDIENCE": "a", "OBO_TARGET": "https://orders.example",
	}
	get := func(name string) string { return vars[name] }
	if _, err := readConfig(get, nil); err == nil || !strings.Contains(err.Error(), "OBO_CLIENT_SECRET, OBO_PRIVATE_KEY_FILE or OBO_ASSERTION_FILE missing") {
		t.Error(err)
	}
	vars["OBO_CLIENT_SECRET"] = "secret"
	if _, err := readConfig(get, nil); err != nil {
		t.Error(err)
	}
}
