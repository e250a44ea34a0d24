package oauth_test

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
)

const accessTokenType = "urn:ietf:params:oauth:token-type:access_token"

// exchanging is a client for token_exchange.
func exchanging(t testing.TB, answers ...answer) (oauth.Config, *server) {
	c, s := client(t, answers...)
	c.Grant, c.Issuers = "token_exchange", []string{"https://a.example", "https://b.example"}
	return c, s
}

// bearing is a request of a caller.
func bearing(token string) providers.Request {
	return providers.Request{Assertion: providers.Assertion{Token: token, Issuer: "https://a.example"}}
}

func TestTokenExchange(t *testing.T) {
	c, s := exchanging(t, answer{body: `{"access_token":"a","issued_token_type":"` + accessTokenType + `","token_type":"Bearer","expires_in":60,"refresh_token":"canary-rt","act":{"sub":"x"}}`})
	c.Audience, c.Scopes, c.Params = []string{"urn:api"}, []string{"read"}, url.Values{"requested_token_type": {accessTokenType}, "resource": {"https://api.example"}}
	p := provider(t, c)
	require.Equal(t, providers.Shared, p.Mode())
	token, err := p.Generate(t.Context(), bearing("canary-subject"))
	require.NoError(t, err)
	require.Equal(t, url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {"canary-subject"}, "subject_token_type": {accessTokenType},
		"audience": {"urn:api"}, "resource": {"https://api.example"}, "scope": {"read"}, "requested_token_type": {accessTokenType},
	}, s.last().form)
	require.Empty(t, token.RefreshToken, "it would outlive the caller's token")
	require.Equal(t, "a", token.AccessToken)
	require.Equal(t, start.Add(time.Minute), token.Expiry)

	req := bearing("canary-subject")
	req.Assertion.Type = "urn:ietf:params:oauth:token-type:jwt"
	req.Actor = providers.Assertion{Token: "canary-actor", Issuer: "https://b.example"}
	req.Audience, req.Scopes = "urn:other", []string{"write"}
	_, err = p.Generate(t.Context(), req)
	require.NoError(t, err)
	form := s.last().form
	require.Equal(t, []string{"urn:ietf:params:oauth:token-type:jwt", "canary-actor", accessTokenType, "urn:other", "write"},
		[]string{form.Get("subject_token_type"), form.Get("actor_token"), form.Get("actor_token_type"), form.Get("audience"), form.Get("scope")})
}

func TestJWTBearer(t *testing.T) {
	c, s := client(t, answer{body: `{"access_token":"a","expires_in":60,"refresh_token":"canary-rt"}`})
	c.Grant, c.Issuers = "jwt_bearer", []string{"https://a.example"}
	token, err := provider(t, c).Generate(t.Context(), bearing("canary-assertion"))
	require.NoError(t, err)
	require.Empty(t, token.RefreshToken)
	require.Equal(t, url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {"canary-assertion"}}, s.last().form)
}

