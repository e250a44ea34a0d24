package oauth_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
)

// A dead refresh token has many names. Each ends the grant, on a refresh alone.
func TestTheNamesOfADeadRefreshToken(t *testing.T) {
	for name, a := range map[string]answer{
		"RFC 6749":                {status: 400, body: `{"error":"invalid_grant"}`},
		"with status 401":         {status: 401, body: `{"error":"invalid_grant"}`},
		"with status 404":         {status: 404, body: `{"error":"invalid_grant"}`},
		"with status 200":         {status: 200, body: `{"error":"invalid_grant","refresh_token":"canary"}`},
		"the user has to sign in": {status: 400, body: `{"error":"login_required"}`},
		"interaction":             {status: 400, body: `{"error":"interaction_required"}`},
		"consent":                 {status: 400, body: `{"error":"consent_required"}`},
		"GitHub":                  {status: 200, body: `{"error":"bad_refresh_token","error_description":"canary"}`},
		"GitHub, as a form": {status: 200, body: "error=bad_refresh_token&error_description=canary",
			header: http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}},
		"Slack":             {status: 200, body: `{"ok":false,"error":"invalid_refresh_token"}`},
		"HubSpot":           {status: 400, body: `{"status":"BAD_REFRESH_TOKEN","message":"canary"}`},
		"dex, claimed":      {status: 400, body: `{"error":"invalid_request","error_description":"Refresh token is invalid or has already been claimed by another client."}`},
		"dex, expired":      {status: 400, body: `{"error":"invalid_request","error_description":"Refresh token expired."}`},
		"Fitbit":            {status: 400, body: `{"errors":[{"errorType":"invalid_grant","message":"canary"}],"success":false}`},
		"by error_type":     {status: 400, body: `{"error":{"error_type":"invalid_grant"}}`},
		"the object itself": {status: 401, body: `{"code":"invalid_grant","message":"canary"}`},
		"by errorCode":      {status: 400, body: `{"errorCode":"invalid_grant"}`},
		"an error object":   {status: 400, body: `{"error":{"code":"invalid_grant","message":"canary"}}`},
		"an object by type": {status: 400, body: `{"error":{"message":"canary","type":"invalid_grant"}}`},
		"an error list":     {status: 400, body: `{"error":[{"error":"canary"},{"error":"invalid_grant"}]}`},
		"a list errors":     {status: 400, body: `{"errors":[{"code":"invalid_grant"}]}`},
		"a list of codes":   {status: 401, body: `{"errors":["invalid_grant"]}`},
		"the body a list":   {status: 400, body: `[{"errorCode":"invalid_grant","message":"canary"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := user(t, a)
			token, err := provider(t, c).Refresh(t.Context(), alice, "canary-rt")
			e := failure(t, err)
			require.Equal(t, providers.CodeRefreshRejected, e.Code)
			require.Equal(t, providers.GrantDead, e.Class)
			require.Zero(t, token)
			require.Len(t, s.got, 1)

			c, _ = client(t, a)
			_, err = provider(t, c).Generate(t.Context(), providers.Request{})
			e = failure(t, err)
			require.NotEqual(t, providers.GrantDead, e.Class, "nothing was presented")
			require.NotEqual(t, providers.CodeRefreshRejected, e.Code)
		})
	}
}

// The server's own word on a refresh token counts for more than the status that
// it comes with.
func TestADeadRefreshTokenIsDeadWhateverTheStatus(t *testing.T) {
	for _, status := range []int{300, 307, 400, 401, 402, 403, 404, 408, 409, 410, 418, 422, 425, 429, 499, 500, 501, 502, 503, 504, 599} {
		for _, body := range []string{
			`{"error":"invalid_grant"}`, ` {"error_description":"canary","error":"invalid_grant","x":{"y":[1]}} `,
			`{"error":"login_required"}`, `{"error":"bad_refresh_token"}`, `{"error":"invalid_refresh_token"}`,
			`{"error":"interaction_required"}`, `{"error":"consent_required"}`,
			`{"error":"invalid_request","error_description":"Refresh token expired."}`,
		} {
			c, _ := user(t, answer{status: status, body: body, header: http.Header{"Retry-After": {"7"}}})
			p := provider(t, c)
			token, err := p.Refresh(t.Context(), alice, "canary-rt")
			e := failure(t, err)
			require.Equal(t, providers.CodeRefreshRejected, e.Code, "%d %s", status, body)
			require.Equal(t, providers.GrantDead, e.Class, "%d %s", status, body)
			require.Equal(t, status, e.Status)
			require.NotEmpty(t, e.Description)
			require.Zero(t, token)
		}
	}
	// Nothing but Classify is asked before.
	c, _ := user(t, answer{status: 500, body: `{"error":"invalid_grant"}`})
	c.Classify = func(int, http.Header, []byte) *providers.Error {
		return &providers.Error{Code: providers.CodeBusy, Class: providers.InDoubt}
	}
	_, err := provider(t, c).Refresh(t.Context(), alice, "canary-rt")
	require.Equal(t, providers.InDoubt, failure(t, err).Class)
	// A grant that was asked for more may live on.
	c, _ = user(t, answer{status: 500, body: `{"error":"consent_required"}`})
	_, err = provider(t, c).Refresh(t.Context(), providers.Request{Subject: "alice", Scopes: []string{"more"}}, "canary-rt")
	require.Equal(t, providers.InDoubt, failure(t, err).Class)
}

// invalid_grant is as final for a code and for an assertion. The client's own
// tokens need no grant that could end.
func TestInvalidGrantIsFinalWhateverTheStatus(t *testing.T) {
	for _, status := range []int{302, 400, 403, 408, 425, 429, 500, 503} {
		a := answer{status: status, body: `{"error":"invalid_grant"}`}
		c, _ := user(t, a)
		_, err := provider(t, c).Exchange(t.Context(), "canary-code", "canary-verifier-canary-verifier-canary-verifier", "")
		e := failure(t, err)
		require.Equal(t, providers.CodeGrantRequired, e.Code, status)
		require.Equal(t, providers.Permanent, e.Class, status)
		for _, grant := range []string{"token_exchange", "jwt_bearer"} {
			c, _ = client(t, a)
			c.Grant, c.Issuers = grant, []string{"https://issuer.example"}
			req := providers.Request{Assertion: providers.Assertion{Token: "canary-assertion", Issuer: "https://issuer.example"}}
			_, err = provider(t, c).Generate(t.Context(), req)
			e = failure(t, err)
			require.Equal(t, providers.CodeNotSignedIn, e.Code, status)
			require.Equal(t, providers.Permanent, e.Class, status)
		}
	}
	c, _ := client(t, answer{status: 500, body: `{"error":"invalid_grant"}`})
	_, err := provider(t, c).Generate(t.Context(), providers.Request{})
	require.Equal(t, providers.Transient, failure(t, err).Class)
}

// What the configuration asks for every time is nothing further.
func TestAConfiguredAudienceIsNothingFurther(t *testing.T) {
	c, _ := user(t, answer{status: 400, body: `{"error":"interaction_required"}`})
	c.Audience, c.AudienceParam = []string{"urn:api"}, "resource"
	_, err := provider(t, c).Refresh(t.Context(), alice, "canary-rt")
	require.Equal(t, providers.GrantDead, failure(t, err).Class)
}

// A server's remarks beside a good token are no refusal: the pair is new.
func TestRemarksBesideAToken(t *testing.T) {
	c, _ := user(t, answer{body: `{"access_token":"a","refresh_token":"new","errors":["deprecated"],"status":"BAD_REFRESH_TOKEN"}`})
	token, err := provider(t, c).Refresh(t.Context(), alice, "canary-rt")
	require.NoError(t, err)
	require.Equal(t, "new", token.RefreshToken)
}

func TestWhatDoesNotEndAGrant(t *testing.T) {
	for name, a := range map[string]answer{
		"our fault":                 {status: 400, body: `{"error":"invalid_request","error_description":"No refresh token is found in request."}`},
		"dex's text, not whole":     {status: 400, body: `{"error":"invalid_request","error_description":"Refresh token expired"}`},
		"dex's text, another code":  {status: 400, body: `{"error":"invalid_scope","error_description":"Refresh token expired."}`},
		"a code in the description": {status: 400, body: `{"error":"invalid_request","error_description":"invalid_grant"}`},
		"a code in the message":     {status: 400, body: `{"error":{"code":"other","message":"invalid_grant"}}`},
		"a code in reason":          {status: 400, body: `{"code":"other","reason":"invalid_grant"}`},
		"a failure, by code":        {status: 503, body: `{"code":"invalid_grant"}`},
		"another status of HubSpot": {status: 400, body: `{"status":"error","message":"BAD_REFRESH_TOKEN"}`},
		"a firewall's page":         {status: 403, body: "<html>invalid_grant</html>"},
		"text":                      {status: 400, body: "invalid_grant"},
		"a JSON string":             {status: 400, body: `"invalid_grant"`},
		"empty":                     {status: 401},
		"a failure, said otherwise": {status: 500, body: `{"errors":[{"code":"invalid_grant"}]}`},
		"a failure, in an object":   {status: 502, body: `{"error":{"code":"invalid_grant"}}`},
		"a failure, HubSpot's name": {status: 503, body: `{"status":"BAD_REFRESH_TOKEN"}`},
		"a failure, cut short":      {status: 500, body: `{"error":"invalid_grant"`},
		"a failure, and more":       {status: 500, body: `{"error":"invalid_grant"} {}`},
		"a failure, said twice":     {status: 500, body: `{"error":"server_error","error":"invalid_grant"}`},
		"a failure, as a form": {status: 500, body: "error=invalid_grant",
			header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}},
		"a failure, and no code of a dead token": {status: 500, body: `{"error":"server_error"}`},
		"asked to come back":                     {status: 429, body: `{"error":"slow_down"}`},
		"a list that is a success's":             {status: 200, body: `[{"error":"invalid_grant"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := user(t, a)
			_, err := provider(t, c).Refresh(t.Context(), alice, "canary-rt")
			require.NotEqual(t, providers.GrantDead, failure(t, err).Class)
		})
	}
	c, _ := user(t, answer{status: 400, body: `{"error":"invalid_request","error_description":"No refresh token is found in request."}`})
	_, err := provider(t, c).Refresh(t.Context(), alice, "canary-rt")
	require.Equal(t, providers.CodeUpstreamError, failure(t, err).Code, "not the caller's fault")

	// Salesforce still works on the first refresh when it gets a second one. The
	// grant is alive.
	for _, text := range []string{"token request is already being processed", "Token request is already being processed."} {
		for status, want := range map[int]providers.Error{
			400: {Code: providers.CodeBusy, Class: providers.Transient}, 200: {Code: providers.CodeBusy, Class: providers.Transient},
			500: {Code: providers.CodeUpstreamError, Class: providers.InDoubt}, 429: {Code: providers.CodeBusy, Class: providers.Transient},
		} {
			c, _ := user(t, answer{status: status, body: `{"error":"invalid_grant","error_description":"` + text + `"}`})
			_, err := provider(t, c).Refresh(t.Context(), alice, "canary-rt")
			e := failure(t, err)
			require.Equal(t, want.Code, e.Code, status)
			require.Equal(t, want.Class, e.Class, status)
		}
	}

	// What was asked for on top may need the user, and the grant as it was may
	// live on.
	for _, code := range []string{"interaction_required", "consent_required"} {
		for _, req := range []providers.Request{{Subject: "alice", Scopes: []string{"more"}}, {Subject: "alice", Audience: "urn:more"}, {Subject: "alice", Params: map[string]any{"resource": "urn:more"}}} {
			c, _ := user(t, answer{status: 400, body: `{"error":"` + code + `"}`})
			_, err := provider(t, c).Refresh(t.Context(), req, "canary-rt")
			require.Equal(t, providers.Permanent, failure(t, err).Class)
		}
	}
}

// What nobody can list is for the application to tell.
func TestClassify(t *testing.T) {
	type seen struct {
		status int
		header string
		body   string
	}
	var got []seen
	classify := func(e *providers.Error) func(int, http.Header, []byte) *providers.Error {
		return func(status int, header http.Header, body []byte) *providers.Error {
			got = append(got, seen{status, header.Get("X-Reason"), string(body)})
			clear(body) // its own copy
			return e
		}
	}
	dead := &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead}
	a := answer{status: 418, body: `{"reason":"canary"}`, header: http.Header{"X-Reason": {"gone"}, "Retry-After": {"7"}}}
	c, _ := user(t, a)
	c.Classify = classify(dead)
	_, err := provider(t, c).Refresh(t.Context(), alice, "canary-rt")
	e := failure(t, err)
	require.Equal(t, providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead, Op: "oauth: refresh", Status: 418, RetryAfter: 7 * time.Second}, *e)
	require.Equal(t, &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead}, dead, "what it returned is left alone")
	require.Equal(t, []seen{{418, "gone", `{"reason":"canary"}`}}, got)

	// Before the built-in rules, and nil is "as usual".
	c, _ = user(t, answer{status: 400, body: `{"error":"invalid_grant"}`})
	c.Classify = classify(&providers.Error{Code: providers.CodeBusy, Class: providers.Transient})
	_, err = provider(t, c).Refresh(t.Context(), alice, "canary-rt")
	require.Equal(t, providers.CodeBusy, failure(t, err).Code)
	c.Classify = classify(nil)
	_, err = provider(t, c).Refresh(t.Context(), alice, "canary-rt")
	require.Equal(t, providers.GrantDead, failure(t, err).Class)

	// The new refresh token is salvaged whatever it says, but for the end.
	pair := answer{body: `{"access_token":"a","refresh_token":"new"}`}
	for class, want := range map[providers.Class]providers.Token{
		providers.Transient: {RefreshToken: "new", IssuedAt: start}, providers.InDoubt: {RefreshToken: "new", IssuedAt: start},
		providers.Permanent: {RefreshToken: "new", IssuedAt: start}, providers.GrantDead: {},
	} {
		c, _ = user(t, pair)
		c.Classify = classify(&providers.Error{Code: providers.CodeUpstreamError, Class: class})
		token, err := provider(t, c).Refresh(t.Context(), alice, "canary-rt")
		require.Equal(t, want, token, class)
		require.Equal(t, class == providers.Permanent, failure(t, err).Class != class)
	}

	// Other endpoints are not its business.
	got = nil
	c, _ = client(t, answer{body: `{"active":true,"token_type":"Bearer"}`})
	c.Classify = classify(dead)
	_, err = provider(t, c).Verify(t.Context(), "t")
	require.NoError(t, err)
	require.Empty(t, got)
}

