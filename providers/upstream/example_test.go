package upstream_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

// Acme is a provider for a made-up vendor. Its users' refresh tokens work once.
type Acme struct {
	client *upstream.Client
	base   string
	key    func() string // a function, so that no %v shows the key
}

// NewAcme checks the configuration.
func NewAcme(baseURL, key string, hc *http.Client) (*Acme, error) {
	u, err := upstream.CheckURL("baseURL", baseURL)
	if err != nil {
		return nil, fmt.Errorf("acme: %w", err)
	}
	return &Acme{client: upstream.New("acme", hc, nil), base: u.String(), key: func() string { return key }}, nil
}

// Mode says that a refresh token works once.
func (*Acme) Mode() providers.Mode { return providers.Rotating }

// Generate issues a user's token.
func (a *Acme) Generate(ctx context.Context, req providers.Request) (providers.Token, error) {
	return a.token(ctx, "generate", map[string]any{"user": req.Subject, "scopes": req.Scopes}, "")
}

// Refresh spends refreshToken.
func (a *Acme) Refresh(ctx context.Context, _ providers.Request, refreshToken string) (providers.Token, error) {
	return a.token(ctx, "refresh", map[string]any{"refresh_token": refreshToken}, refreshToken)
}

func (a *Acme) token(ctx context.Context, op string, body any, spent string) (providers.Token, error) {
	res, err := a.client.Do(ctx, upstream.Call{Op: op, Method: http.MethodPost, URL: a.base + "/" + op,
		Header: http.Header{"X-Api-Key": {a.key()}}, Body: body, OneTime: spent != ""})
	switch {
	case err != nil:
		return providers.Token{}, err
	case spent != "" && res.Status == http.StatusGone && res.Structured():
		return providers.Token{}, res.Fail(providers.CodeRefreshRejected, providers.GrantDead)
	case !res.OK():
		return providers.Token{}, res.Err()
	}
	var got struct {
		Token   string          `json:"token"`
		Refresh string          `json:"refresh_token"`
		Ends    json.RawMessage `json:"ends"`
	}
	if err := res.Decode(&got); err != nil {
		return res.Salvage(spent, err)
	}
	end, err := res.Expiry(got.Token, nil, got.Ends)
	if got.Token == "" {
		err = res.Bad(errors.New("no token in the answer"))
	}
	if err != nil {
		return res.Salvage(spent, err)
	}
	return providers.Token{AccessToken: got.Token, TokenType: "Bearer", RefreshToken: cmp.Or(got.Refresh, spent), Expiry: end, IssuedAt: res.Sent}, nil
}

// A provider for a vendor of one's own, which keeps the whole contract: its test
// is one call of providertest.Run.
func Example() {
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Api-Key") != "key" {
			http.Error(w, `{"message":"no such key"}`, http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"token":"t-1","refresh_token":"r-1","ends":"2099-01-02T15:04:05Z"}`)
	}))
	defer vendor.Close()
	for _, key := range []string{"key", "another"} {
		acme, err := NewAcme(vendor.URL, key, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		token, err := acme.Generate(context.Background(), providers.Request{Subject: "alice"})
		fmt.Println(token, err)
	}
	// Output:
	// Token(redacted +refresh until 2099-01-02T15:04:05Z) <nil>
	// Token(empty) acme: generate: upstream_credentials_rejected (upstream status 401)
}

func ExampleNew() {
	client := upstream.New("acme", &http.Client{}, nil)
	_, err := client.Do(context.Background(), upstream.Call{Op: "generate", Method: http.MethodPost, URL: "http://127.0.0.1:1"})
	fmt.Println(err)
	// Output: acme: generate: upstream_unreachable
}