// Without a verified token of a configured issuer nothing is sent.
func TestWhoseTokensArePresented(t *testing.T) {
	issuer := func(name string) providers.Request {
		return providers.Request{Subject: "alice", Assertion: providers.Assertion{Token: "canary", Issuer: name}}
	}
	actor := bearing("canary")
	actor.Actor = providers.Assertion{Token: "canary", Issuer: "https://c.example"}
	for name, tc := range map[string]struct {
		req  providers.Request
		code providers.Code
	}{
		"none":             {providers.Request{Subject: "alice"}, providers.CodeNotSignedIn},
		"of no issuer":     {issuer(""), providers.CodeInvalidToken},
		"another issuer":   {issuer("https://c.example"), providers.CodeInvalidToken},
		"nearly the same":  {issuer("https://a.example/"), providers.CodeInvalidToken},
		"an actor's":       {actor, providers.CodeInvalidToken},
		"line break":       {bearing("canary\n"), providers.CodeInvalidToken},
		"a tenant":         {providers.Request{Tenant: "t", Assertion: bearing("canary").Assertion}, providers.CodeTenantNotAllowed},
		"in Params":        {providers.Request{Params: map[string]any{"subject_token": "canary"}, Assertion: bearing("canary").Assertion}, providers.CodeInvalidField},
		"type in Params":   {providers.Request{Params: map[string]any{"requested_token_type": "x"}, Assertion: bearing("canary").Assertion}, providers.CodeInvalidField},
		"more identifiers": {providers.Request{Identifiers: map[string]string{"email": "e"}, Assertion: bearing("canary").Assertion}, providers.CodeInvalidField},
	} {
		t.Run(name, func(t *testing.T) {
			for _, grant := range []string{"token_exchange", "jwt_bearer"} {
				c, s := exchanging(t, ok)
				if c.Grant = grant; grant == "jwt_bearer" && name == "an actor's" {
					tc.code = providers.CodeInvalidField
				}
				p := provider(t, c)
				_, err := p.Generate(t.Context(), tc.req)
				e := failure(t, err)
				require.Equal(t, tc.code, e.Code)
				require.Equal(t, providers.Permanent, e.Class)
				require.Empty(t, s.got)
				if !strings.HasSuffix(name, "Params") {
					_, err = p.Key(tc.req)
					require.Equal(t, tc.code, failure(t, err).Code, "key")
				}
			}
		})
	}
	for _, grant := range []string{"client_credentials", "refresh_token", "account_credentials"} {
		c, s := client(t, ok)
		c.Grant = grant
		req := bearing("canary")
		if grant == "refresh_token" {
			req.Subject = "alice"
		}
		_, err := provider(t, c).Generate(t.Context(), req)
		require.Equal(t, providers.CodeInvalidField, failure(t, err).Code, "an assertion is not ignored")
		require.Empty(t, s.got)
	}
}

// A token for an assertion ends no later than the assertion.
func TestExchangedTokensEndWithTheAssertion(t *testing.T) {
	at := func(d time.Duration) time.Time { return start.Add(d) }
	for name, tc := range map[string]struct {
		assertion, actor providers.Assertion
		answer           string
		want             time.Duration
	}{
		"the answer's":              {providers.Assertion{Token: "t", Expiry: at(time.Hour)}, providers.Assertion{}, `"expires_in":60`, time.Minute},
		"the assertion's":           {providers.Assertion{Token: "t", Expiry: at(time.Second)}, providers.Assertion{}, `"expires_in":60`, time.Second},
		"its exp":                   {providers.Assertion{Token: jwtEnding(2 * time.Second)}, providers.Assertion{}, `"expires_in":60`, 2 * time.Second},
		"the earlier":               {providers.Assertion{Token: jwtEnding(3 * time.Second), Expiry: at(2 * time.Second)}, providers.Assertion{}, `"x":1`, 2 * time.Second},
		"unknown":                   {providers.Assertion{Token: "t"}, providers.Assertion{}, `"expires_in":3600`, 5 * time.Minute},
		"nobody says":               {providers.Assertion{Token: "t"}, providers.Assertion{}, `"x":1`, 5 * time.Minute},
		"the actor's":               {providers.Assertion{Token: "t", Expiry: at(time.Hour)}, providers.Assertion{Token: "u", Expiry: at(time.Second)}, `"expires_in":60`, time.Second},
		"one that passed by leeway": {providers.Assertion{Token: "t", Expiry: at(-time.Second)}, providers.Assertion{}, `"expires_in":60`, -time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := exchanging(t, answer{body: `{"access_token":"a",` + tc.answer + `}`})
			req := providers.Request{Assertion: tc.assertion, Actor: tc.actor}
			req.Assertion.Issuer, req.Actor.Issuer = "https://a.example", "https://a.example"
			token, err := provider(t, c).Generate(t.Context(), req)
			require.NoError(t, err)
			require.Equal(t, tc.want, token.Expiry.Sub(start))
		})
	}
}