// The good refresh token in an odd answer is kept.
func TestTheNewRefreshTokenIsSalvaged(t *testing.T) {
	for name, body := range map[string]string{
		"another type":        `{"access_token":"a","token_type":"BearerToken","refresh_token":"new"}`,
		"bound to a key":      `{"access_token":"a","token_type":"DPoP","refresh_token":"new"}`,
		"no token":            `{"token_type":"Bearer","refresh_token":"new"}`,
		"a token of no use":   `{"access_token":"a b","refresh_token":"new"}`,
		"one that has passed": `{"access_token":"a","expires_at":1,"refresh_token":"new"}`,
		"a JWT that has":      `{"access_token":"` + jwtEnding(-time.Minute) + `","refresh_token":"new"}`,
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := user(t, answer{body: body})
			token, err := provider(t, c).Refresh(t.Context(), alice, "canary-rt")
			e := failure(t, err)
			require.Equal(t, providers.CodeBadResponse, e.Code)
			require.Equal(t, providers.InDoubt, e.Class)
			require.Equal(t, providers.Token{RefreshToken: "new", IssuedAt: start}, token)
		})
	}
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}
	for body, want := range map[string]string{
		"token_type=bearer&refresh_token=new":              "new",
		"access_token=a&token_type=mac&refresh_token=new":  "new",
		"access_token=a&expires_at=1&refresh_token=n%2Bew": "n+ew",
		`{"token_type":"bearer","refresh_token":"new"}`:    "new",
		"refresh_token=new&refresh_token=other":            "",
		"error=server_error&refresh_token=new":             "",
		"error=invalid_grant&refresh_token=new":            "",
		"refresh_token=canary-rt":                          "",
		"refresh_token=new%0A":                             "",
		"access_token=a&access_token=b&refresh_token=new":  "",
		"refresh_token=":                                   "",
	} {
		c, _ := user(t, answer{body: body, header: form})
		token, err := provider(t, c).Refresh(t.Context(), alice, "canary-rt")
		require.Error(t, err, body)
		require.Equal(t, want, token.RefreshToken, body)
		require.Empty(t, token.AccessToken)
	}
}

