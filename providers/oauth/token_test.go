package oauth_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
)

func TestAnswersOfServers(t *testing.T) {
	after := func(seconds int64) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	for file, want := range map[string]providers.Token{
		"keycloak": {AccessToken: "kc-access", RefreshToken: "kc-refresh", Expiry: after(300), RefreshExpiry: after(1800), Scopes: []string{"profile", "email"},
			Extra: map[string]any{"not-before-policy": json.Number("0"), "session_state": "7f0e2d3c-5b0a-4d3e-9b57-2d8c3c2f6a11", "refresh_expires_in": json.Number("1800")}},
		"entra-v1": {AccessToken: "az-access", RefreshToken: "canary-old", Expiry: after(3599),
			Extra: map[string]any{"ext_expires_in": "3599", "expires_on": "1767229199", "not_before": "1767225300", "resource": "https://graph.example"}},
		"github": {AccessToken: "ghu_access", RefreshToken: "ghr_refresh", Expiry: after(28800), RefreshExpiry: after(15897600),
			Extra: map[string]any{"refresh_token_expires_in": json.Number("15897600")}},
		"google-refresh": {AccessToken: "ya29.access", RefreshToken: "canary-old", Expiry: after(3599), Scopes: []string{"https://www.googleapis.com/auth/calendar"},
			Extra: map[string]any{"id_token": "eyJhbGciOiJub25lIn0.e30."}},
		"twitch":   {AccessToken: "tw-access", RefreshToken: "tw-refresh", Expiry: after(14124), Scopes: []string{"channel:read", "user:edit"}},
		"minimal":  {AccessToken: "only", RefreshToken: "canary-old"},
		"absolute": {AccessToken: "abs", RefreshToken: "canary-old", Expiry: after(600), Extra: map[string]any{"expires_at": "2026-01-01T00:10:00Z"}},
		"offline":  {AccessToken: "off", RefreshToken: "offline", Expiry: after(60), Extra: map[string]any{"refresh_expires_in": json.Number("0")}},
		// The new pair is kept, whatever else the answer says.
		"odd-lifetime":    {AccessToken: "odd", RefreshToken: "next"},
		"no-lifetime":     {AccessToken: "now", RefreshToken: "canary-old", Expiry: after(0)},
		"absurd-lifetime": {AccessToken: "ever", RefreshToken: "canary-old", Expiry: after(2534023007)},
	} {
		t.Run(file, func(t *testing.T) {
			body, err := os.ReadFile("testdata/" + file + ".json")
			require.NoError(t, err)
			c, s := user(t, answer{body: string(body)})
			got, err := provider(t, c).Refresh(t.Context(), alice, "canary-old")
			require.NoError(t, err)
			want.TokenType, want.IssuedAt = "Bearer", start
			require.True(t, want.Expiry.Equal(got.Expiry), "%v %v", want.Expiry, got.Expiry)
			got.Expiry = want.Expiry
			require.Equal(t, want, got)
			require.Equal(t, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"canary-old"}}, s.last().form)

			c, _ = client(t, answer{body: string(body)})
			got, err = provider(t, c).Generate(t.Context(), providers.Request{})
			require.NoError(t, err)
			require.Equal(t, want.AccessToken, got.AccessToken)
			require.Empty(t, got.RefreshToken, "RFC 6749 section 4.4.3")
		})
	}
}

// jwtEnding is an unsigned JWT that ends d after start.
func jwtEnding(d time.Duration) string {
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(`{"alg":"none"}`)) + "." + e(fmt.Appendf(nil, `{"exp":%d}`, start.Add(d).Unix())) + "." + e([]byte("sig"))
}

func TestExpiryIsTheEarliest(t *testing.T) {
	date := func(d time.Duration) http.Header {
		return http.Header{"Date": {start.Add(d).UTC().Format(http.TimeFormat)}}
	}
	for name, tc := range map[string]struct {
		token, rest string
		header      http.Header
		want        time.Duration
	}{
		"expires_in alone":          {"opaque", `"expires_in":60`, nil, time.Minute},
		"expires_in, clock ahead":   {"opaque", `"expires_in":60`, date(time.Hour), time.Minute},
		"exp is earlier":            {jwtEnding(50 * time.Second), `"expires_in":60`, nil, 50 * time.Second},
		"exp is later":              {jwtEnding(70 * time.Second), `"expires_in":60`, nil, time.Minute},
		"exp alone":                 {jwtEnding(50 * time.Second), `"x":1`, nil, 50 * time.Second},
		"exp, clock ahead":          {jwtEnding(time.Hour + 50*time.Second), `"expires_in":60`, date(time.Hour), 50 * time.Second},
		"exp, clock behind":         {jwtEnding(50*time.Second - time.Hour), `"expires_in":60`, date(-time.Hour), 50 * time.Second},
		"exp, clock behind, silent": {jwtEnding(50*time.Second - time.Hour), `"expires_in":60`, nil, time.Minute},
		"expires_at, clock ahead":   {"opaque", fmt.Sprintf(`"expires_at":%d`, start.Add(2*time.Hour).Unix()), date(time.Hour), time.Hour},
		"expires_in before at":      {"opaque", fmt.Sprintf(`"expires_in":60,"expires_at":%d`, start.Unix()), nil, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := client(t, answer{body: fmt.Sprintf(`{"access_token":%q,%s}`, tc.token, tc.rest), header: tc.header})
			got, err := provider(t, c).Generate(t.Context(), providers.Request{})
			require.NoError(t, err)
			require.Equal(t, tc.want, got.Expiry.Sub(start))
		})
	}
}

