package middleware

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseChallenges(t *testing.T) {
	type c = challengeRead
	cases := []struct {
		name   string
		fields []string
		want   []challengeRead
	}{
		{"none", nil, nil},
		{"empty list members", []string{" , ,"}, nil},
		{"scheme alone", []string{"Negotiate"}, []c{{scheme: "negotiate"}}},
		{"token68", []string{"Negotiate YII+/a=="}, []c{{scheme: "negotiate", token68: "YII+/a=="}}},
		{"RFC 6750", []string{`Bearer realm="example", error="invalid_token", error_description="The access token expired"`},
			[]c{{scheme: "bearer", params: challengeParams{"realm": "example", "error": "invalid_token", "error_description": "The access token expired"}}}},
		{"RFC 9110 two in one", []string{`Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\""`},
			[]c{{scheme: "basic", params: challengeParams{"realm": "simple"}}, {scheme: "newauth", params: challengeParams{"realm": "apps", "type": "1", "title": `Login to "apps"`}}}},
		{"two fields", []string{"Negotiate", "bearer error=invalid_token"},
			[]c{{scheme: "negotiate"}, {scheme: "bearer", params: challengeParams{"error": "invalid_token"}}}},
		{"token68 then params", []string{`NTLM TlRM=, Bearer error="x"`},
			[]c{{scheme: "ntlm", token68: "TlRM="}, {scheme: "bearer", params: challengeParams{"error": "x"}}}},
		{"scheme without params, then another", []string{`DPoP, Bearer a=b`}, []c{{scheme: "dpop"}, {scheme: "bearer", params: challengeParams{"a": "b"}}}},
		{"comma and equals in quotes", []string{`Bearer realm="a, Basic error=\"x\"", error=y`},
			[]c{{scheme: "bearer", params: challengeParams{"realm": `a, Basic error="x"`, "error": "y"}}}},
		{"bad whitespace", []string{"Bearer \t error =\t \"x\" ,, scope = y"}, []c{{scheme: "bearer", params: challengeParams{"error": "x", "scope": "y"}}}},
		{"first of a repeated name", []string{`Bearer error=a, ERROR=b`}, []c{{scheme: "bearer", params: challengeParams{"error": "a"}}}},
		{"unterminated", []string{`Bearer error="x`}, []c{{scheme: "bearer", params: challengeParams{}}}},
		{"dangling escape", []string{`Bearer error="x\`}, []c{{scheme: "bearer", params: challengeParams{}}}},
		{"garbage", []string{`"", ===, ;`}, nil},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) { require.Equal(t, tc.want, parseChallenges(tc.fields)) })
	}
}

func TestChallengeFrom(t *testing.T) {
	res := func(status int, fields ...string) *http.Response {
		return &http.Response{StatusCode: status, Header: http.Header{"Www-Authenticate": fields}}
	}
	require.Equal(t, &ChallengeError{Code: "insufficient_scope", Scopes: []string{"a", "b"}, MaxAge: -1},
		ChallengeFrom(res(403, `Basic realm=x`, `Bearer error="insufficient_scope", scope="a b"`)))
	require.Equal(t, &ChallengeError{Code: "insufficient_user_authentication", ACRValues: []string{"gold"}, MaxAge: 0},
		ChallengeFrom(res(401, `Bearer error="insufficient_user_authentication", acr_values="gold", max_age="0"`)))
	require.Equal(t, 5*time.Second, ChallengeFrom(res(401, `DPoP error="insufficient_user_authentication", max_age=5`)).MaxAge)
	require.Nil(t, ChallengeFrom(res(401, `Bearer error="invalid_token"`)))
	require.Nil(t, ChallengeFrom(res(401, `Basic error="insufficient_scope"`)))
	require.Nil(t, ChallengeFrom(res(200, `Bearer error="insufficient_scope"`)))
}

func FuzzParseChallenges(f *testing.F) {
	for _, s := range []string{"", "Negotiate", `Bearer realm="x", error=y`, `A b=c, D e68==, F`, `x="\`, ",,=,\"", "Bearer error=\"\\\"\""} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		all := parseChallenges([]string{a, b})
		if len(all) > len(a)+len(b) {
			t.Fatalf("%d challenges in %d bytes", len(all), len(a)+len(b))
		}
		for _, c := range all {
			if c.scheme == "" || c.token68 != "" && c.params != nil {
				t.Fatalf("%+v", c)
			}
		}
		// Fields are read one by one: another field never changes the first's challenges.
		alone := parseChallenges([]string{a})
		require.LessOrEqual(t, len(alone), len(all))
		for i := range alone {
			require.Equal(t, alone[i], all[i])
		}
	})
}