func TestTokenTypes(t *testing.T) {
	for kind, listed := range map[string][]string{"BearerToken": {"bearertoken"}, "bot": {"x", "bot"}, "User Access Token": {"User Access Token"}, "BEARER": nil} {
		c, _ := client(t, answer{body: `{"access_token":"a","token_type":"` + kind + `"}`})
		c.TokenTypes = listed
		token, err := provider(t, c).Generate(t.Context(), providers.Request{})
		require.NoError(t, err)
		require.Equal(t, "Bearer", token.TokenType)
		c, _ = client(t, answer{body: `{"active":true,"token_type":"` + kind + `"}`})
		c.TokenTypes = listed
		_, err = provider(t, c).Verify(t.Context(), "t")
		require.NoError(t, err)
	}
}

func TestFormEncodedAnswers(t *testing.T) {
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	c, _ := user(t, answer{body: "access_token=a%2Fb&expires_in=60&refresh_token=new&scope=x+y&token_type=bearer\n", header: form})
	token, err := provider(t, c).Refresh(t.Context(), alice, "canary-rt")
	require.NoError(t, err)
	require.Equal(t, providers.Token{AccessToken: "a/b", TokenType: "Bearer", RefreshToken: "new", Expiry: start.Add(time.Minute), IssuedAt: start, Scopes: []string{"x", "y"}}, token)
	for name, a := range map[string]answer{
		"twice":         {body: "access_token=a&access_token=b", header: form},
		"JSON":          {body: `{"access_token":"a"}`, header: form},
		"not said so":   {body: "access_token=a", header: http.Header{"Content-Type": {"text/plain"}}},
		"no token":      {body: "x=y", header: form},
		"bad escapes":   {body: "access_token=%zz", header: form},
		"empty":         {body: "", header: form},
		"another token": {body: "access_token=a&token_type=mac", header: form},
	} {
		c, _ := client(t, a)
		_, err := provider(t, c).Generate(t.Context(), providers.Request{})
		require.Equal(t, providers.CodeBadResponse, failure(t, err).Code, name)
	}
}