func TestScopesThatAreNotAllTextAreNotBelieved(t *testing.T) {
	for said, want := range map[string][]string{
		`["a","b"]`: {"a", "b"}, `"a b"`: {"a", "b"}, `["a",1]`: nil, `[]`: nil, `""`: nil, `7`: nil,
	} {
		c, _ := client(t, answer{body: `{"access_token":"t","expires_in":60,"scope":` + said + `}`})
		token, err := provider(t, c).Generate(t.Context(), providers.Request{})
		require.NoError(t, err)
		require.ElementsMatch(t, want, token.Scopes, said)
	}
}

func TestUnusableAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		body        string
		description string
		class       providers.Class // of a refresh
	}{
		"empty":             {"", "", providers.InDoubt},
		"html":              {"<html>canary</html>", "", providers.InDoubt},
		"null":              {"null", "", providers.InDoubt},
		"array":             {`["canary"]`, "", providers.InDoubt},
		"truncated":         {`{"access_token":"canary`, "", providers.InDoubt},
		"two objects":       {`{"access_token":"canary"}{}`, "", providers.InDoubt},
		"no token":          {`{"token_type":"Bearer"}`, "", providers.InDoubt},
		"empty token":       {`{"access_token":""}`, "", providers.InDoubt},
		"number":            {`{"access_token":1}`, "", providers.InDoubt},
		"other case":        {`{"Access_Token":"canary"}`, "", providers.InDoubt},
		"line break":        {`{"access_token":"canary\r\nX: y"}`, "", providers.InDoubt},
		"blank":             {`{"access_token":"canary y"}`, "", providers.InDoubt},
		"beyond ASCII":      {`{"access_token":"canary-é"}`, "", providers.InDoubt},
		"bound to a key":    {`{"access_token":"canary","token_type":"DPoP"}`, "the server issued a token that is not a Bearer token", providers.Permanent},
		"exchanged, no use": {`{"access_token":"canary","token_type":"N_A"}`, "the server issued a token that is not a Bearer token", providers.Permanent},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := client(t, answer{body: tc.body})
			_, err := provider(t, c).Generate(t.Context(), providers.Request{})
			e := failure(t, err)
			require.Equal(t, providers.CodeBadResponse, e.Code)
			require.Equal(t, tc.description, e.Description)
			require.NotEqual(t, providers.InDoubt, e.Class, "nothing was spent")

			c, _ = user(t, answer{body: tc.body})
			_, err = provider(t, c).Refresh(t.Context(), alice, "canary-rt")
			e = failure(t, err)
			require.Equal(t, providers.CodeBadResponse, e.Code)
			require.Equal(t, tc.class, e.Class)
		})
	}
}

func TestEncode(t *testing.T) {
	c, _ := user(t)
	p := provider(t, c)
	req, err := p.Decode(url.Values{"audience": {"x"}}, map[string]json.RawMessage{"scope": json.RawMessage(`"admin"`), "subject": json.RawMessage(`"bob"`)})
	require.NoError(t, err)
	require.Equal(t, providers.Request{}, req, "callers do not choose what they get")
	for want, token := range map[string]providers.Token{
		`{"access_token":"a","token_type":"Bearer"}`: {AccessToken: "a", TokenType: "Bearer"},
		`{"access_token":"a","token_type":"Bearer","expires_in":59,"refresh_token":"r","scope":"x y"}`: {
			AccessToken: "a", TokenType: "Bearer", RefreshToken: "r", Scopes: []string{"x", "y"}, Expiry: start.Add(59900 * time.Millisecond)},
		`{"access_token":"a","token_type":"Bearer","expires_in":0}`: {AccessToken: "a", TokenType: "Bearer", Expiry: start.Add(-time.Hour)},
	} {
		require.Equal(t, want, toJSON(t, p.Encode(req, token)))
	}
}

func FuzzTokenAnswer(f *testing.F) {
	files, err := os.ReadDir("testdata")
	require.NoError(f, err)
	for _, file := range files {
		if file.IsDir() {
			continue
		}
		body, err := os.ReadFile("testdata/" + file.Name())
		require.NoError(f, err)
		f.Add(200, string(body), "")
	}
	f.Add(400, `{"error":"invalid_grant","error_description":"canary"}`, "")
	f.Add(200, `{"access_token":"`+jwtEnding(time.Minute)+`","expires_in":"1e999"}`, "Thu, 01 Jan 2026 01:00:00 GMT")
	f.Fuzz(func(t *testing.T, status int, body, date string) {
		if status < 200 || status > 599 {
			return
		}
		c, _ := user(t, answer{status: status, body: body, header: http.Header{"Date": {date}}})
		got, err := provider(t, c).Refresh(t.Context(), alice, "presented")
		if err != nil {
			if e, ok := err.(*providers.Error); !ok || e.Code == providers.CodeInternal {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		require.False(t, got.AccessToken == "" || got.RefreshToken == "" || got.TokenType != "Bearer" || !got.IssuedAt.Equal(start) || status > 299, "%d %q gave %v", status, body, got)
		for _, b := range []byte(got.AccessToken) {
			require.False(t, b <= ' ' || b > '~', "token %q cannot be sent", got.AccessToken)
		}
	})
}
