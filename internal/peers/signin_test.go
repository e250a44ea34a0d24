package peers_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
)

// specialSecret has every kind of character that RFC 6749 section 2.3.1 wants
// encoded, of those it allows (appendix A.2).
const specialSecret = `s3cr:t/+ %~&=?"*#\|`

const callback = "http://127.0.0.1:9/callback" // nobody listens: the browser stops there

// web is the client that users sign in to.
func web() metadata {
	return metadata{
		"client_id": "web", "client_secret": specialSecret, "token_endpoint_auth_method": "client_secret_basic",
		"grant_types":   []string{"authorization_code", "refresh_token"},
		"redirect_uris": []string{callback}, "response_types": []string{"code"},
	}
}

// signIn plays the browser of the authorization code flow (RFC 6749 section
// 4.1, RFC 7636) and returns the first pair of user's grant to the client web.
func (p *peer) signIn(user, resource string) providers.Token {
	t := p.t
	t.Helper()
	const verifier = "a-verifier-of-at-least-forty-three-characters"
	challenge := sha256.Sum256([]byte(verifier))
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	var code string
	arrived := errors.New("back at the client")
	browser := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		require.Less(t, len(via), 10, "the server sends the browser round in circles")
		if !strings.HasPrefix(r.URL.String(), callback) {
			return nil
		}
		code = r.URL.Query().Get("code")
		require.NotEmpty(t, code, r.URL.RawQuery)
		return arrived
	}}
	res, err := browser.Get(p.issuer + "/auth?" + url.Values{
		"client_id": {"web"}, "response_type": {"code"}, "redirect_uri": {callback}, "login_hint": {user},
		"scope": {"openid offline_access read write"}, "prompt": {"consent"}, "resource": {resource},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}.Encode())
	if err == nil {
		body, _ := io.ReadAll(res.Body)
		t.Fatalf("the browser stays at %s: %s", res.Request.URL.Path, body)
	}
	require.ErrorIs(t, err, arrived)

	sent := time.Now()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.issuer+"/token", strings.NewReader(url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}, "resource": {resource},
	}.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("web", url.QueryEscape(specialSecret))
	res, err = http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode, "%s", body)
	var pair struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		Life    int    `json:"expires_in"`
	}
	require.NoError(t, json.Unmarshal(body, &pair))
	require.NotEmpty(t, pair.Refresh)
	return providers.Token{
		AccessToken: pair.Access, TokenType: "Bearer", RefreshToken: pair.Refresh,
		IssuedAt: sent, Expiry: sent.Add(time.Duration(pair.Life) * time.Second),
	}
}