func TestNumbersInExtraKeepTheirDigits(t *testing.T) {
	c, _ := client(t, answer{body: `{"access_token":"a","id":9007199254740993,"more":{"n":[1e400,0.1]}}`})
	token, err := provider(t, c).Generate(t.Context(), providers.Request{})
	require.NoError(t, err)
	require.Equal(t, map[string]any{"id": json.Number("9007199254740993"), "more": map[string]any{"n": []any{json.Number("1e400"), json.Number("0.1")}}}, token.Extra)
}

// An invalid_grant may be about our assertion's clock, and not about the grant.
func TestInvalidGrantUnderAWrongClock(t *testing.T) {
	ahead := func(status int, d time.Duration) answer {
		return answer{status: status, body: `{"error":"invalid_grant","error_description":"canary"}`, header: http.Header{"Date": {start.Add(d).Format(http.TimeFormat)}}}
	}
	for _, c := range []struct {
		name    string
		skew    time.Duration
		signs   bool
		refresh providers.Class
		warns   bool
	}{
		{"in time", 0, true, providers.GrantDead, false},
		{"nearly in time", 10 * time.Second, true, providers.GrantDead, false},
		{"behind", 11 * time.Second, true, providers.InDoubt, true},
		{"ahead", -time.Hour, true, providers.InDoubt, true},
		{"a secret has no clock", time.Hour, false, providers.GrantDead, false},
	} {
		for _, status := range []int{400, 500} {
			var logs bytes.Buffer
			cfg, _ := user(t, ahead(status, c.skew))
			cfg.Logger = slog.New(slog.NewTextHandler(&logs, nil))
			if c.signs {
				cfg.Secret, cfg.Key = "", oauth.Key{Signer: ed}
			}
			p := provider(t, cfg)
			var err error
			for range 3 {
				_, err = p.Refresh(t.Context(), alice, "canary-rt")
			}
			e := failure(t, err)
			require.Equal(t, c.refresh, e.Class, "%s, %d", c.name, status)
			require.Equal(t, c.warns, logs.Len() > 0)
			if c.warns {
				require.Equal(t, 1, strings.Count(logs.String(), "level=WARN"), "told once a minute and not for each call")
				require.Contains(t, logs.String(), "do=")
				require.Contains(t, logs.String(), "skew="+c.skew.String())
				require.NotContains(t, logs.String(), "canary")
				require.NotEqual(t, providers.CodeRefreshRejected, e.Code, "the user is not signed out for our clock")
			}
		}
	}
}
