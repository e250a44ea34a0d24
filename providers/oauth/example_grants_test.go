package oauth_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

// tokenEndpoint prints what it is asked for and answers with a token called
// after the grant.
func tokenEndpoint(answer string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(strings.TrimSpace(r.PostFormValue("grant_type") + " " + r.PostFormValue("audience") + r.PostFormValue("scope")))
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, answer)
	}))
}

// Calling the next API as the caller: its verified token is exchanged (RFC
// 8693). Behind a token cache all calls of one caller share one exchange.
func ExampleNew_tokenExchange() {
	as := tokenEndpoint(`{"access_token":"for-orders","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":300}`)
	defer as.Close()
	p, err := oauth.New(oauth.Config{TokenURL: as.URL, ClientID: "gateway", Secret: "secret",
		Grant: "token_exchange", Issuers: []string{"https://login.example"}, Audience: []string{"https://orders.example"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	caller := providers.Assertion{Token: "eyJ.of-the.caller", Issuer: "https://login.example", Expiry: time.Now().Add(time.Minute)}
	token, err := p.Generate(context.Background(), providers.Request{Assertion: caller})
	fmt.Println(token.AccessToken, time.Until(token.Expiry) <= time.Minute, err)

	caller.Issuer = "https://other.example"
	_, err = p.Generate(context.Background(), providers.Request{Assertion: caller})
	fmt.Println(err)
	// Output:
	// urn:ietf:params:oauth:grant-type:token-exchange https://orders.example
	// for-orders true <nil>
	// oauth: generate: invalid_token: tokens of this issuer are not presented to this server
}

// An agent of one enterprise at the API of another (Identity Assertion
// Authorization Grant): the identity provider exchanges the user's ID token for
// an assertion, and the API's own server takes that as a grant. Two providers,
// one after the other.
func Example_identityAssertion() {
	const jag = "urn:ietf:params:oauth:token-type:id-jag"
	idp := tokenEndpoint(`{"access_token":"an-assertion","issued_token_type":"` + jag + `","token_type":"N_A","expires_in":300}`)
	defer idp.Close()
	api := tokenEndpoint(`{"access_token":"for-the-api","token_type":"Bearer","expires_in":3600}`)
	defer api.Close()

	exchange, err := oauth.New(oauth.Config{TokenURL: idp.URL, ClientID: "agent", Secret: "secret", Grant: "token_exchange",
		Issuers: []string{"https://login.example"}, Audience: []string{"https://api.example"}, Params: url.Values{"requested_token_type": {jag}}})
	grant, err2 := oauth.New(oauth.Config{TokenURL: api.URL, ClientID: "agent-there", Secret: "secret", Grant: "jwt_bearer",
		Issuers: []string{idp.URL}, Scopes: []string{"read"}})
	if err := errors.Join(err, err2); err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	user := providers.Assertion{Token: "eyJ.of-the.caller", Type: "urn:ietf:params:oauth:token-type:id_token", Issuer: "https://login.example"}
	assertion, err := exchange.Generate(ctx, providers.Request{Assertion: user})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := grant.Generate(ctx, providers.Request{Assertion: providers.Assertion{Token: assertion.AccessToken, Issuer: idp.URL, Expiry: assertion.Expiry}})
	fmt.Println(assertion.TokenType, token.TokenType, token.AccessToken, err)
	// Output:
	// urn:ietf:params:oauth:grant-type:token-exchange https://api.example
	// urn:ietf:params:oauth:grant-type:jwt-bearer read
	// N_A Bearer for-the-api <nil>
}

// A service account of Google's kind: the assertion is our own, signed by a key
// that may be in a KMS. Subject is the user on whose behalf the account acts, if
// an administrator allows it.
func ExampleNew_serviceAccount() {
	as := tokenEndpoint(`{"access_token":"ya29","token_type":"Bearer","expires_in":3599}`)
	defer as.Close()
	_, key, err := ed25519.GenerateKey(rand.Reader) // an account's own is RSA
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := oauth.New(oauth.Config{
		TokenURL: as.URL, // https://oauth2.googleapis.com/token
		ClientID: "robot@project.iam.gserviceaccount.com",
		Grant:    "jwt_bearer", Claims: map[string]any{}, // nothing beside the standard ones
		Key:    oauth.Key{ID: "private_key_id", Signer: key},
		Scopes: []string{"https://www.googleapis.com/auth/calendar"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := p.Generate(context.Background(), providers.Request{Subject: "user@example.com"})
	fmt.Println(token.AccessToken, err)
	// Output:
	// urn:ietf:params:oauth:grant-type:jwt-bearer
	// ya29 <nil>
}

// A workload without a secret: the platform projects a signed token into a file
// and replaces it before it ends.
func ExampleNew_assertionFile() {
	as := tokenEndpoint(`{"access_token":"a","token_type":"Bearer","expires_in":3599}`)
	defer as.Close()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "azure-identity-token")
	p, err := oauth.New(oauth.Config{TokenURL: as.URL, ClientID: "workload", AssertionFile: file, AssertionAudience: "api://AzureADTokenExchange"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, aud := range []string{"api://AzureADTokenExchange", "https://kubernetes.default.svc"} {
		claims := fmt.Appendf(nil, `{"aud":[%q],"exp":%d}`, aud, time.Now().Add(time.Hour).Unix())
		projected := "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString(claims) + ".c2ln\n"
		if err := os.WriteFile(file, []byte(projected), 0o600); err != nil {
			fmt.Println(err)
			return
		}
		token, err := p.Generate(context.Background(), providers.Request{})
		fmt.Println(token.AccessToken, err)
	}
	// Output:
	// client_credentials
	// a <nil>
	//  oauth: generate: internal: AssertionFile: the assertion's aud is not AssertionAudience; it is not sent
}

// githubApp issues the installation tokens of a GitHub App, whose endpoint is
// not OAuth's: a JWT of the app is the bearer token of the call.
type githubApp struct {
	client *upstream.Client
	base   string // https://api.github.com
	appID  string
	key    crypto.Signer // RSA; may be in a KMS
}

// Generate issues a token for the installation that Tenant names.
func (g githubApp) Generate(ctx context.Context, req providers.Request) (providers.Token, error) {
	now := time.Now()
	claims, err := json.Marshal(map[string]any{"iss": g.appID, "iat": now.Add(-time.Minute).Unix(), "exp": now.Add(9 * time.Minute).Unix()})
	if err != nil {
		return providers.Token{}, err
	}
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + encode(claims)
	digest := sha256.Sum256([]byte(input))
	sig, err := g.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return providers.Token{}, &providers.Error{Code: providers.CodeInternal, Class: providers.Transient, Op: "github: generate", Err: err}
	}
	res, err := g.client.Do(ctx, upstream.Call{Op: "generate", Method: http.MethodPost,
		URL:    g.base + "/app/installations/" + url.PathEscape(req.Tenant) + "/access_tokens",
		Header: http.Header{"Authorization": {"Bearer " + input + "." + encode(sig)}}})
	if err != nil {
		return providers.Token{}, err
	}
	if !res.OK() {
		return providers.Token{}, res.Err()
	}
	var got struct {
		Token string          `json:"token"`
		Ends  json.RawMessage `json:"expires_at"`
	}
	if err := res.Decode(&got); err != nil {
		return providers.Token{}, err
	}
	if got.Token == "" {
		return providers.Token{}, res.Bad(errors.New("no token in the answer"))
	}
	end, err := res.Expiry("", nil, got.Ends)
	if err != nil {
		return providers.Token{}, err
	}
	return providers.Token{AccessToken: got.Token, TokenType: "Bearer", Expiry: end, IssuedAt: res.Sent}, nil
}

// A GitHub App, as a provider of its own over providers/upstream.
func Example_gitHubApp() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := base64.RawURLEncoding.DecodeString(strings.Split(r.Header.Get("Authorization"), ".")[1])
		fmt.Println(r.URL.Path, bytes.Contains(claims, []byte(`"iss":"Iv1.app"`)))
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"token":"ghs_installation","expires_at":"2099-07-11T22:14:10Z"}`)
	}))
	defer api.Close()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		fmt.Println(err)
		return
	}
	app := githubApp{client: upstream.New("github", nil, nil), base: api.URL, appID: "Iv1.app", key: key}
	token, err := app.Generate(context.Background(), providers.Request{Tenant: "42"})
	fmt.Println(token, err)
	// Output:
	// /app/installations/42/access_tokens true
	// Token(redacted until 2099-07-11T22:14:10Z) <nil>
}