func TestIssuedTokenType(t *testing.T) {
	const jag = "urn:ietf:params:oauth:token-type:id-jag"
	for name, tc := range map[string]struct {
		requested, issued, kind, want string // want: TokenType, "" for a failure
	}{
		"as it should":            {"", accessTokenType, "Bearer", "Bearer"},
		"a JWT":                   {"", "urn:ietf:params:oauth:token-type:jwt", "Bearer", "Bearer"},
		"left out":                {"", "", "Bearer", "Bearer"},
		"an ID token":             {"", "urn:ietf:params:oauth:token-type:id_token", "Bearer", ""},
		"a refresh token":         {accessTokenType, "urn:ietf:params:oauth:token-type:refresh_token", "Bearer", ""},
		"not to be presented":     {"", accessTokenType, "N_A", ""},
		"an assertion, asked for": {jag, jag, "N_A", "N_A"},
		"an assertion as Bearer":  {jag, jag, "Bearer", "Bearer"},
		"an assertion, untyped":   {jag, jag, "", "N_A"},
		"another than asked for":  {jag, accessTokenType, "N_A", ""},
		"unsaid, but asked for":   {jag, "", "N_A", ""},
		"bound to a key":          {jag, jag, "DPoP", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := exchanging(t, answer{body: fmt.Sprintf(`{"access_token":"a","issued_token_type":%q,"token_type":%q}`, tc.issued, tc.kind)})
			if tc.requested != "" {
				c.Params = url.Values{"requested_token_type": {tc.requested}}
			}
			token, err := provider(t, c).Generate(t.Context(), bearing("t"))
			require.Equal(t, tc.want, token.TokenType)
			if tc.want == "" {
				e := failure(t, err)
				require.Equal(t, providers.CodeBadResponse, e.Code)
				require.Equal(t, providers.Permanent, e.Class)
				return
			}
			require.NoError(t, err)
		})
	}
}

// The caller's token is the caller's; what was asked for is ours.
func TestRefusalsOfAnExchange(t *testing.T) {
	for code, want := range map[string]providers.Code{
		"invalid_grant": providers.CodeNotSignedIn, "invalid_request": providers.CodeUpstreamError, "invalid_target": providers.CodeUpstreamError,
		"invalid_scope": providers.CodeUpstreamError, "unsupported_grant_type": providers.CodeUpstreamError,
		"invalid_client": providers.CodeCredentialsRejected, "unauthorized_client": providers.CodeCredentialsRejected, "canary": providers.CodeUpstreamError,
	} {
		for _, grant := range []string{"token_exchange", "jwt_bearer"} {
			for _, status := range []int{400, 401, 403} {
				for _, signs := range []bool{false, true} { // our clock is wrong, and the caller's token is none of ours
					c, _ := exchanging(t, answer{status: status, body: `{"error":"` + code + `"}`, header: http.Header{"Date": {start.Add(time.Hour).Format(http.TimeFormat)}}})
					if c.Grant = grant; signs {
						c.Secret, c.Key = "", oauth.Key{Signer: ed}
					}
					_, err := provider(t, c).Generate(t.Context(), bearing("canary"))
					e := failure(t, err)
					require.Equal(t, want, e.Code, "%s %d %t", code, status, signs)
					require.Equal(t, providers.Permanent, e.Class, code)
				}
			}
		}
	}
}

// The caller's token has ended, or the user must do something first. Neither is
// a fault of the configuration, and a new sign-in or a grant mends it.
func TestRefusalsOfAnExchangeThatTheUserCanMend(t *testing.T) {
	for code, want := range map[string]providers.Code{
		"invalid_token": providers.CodeNotSignedIn, "login_required": providers.CodeNotSignedIn,
		"interaction_required": providers.CodeGrantRequired, "consent_required": providers.CodeGrantRequired,
	} {
		for _, grant := range []string{"token_exchange", "jwt_bearer"} {
			for _, status := range []int{200, 400, 401, 403} {
				c, _ := exchanging(t, answer{status: status, body: `{"error":"` + code + `","error_description":"canary"}`})
				c.Grant = grant
				_, err := provider(t, c).Generate(t.Context(), bearing("canary"))
				e := failure(t, err)
				require.Equal(t, want, e.Code, "%s %d", code, status)
				require.Equal(t, providers.Permanent, e.Class, code)
				require.Equal(t, "the server answered "+code, e.Description)
			}
			c, _ := exchanging(t, answer{status: 503, body: `{"error":"` + code + `"}`})
			c.Grant = grant
			_, err := provider(t, c).Generate(t.Context(), bearing("canary"))
			require.Equal(t, providers.CodeBusy, failure(t, err).Code, "in a failure the status decides")
		}

		// An assertion of our own is no caller's token. It may name a user, who
		// may have to agree.
		c, _ := user(t, answer{status: 400, body: `{"error":"` + code + `"}`})
		c.Grant, c.Secret, c.Key, c.Claims = "jwt_bearer", "", oauth.Key{Signer: ed}, map[string]any{}
		p := provider(t, c)
		_, err := p.Generate(t.Context(), providers.Request{})
		require.Equal(t, providers.CodeUpstreamError, failure(t, err).Code, code)
		_, err = p.Generate(t.Context(), alice)
		if want == providers.CodeNotSignedIn {
			want = providers.CodeUpstreamError
		}
		require.Equal(t, want, failure(t, err).Code, code)
	}
}

