package providertest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// RedoxConfig configures [NewRedox]. ClientID is required, and one of JWKS and
// JWKSURL.
type RedoxConfig struct {
	// ClientID is the iss and sub of every assertion.
	ClientID string
	// JWKS is the client's public key set, RFC 7517.
	JWKS json.RawMessage
	// JWKSURL is where the client publishes it.
	JWKSURL string
	// JWKSMaxAge is how long a copy of JWKSURL's set is used before an unknown
	// kid causes another fetch; 0 means that every unknown kid causes one.
	JWKSMaxAge time.Duration
	// HTTPClient fetches JWKSURL; nil means http.DefaultClient.
	HTTPClient *http.Client
	// Audience is the aud of every assertion; "" means the URL of the token
	// endpoint in the request.
	Audience string
	// Scopes are granted if a client asks for them; nil grants any scope.
	Scopes []string
}

type redox struct {
	*Fake
	cfg  RedoxConfig
	keys keySet
	seen map[string]struct{} // every jti there was; Fake.mu guards it
}

// NewRedox returns a fake of Redox:
//
//	POST /v2/auth/token
//	ANY  /fhir/…
//	ANY  /endpoint
//
// The token endpoint expects a form with an assertion. A key of the client's
// set, named by kid, must have signed the assertion with RS384 or ES384. iss
// and sub must be the client, and aud the token endpoint. iat must be within
// the past 5 minutes (with 10 seconds of skew), exp no more than 5 minutes
// ahead, and jti new. The answer is a token for 5 minutes without a refresh
// token. A fault of the form is a 400 invalid_request. A fault of the assertion
// is a 401 invalid_client. Its description is empty for aud, alg, iat, exp and
// jti, as the vendor documents.
//
// The other endpoints expect a live token. They answer 401 before they read the
// body, with a reason in plain text and no challenge, or 200 with what they
// received.
func NewRedox(cfg RedoxConfig) (*Fake, error) {
	switch {
	case cfg.ClientID == "":
		return nil, errors.New("providertest: RedoxConfig.ClientID is required")
	case (len(cfg.JWKS) == 0) == (cfg.JWKSURL == ""):
		return nil, errors.New("providertest: RedoxConfig: one of JWKS and JWKSURL is required")
	}
	v := &redox{Fake: newFake(5*time.Minute, 0), cfg: cfg, seen: map[string]struct{}{}}
	v.keys = keySet{url: cfg.JWKSURL, maxAge: cfg.JWKSMaxAge, client: cfg.HTTPClient}
	if v.keys.client == nil {
		v.keys.client = http.DefaultClient
	}
	if cfg.JWKSURL == "" {
		if err := v.keys.parse(cfg.JWKS); err != nil {
			return nil, errors.New("providertest: RedoxConfig.JWKS: not a set of public keys")
		}
	}
	v.handle("POST /v2/auth/token", generates, v.token)
	v.handle("/fhir/", apiCalls, v.api)
	v.handle("/endpoint", apiCalls, v.api)
	return v.Fake, nil
}

func (v *redox) refuse(w http.ResponseWriter, status int, code, description string) {
	v.set(func() { v.stats.Refused++ })
	answer(w, status, object{
		"error": code, "error_description": description,
		"error_uri": "https://docs.redoxengine.com/permalink/oauth-errors",
	})
}

func (v *redox) token(w http.ResponseWriter, r *http.Request) {
	form, reason := readForm(r)
	if reason != "" {
		v.refuse(w, http.StatusBadRequest, "invalid_request", reason)
		return
	}
	audiences := []string{v.cfg.Audience}
	if v.cfg.Audience == "" {
		audiences = []string{"https://" + r.Host + r.URL.Path, "http://" + r.Host + r.URL.Path}
	}
	if reason, ok := v.check(r.Context(), form.Get("client_assertion"), audiences); !ok {
		v.refuse(w, http.StatusUnauthorized, "invalid_client", reason)
		return
	}
	scope := strings.Fields(form.Get("scope"))
	for _, s := range scope {
		if v.cfg.Scopes != nil && !slices.Contains(v.cfg.Scopes, s) {
			v.refuse(w, http.StatusBadRequest, "invalid_scope", "")
			return
		}
	}
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails
	g := &grant{access: base64.RawURLEncoding.EncodeToString(random[:]), params: map[string]any{"scope": strings.Join(scope, " ")}}
	var lifetime time.Duration
	v.set(func() {
		now := v.now()
		lifetime = v.lifetime.access
		g.accessEnds = now.Add(lifetime)
		v.book.add(g, now)
		v.stats.Issued++
	})
	out := object{"access_token": g.access, "token_type": "Bearer", "expires_in": int(lifetime / time.Second)}
	if len(scope) > 0 {
		out["scope"] = strings.Join(scope, " ")
	}
	answer(w, http.StatusOK, out)
}

// readForm checks the token request except for the assertion. reason is the
// vendor's documented text.
func readForm(r *http.Request) (form url.Values, reason string) {
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if mediaType != "application/x-www-form-urlencoded" {
		return nil, "The content-type must be x-www-form-urlencoded"
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err == nil {
		form, err = url.ParseQuery(string(body))
	}
	if err != nil {
		return nil, "Malformed form"
	}
	for _, values := range form {
		if len(values) > 1 { // RFC 6749 section 3.2
			return nil, "Repeated parameter"
		}
	}
	switch {
	case !form.Has("grant_type"):
		return nil, "Missing grant_type parameter"
	case form.Get("grant_type") != "client_credentials":
		return nil, "The grant_type parameter should equal 'client_credentials'"
	case !form.Has("client_assertion_type"):
		return nil, "Missing client assertion type"
	case form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
		return nil, "Invalid client assertion type"
	case form.Get("client_assertion") == "":
		return nil, "Missing client assertion"
	}
	return form, ""
}

func (v *redox) api(w http.ResponseWriter, r *http.Request) {
	var g *grant
	v.set(func() {
		if g = v.book.live(bearer(r), v.now()); g == nil {
			v.stats.Unauthorized++
		}
	})
	if g == nil {
		answerText(w, http.StatusUnauthorized, "This source is not authorized.")
		return
	}
	echo(w, r, object{"token": g.serial, "scope": g.params["scope"]})
}
