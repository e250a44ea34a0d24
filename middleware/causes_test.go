package middleware_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
)

// Every refusal says what was wrong, to us and not to the client.
func TestCausesSayWhatWasWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		auth := authFor(t, trusting(i))
		require.Empty(t, reasonOf(t, auth, mint(t, i, nil)))
		text := func(change func(string) string) string {
			s, err := i.Sign(nil, change(string(claimsOf(t, mint(t, i, nil)))))
			require.NoError(t, err)
			return s
		}
		with := func(member string) string {
			return text(func(s string) string { return strings.TrimSuffix(s, "}") + "," + member + "}" })
		}
		seen := map[string]string{}
		for token, want := range map[string]string{
			mint(t, i, map[string]any{"exp": nil}):                               "claim exp is missing: it must be a number of seconds",
			mint(t, i, map[string]any{"exp": "soon"}):                            `claim exp is "soon"`,
			mint(t, i, map[string]any{"sub": 7}):                                 "claim sub is 7: it must be a string",
			mint(t, i, map[string]any{"jti": 7}):                                 "claim jti is 7",
			mint(t, i, map[string]any{"nbf": "x"}):                               `claim nbf is "x"`,
			mint(t, i, map[string]any{"iat": time.Now().Add(time.Hour).Unix()}):  "claim iat is 946688400: it must be in the past",
			mint(t, i, map[string]any{"iss": "https://evil.example"}):            `claim iss is "https://evil.example": it must be that of a configured Issuer`,
			mint(t, i, map[string]any{"aud": nil}):                               "claim aud is missing",
			mint(t, i, map[string]any{"aud": "x"}):                               `claim aud is "x": it must be one of https://api.example`,
			mint(t, i, map[string]any{"aud": 1}):                                 "claim aud is 1: it must be a string or an array",
			mint(t, i, map[string]any{"cnf": map[string]any{"jkt": "x"}}):        `claim cnf is {"jkt":"x"}`,
			mint(t, i, map[string]any{"events": map[string]any{}}):               "claim events is {}",
			mint(t, i, map[string]any{"scope": 1}):                               "claim scope is 1",
			mint(t, i, map[string]any{"scope": nil, "scp": 2}):                   "claim scp is 2",
			mint(t, i, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}): "claim exp is 1999-12-31T23:00:00Z: it must be in the future",
			mint(t, i, map[string]any{"aud": strings.Repeat("é", 5000)}):         `… (10002 bytes)`,
			mint(t, i, map[string]any{"aud": "\r\nforged log line"}):             `\r\nforged`,
			mustSign(t, i, map[string]any{"typ": "dpop+jwt"}):                    "header typ is dpop+jwt: it must be one of , jwt, at+jwt",
			mustSign(t, i, map[string]any{"kid": "new"}):                         "no such key: kid new",
			mustSign(t, i, map[string]any{"crit": []string{"exp"}}):              "header has crit or b64: crit",
			mustSign(t, i, map[string]any{"b64": true}):                          "header has crit or b64: b64",
			mustSign(t, i, map[string]any{"jwk": map[string]any{}}):              "header carries a key: jwk",
			mustSign(t, i, map[string]any{"jwks": 1}):                            "header carries a key: jwks",
			mustSign(t, i, map[string]any{"zip": "DEF"}):                         "header of an encrypted or compressed token: zip",
			mustSign(t, i, map[string]any{"enc": "A256GCM"}):                     "header of an encrypted or compressed token: enc",
			mustSign(t, i, map[string]any{"epk": 1}):                             "header of an encrypted or compressed token: epk",
			mustSign(t, i, map[string]any{"kid": 7}):                             `kid is not a string of 1 to 256 bytes: it is "7" (1 bytes)`,
			mustSign(t, i, map[string]any{"typ": []int{1}}):                      `typ is not a string: it is "[1]" (3 bytes)`,
			mustSign(t, i, map[string]any{"Kid": "x"}):                           `a name looks like one that decides: "Kid"`,
			"e30.e30.AA":              "alg is not a string: it is missing",
			with(`"Aud":"x"`):         `a claim's name looks like one that is reserved: "Aud"`,
			with(`"sub":"x"`):         `claims are not an acceptable JSON object: not strict JSON: the member "sub" twice`,
			with(`"x":{"y":1,"y":2}`): `the member "y" twice`,
			with(`"\ud800":1`):        "a name with half a surrogate pair",
			with(`"x":` + strings.Repeat("[", 20) + strings.Repeat("]", 20)): "nested too deeply",
			with(`"client_id":"\ud800"`):                                     "claim client_id is",
			with(`"azp":"a\udc00"`):                                          "claim azp is",
			with(`"appid":"\ud800x"`):                                        "claim appid is",
			with(`"cid":"\ud800\ud800"`):                                     "claim cid is",
			with(`"tid":"\udfff"`):                                           "claim tid is",
			with(`"idtyp":"app\ud800"`):                                      "claim idtyp is",
			with(`"gty":"\ud800"`):                                           "claim gty is",
			with(`"acr":"\ud800"`):                                           "claim acr is",
			"a.b":                                                            "not three segments",
			strings.Repeat("x", 17<<10):                                      "longer than MaxTokenBytes",
			mint(t, i, nil) + "=":                                            "not strict base64url",
			"a b":                                                            "characters that no token has",
		} {
			var e *middleware.Error
			r := httptestRequest("Bearer " + token)
			_, err := auth.Check(r)
			require.ErrorAs(t, err, &e, want)
			require.Error(t, e.Err, want)
			require.Contains(t, e.Err.Error(), want)
			require.NotContains(t, e.Err.Error(), "\n", "one line of a log")
			require.Less(t, len(e.Err.Error()), 400)
			if len(token) > 50 {
				require.NotContains(t, e.Err.Error(), token[:40])
			}
			require.Empty(t, seen[e.Err.Error()], "two causes with one text: %s", e.Err)
			seen[e.Err.Error()] = want
		}
		for header, want := range map[string]string{"": "no Bearer credentials", "Bearer": "scheme Bearer and no token"} {
			_, err := auth.Check(httptestRequest(header))
			var e *middleware.Error
			require.ErrorAs(t, err, &e)
			require.ErrorContains(t, e.Err, want)
		}
	})
}