// With a custom grant the secret itself may be one of Params. With an exchange
// Params are in the key.
func TestAProviderDoesNotPrintItsParams(t *testing.T) {
	c, _ := client(t, ok)
	c.Grant, c.Params = "urn:ibm:params:oauth:grant-type:apikey", url.Values{"apikey": {"canary-key"}}
	p := provider(t, c)
	var logs strings.Builder
	slog.New(slog.NewTextHandler(&logs, nil)).Info("", "p", p)
	slog.New(slog.NewJSONHandler(&logs, nil)).Info("", "p", p)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		logs.WriteString(fmt.Sprintf(verb, p) + fmt.Sprintf(verb, *p))
	}
	require.NotContains(t, logs.String(), "canary")
	require.Contains(t, logs.String(), "oauth.Provider(redacted)")

	c, _ = exchanging(t, ok)
	c.Params = url.Values{"vendor_key": {"canary-key"}}
	k, err := provider(t, c).Key(bearing("t"))
	require.NoError(t, err)
	require.NotContains(t, k, "canary")
	c.Params = url.Values{"vendor_key": {"canary-other"}}
	other, err := provider(t, c).Key(bearing("t"))
	require.NoError(t, err)
	require.NotEqual(t, k, other)
}

func TestKeysOfExchanges(t *testing.T) {
	c, _ := exchanging(t, ok)
	key := func(change func(*oauth.Config), req providers.Request) string {
		own := c
		change(&own)
		k, err := provider(t, own).Key(req)
		require.NoError(t, err)
		require.NotContains(t, k, "canary")
		return k
	}
	req := bearing("canary-subject")
	seen := map[string]string{}
	for name, k := range map[string]string{
		"plain":    key(func(*oauth.Config) {}, req),
		"client":   key(func(c *oauth.Config) { c.ClientID = "other" }, req),
		"endpoint": key(func(c *oauth.Config) { c.TokenURL = "https://as.example/other" }, req),
		"audience": key(func(c *oauth.Config) { c.Audience = []string{"urn:x"} }, req),
		"scope":    key(func(c *oauth.Config) { c.Scopes = []string{"x"} }, req),
		"subject":  key(func(*oauth.Config) {}, providers.Request{Subject: "x", Assertion: req.Assertion}),
		"asked":    key(func(*oauth.Config) {}, providers.Request{Audience: "x", Assertion: req.Assertion}),
		"resource": key(func(*oauth.Config) {}, providers.Request{Params: map[string]any{"resource": "x"}, Assertion: req.Assertion}),
		"requested": key(func(c *oauth.Config) {
			c.Params = url.Values{"requested_token_type": {"urn:ietf:params:oauth:token-type:id-jag"}}
		}, req),
	} {
		require.Empty(t, seen[k], name)
		seen[k] = name
	}
}

func TestAnotherGrantByName(t *testing.T) {
	c, s := client(t, answer{body: `{"access_token":"a","token_type":"bearer","expires_in":3599,"refresh_token":"canary"}`})
	c.Grant, c.Params = "account_credentials", url.Values{"account_id": {"acc"}}
	p := provider(t, c)
	token, err := p.Generate(t.Context(), providers.Request{})
	require.NoError(t, err)
	require.Empty(t, token.RefreshToken)
	require.Equal(t, url.Values{"grant_type": {"account_credentials"}, "account_id": {"acc"}}, s.last().form)
	_, err = p.Generate(t.Context(), alice)
	require.Equal(t, providers.CodeInvalidField, failure(t, err).Code)
}

