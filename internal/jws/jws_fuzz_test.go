package jws_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/jws"
)

func compact(header, payload, signature string) string {
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(header)) + "." + e([]byte(payload)) + "." + e([]byte(signature))
}

// A token that is read has one spelling: encoding what was read gives the
// token again.
func FuzzParse(f *testing.F) {
	good := compact(`{"alg":"RS256","kid":"k","typ":"JWT"}`, `{"iss":"a"}`, "sig")
	for _, s := range []string{good, good + "=", good + "\n", good + ".", "..", "a.b.c", strings.Repeat(".", 100), "eyJhbGciOiJub25lIn0.e30."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token, err := jws.Parse(s)
		if err != nil {
			return
		}
		e := base64.RawURLEncoding.EncodeToString
		payload := e([]byte(token.Payload))
		require.True(t, strings.HasSuffix(token.Input, "."+payload))
		require.Equal(t, token.Payload, string(token.Bytes))
		signature := string(token.Signature)
		_ = append(token.Bytes, "more"...)
		require.Equal(t, signature, string(token.Signature))
		require.Equal(t, s, token.Input+"."+e(token.Signature))
		require.NotEmpty(t, token.Algorithm)
		require.Error(t, token.Verify([]byte("0123456789abcdef0123456789abcdef")))
	})
}

// What is read as an object encoding/json reads too, and alike.
func FuzzClaims(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":[1,{"b":"\u00e9"}],"c":-1.5e3}`, `{"a":"\ud83d\ude00","b":["x","y"]}`, `{"iss":"a","ISS":"b"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		members, err := jws.Claims(s, nil)
		if err != nil {
			return
		}
		requireSameAsJSON(t, s, members)
		// No name that decides can be taken for another one.
		for _, m := range members {
			for _, name := range []string{"iss", "sub", "aud", "exp", "scope", "cnf", "azp"} {
				require.True(t, m.Name == name || !strings.EqualFold(m.Name, name))
			}
		}
	})
}

// Reading ends, whatever stands in a string, and reads what encoding/json reads.
func FuzzText(f *testing.F) {
	for _, s := range []string{`a`, `\ud800`, `\ud83d\ude00`, `\udc00\ud800`, `\u`, `\`, `\ud800\`, `\x`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		value := `"` + s + `"`
		text, ok := jws.Text(value)
		members, err := jws.ParseObject(`{"a":`+value+`}`, nil)
		if err != nil || len(members) != 1 {
			return
		}
		var want string
		require.NoError(t, json.Unmarshal([]byte(value), &want))
		require.True(t, ok == (text == want) || text == "" && !ok, s)
		p := jws.Pointer{"a"}
		got, err := p.Find(`{"a":` + value + `}`)
		require.NoError(t, err)
		require.Equal(t, value, got)
	})
}

func FuzzParseSet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"},{"kty":"oct","k":"AA"},null,1]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, _, err := jws.ParseSet(body)
		require.True(t, err == nil == (len(keys) > 0))
		for _, k := range keys {
			_, secret := k.Public.([]byte)
			require.False(t, secret)
			require.True(t, k.Equal(&k))
		}
		require.True(t, err != nil || json.Valid(body))
	})
}
