package challenges_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/challenges"
)

func TestParse(t *testing.T) {
	type c = challenges.Challenge
	cases := []struct {
		name   string
		fields []string
		want   []challenges.Challenge
	}{
		{"none", nil, nil},
		{"empty list members", []string{" , ,"}, nil},
		{"scheme alone", []string{"Negotiate"}, []c{{Scheme: "negotiate"}}},
		{"token68", []string{"Negotiate YII+/a=="}, []c{{Scheme: "negotiate", Token68: "YII+/a=="}}},
		{"RFC 6750", []string{`Bearer realm="example", error="invalid_token", error_description="The access token expired"`},
			[]c{{Scheme: "bearer", Params: map[string]string{"realm": "example", "error": "invalid_token", "error_description": "The access token expired"}}}},
		{"RFC 9110 two in one", []string{`Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\""`},
			[]c{{Scheme: "basic", Params: map[string]string{"realm": "simple"}}, {Scheme: "newauth", Params: map[string]string{"realm": "apps", "type": "1", "title": `Login to "apps"`}}}},
		{"two fields", []string{"Negotiate", "bearer error=invalid_token"},
			[]c{{Scheme: "negotiate"}, {Scheme: "bearer", Params: map[string]string{"error": "invalid_token"}}}},
		{"token68 then params", []string{`NTLM TlRM=, Bearer error="x"`},
			[]c{{Scheme: "ntlm", Token68: "TlRM="}, {Scheme: "bearer", Params: map[string]string{"error": "x"}}}},
		{"scheme without params, then another", []string{`DPoP, Bearer a=b`}, []c{{Scheme: "dpop"}, {Scheme: "bearer", Params: map[string]string{"a": "b"}}}},
		{"comma and equals in quotes", []string{`Bearer realm="a, Basic error=\"x\"", error=y`},
			[]c{{Scheme: "bearer", Params: map[string]string{"realm": `a, Basic error="x"`, "error": "y"}}}},
		{"bad whitespace", []string{"Bearer \t error =\t \"x\" ,, scope = y"}, []c{{Scheme: "bearer", Params: map[string]string{"error": "x", "scope": "y"}}}},
		{"first of a repeated name", []string{`Bearer error=a, ERROR=b`}, []c{{Scheme: "bearer", Params: map[string]string{"error": "a"}}}},
		{"unterminated", []string{`Bearer error="x`}, []c{{Scheme: "bearer", Params: map[string]string{}}}},
		{"dangling escape", []string{`Bearer error="x\`}, []c{{Scheme: "bearer", Params: map[string]string{}}}},
		{"garbage", []string{`"", ===, ;`}, nil},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) { require.Equal(t, tc.want, challenges.Parse(tc.fields)) })
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "Negotiate", `Bearer realm="x", error=y`, `A b=c, D e68==, F`, `x="\`, ",,=,\"", "Bearer error=\"\\\"\""} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		all := challenges.Parse([]string{a, b})
		require.False(t, len(all) > len(a)+len(b), "%d challenges in %d bytes", len(all), len(a)+len(b))
		for _, c := range all {
			require.False(t, c.Scheme == "" || c.Token68 != "" && c.Params != nil, "%+v", c)
		}
		// Fields are read one by one: another field never changes the first's challenges.
		alone := challenges.Parse([]string{a})
		require.LessOrEqual(t, len(alone), len(all))
		for i := range alone {
			require.Equal(t, alone[i], all[i])
		}
	})
}