const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B

func TestExchangeOfACode(t *testing.T) {
	c, s := user(t, answer{body: `{"access_token":"a","refresh_token":"r","expires_in":60}`})
	p := provider(t, c)
	token, err := p.Exchange(t.Context(), "canary-code", verifier, "https://app.example/callback")
	require.NoError(t, err)
	require.Equal(t, providers.Token{AccessToken: "a", TokenType: "Bearer", RefreshToken: "r", Expiry: start.Add(time.Minute), IssuedAt: start}, token)
	require.Equal(t, url.Values{"grant_type": {"authorization_code"}, "code": {"canary-code"}, "code_verifier": {verifier}, "redirect_uri": {"https://app.example/callback"}}, s.last().form)
	_, err = p.Exchange(t.Context(), "canary-code", verifier, "")
	require.NoError(t, err)
	require.False(t, s.last().form.Has("redirect_uri"))

	n := len(s.got)
	for _, bad := range [][2]string{{"", verifier}, {"canary\n", verifier}, {"canary", ""}, {"canary", "short"}, {"canary", strings.Repeat("x", 129)}, {"canary", verifier[:42] + "="}} {
		_, err = p.Exchange(t.Context(), bad[0], bad[1], "")
		require.Equal(t, providers.CodeInvalidField, failure(t, err).Code)
	}
	require.Len(t, s.got, n)

	for body, want := range map[string]providers.Code{
		`{"error":"invalid_grant"}`: providers.CodeGrantRequired, `{"error":"invalid_client"}`: providers.CodeCredentialsRejected,
	} {
		c, _ = user(t, answer{status: 400, body: body})
		_, err = provider(t, c).Exchange(t.Context(), "canary-code", verifier, "")
		e := failure(t, err)
		require.Equal(t, want, e.Code)
		require.Equal(t, providers.Permanent, e.Class)
	}
	// GitHub and Slack answer 200 and have names of their own.
	for code, want := range map[string]providers.Code{
		"bad_verification_code": providers.CodeGrantRequired, "invalid_code": providers.CodeGrantRequired, "code_already_used": providers.CodeGrantRequired,
		"incorrect_client_credentials": providers.CodeCredentialsRejected, "bad_client_secret": providers.CodeCredentialsRejected,
		"invalid_client_id": providers.CodeCredentialsRejected, "redirect_uri_mismatch": providers.CodeUpstreamError,
	} {
		c, _ = user(t, answer{body: `{"error":"` + code + `","error_description":"canary"}`})
		_, err = provider(t, c).Exchange(t.Context(), "canary-code", verifier, "")
		e := failure(t, err)
		require.Equal(t, want, e.Code, code)
		require.Equal(t, providers.Permanent, e.Class, code)
		if want != providers.CodeUpstreamError {
			require.Equal(t, "the server answered "+code, e.Description)
		}
		_, err = provider(t, c).Refresh(t.Context(), alice, "canary-rt")
		e = failure(t, err)
		require.Equal(t, providers.Permanent, e.Class, "the grant is alive: %s", code)
		require.Equal(t, want == providers.CodeCredentialsRejected, e.Code == providers.CodeCredentialsRejected, code)
	}
	c, _ = user(t, answer{status: 502})
	_, err = provider(t, c).Exchange(t.Context(), "canary-code", verifier, "")
	require.Equal(t, providers.InDoubt, failure(t, err).Class, "a code works once")
	c, _ = client(t, ok)
	_, err = provider(t, c).Exchange(t.Context(), "canary-code", verifier, "")
	require.Error(t, err, "a client_credentials provider has no users")
}

func TestUnencodedBasic(t *testing.T) {
	c, s := client(t, ok)
	c.AuthMethod, c.Secret = "client_secret_basic_unencoded", "canary:/+ %"
	_, err := provider(t, c).Generate(t.Context(), providers.Request{})
	require.NoError(t, err)
	require.Equal(t, "Basic "+base64.StdEncoding.EncodeToString([]byte("client:canary:/+ %")), s.last().header.Get("Authorization"))
}
