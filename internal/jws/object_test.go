package jws_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/jws"
)

func TestObjectsThatAreRead(t *testing.T) {
	for _, s := range []string{
		`{}`, "{\r\n\t }", ` {"a":1} `, `{"":0}`,
		`{"a":"b","c":[],"d":[1,"x",null,true,false,{"e":{}}],"f":-0.5e-7,"g":0,"h":1E+2}`,
		`{"a":"\"\\\/\b\f\n\r\t\u0041\ud83d\ude00é😀"}`,
		`{"größe":1,"Größen":2,"имя":"x","役職名":1}`,
		`{"https://example.com/roles":["a"],"at_hash":"x","sessionState":1}`,
		`{"a":{"b":1},"c":{"b":2}}`, // one name in two objects
		strings.Repeat(`{"a":`, 16) + "1" + strings.Repeat("}", 16),
	} {
		members, err := jws.Claims(s, nil)
		require.NoError(t, err, s)
		requireSameAsJSON(t, s, members)
	}
}

func requireSameAsJSON(t *testing.T, s string, members []jws.Member) {
	t.Helper()
	var want map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(s), &want), s)
	require.Len(t, members, len(want), s)
	for _, m := range members {
		require.Equal(t, string(want[m.Name]), m.Value, s)
		var text string
		if got, ok := m.String(); ok {
			require.NoError(t, json.Unmarshal(want[m.Name], &text), s)
			require.Equal(t, text, got, s)
		} else {
			require.False(t, strings.HasPrefix(m.Value, `"`), s)
		}
		var list []string
		if got, ok := jws.Texts(m.Value); ok && m.Value[0] == '[' {
			require.NoError(t, json.Unmarshal(want[m.Name], &list), s)
			require.True(t, len(list) == len(got) && strings.Join(list, "\x00") == strings.Join(got, "\x00"), s)
		}
	}
}

func TestObjectsThatAreRefused(t *testing.T) {
	deep := func(open, end string) string {
		return `{"a":` + strings.Repeat(open, 16) + "1" + strings.Repeat(end, 16) + `}`
	}
	for name, s := range map[string]string{
		"nothing": ``, "null": `null`, "array": `[]`, "string": `"a"`, "number": `1`,
		"garbage behind": `{"a":1}x`, "second object": `{"sub":"a"}{"sub":"admin"}`, "byte order mark": "\ufeff{}",
		"comment": `{/**/}`, "comma at end": `{"a":1,}`, "comma at start": `{,"a":1}`, "no comma": `{"a":1 "b":2}`,
		"no colon": `{"a" 1}`, "no value": `{"a":}`, "no name": `{:1}`, "bare name": `{a:1}`, "single quotes": `{'a':1}`,
		"open": `{`, "open string": `{"a`, "open value": `{"a":"b`, "open array": `{"a":[1`, "array comma": `{"a":[1,]}`,
		"leading zero": `{"a":01}`, "plus": `{"a":+1}`, "bare point": `{"a":1.}`, "point first": `{"a":.5}`, "bare e": `{"a":1e}`,
		"NaN": `{"a":NaN}`, "Infinity": `{"a":Infinity}`, "hex": `{"a":0x1}`, "minus": `{"a":-}`, "True": `{"a":True}`, "tru": `{"a":tru}`,
		"control character": "{\"a\":\"\x01\"}", "NUL": "{\"a\":\"\x00\"}", "newline": "{\"a\":\"\n\"}",
		"bad escape": `{"a":"\x41"}`, "short escape": `{"a":"\u12"}`, "half surrogate": `{"a":"\ud800"}`, "half surrogate and more": `{"a":"\ud800\u0041"}`,
		"low surrogate": `{"a":"\udc00"}`, "invalid UTF-8": "{\"a\":\"\xff\"}", "surrogate in UTF-8": "{\"a\":\"\xed\xa0\x80\"}",
		"form feed as space": "{\f}", "no-break space": "{\u00a0}",
		"duplicate": `{"sub":"a","sub":"b"}`, "escaped duplicate": `{"sub":"a","\u0073ub":"b"}`, "nested duplicate": `{"a":{"b":1,"b":2}}`,
		"duplicate in array": `{"a":[{"b":1,"b":2}]}`,
		"case duplicate":     `{"role":"user","Role":"admin"}`, "kelvin duplicate": "{\"kind\":1,\"\u212aind\":2}",
		"case variant": `{"ISS":"a"}`, "long s": `{"iſs":"a"}`, "long s escaped": `{"i\u017fs":"a"}`,
		"Cyrillic": `{"іss":"a"}`, "full width": `{"ｉｓｓ":"a"}`, "mathematical": "{\"\U0001d422\U0001d42c\U0001d42c\":1}", "zero width": "{\"i\u200bss\":1}",
		"combining": "{\"su\u0301b\":1}", "Greek": `{"ехр":1}`, "dotless": `{"ıss":1}`,
		"deep objects": deep(`{"a":`, `}`), "deep arrays": deep(`[`, `]`), "very deep": strings.Repeat(`{"a":`, 1e5),
		"many members": manyMembers(257),
	} {
		_, err := jws.Claims(s, nil)
		require.Error(t, err, name)
	}
	_, err := jws.Claims(manyMembers(256), nil)
	require.NoError(t, err)
}

func manyMembers(n int) string {
	var b bytes.Buffer
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"m` + strings.Repeat("x", i) + `":1`)
	}
	b.WriteByte('}')
	return b.String()
}

func TestHeadersThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		header string
		err    error
	}{
		"crit":             {`{"alg":"RS256","crit":["exp"]}`, jws.ErrCritical},
		"crit empty":       {`{"alg":"RS256","crit":[]}`, jws.ErrCritical},
		"crit null":        {`{"alg":"RS256","crit":null}`, jws.ErrCritical},
		"b64":              {`{"alg":"RS256","b64":false}`, jws.ErrCritical},
		"zip":              {`{"alg":"RS256","zip":"DEF"}`, jws.ErrEncrypted},
		"enc":              {`{"alg":"dir","enc":"A256GCM"}`, jws.ErrEncrypted},
		"jwk":              {`{"alg":"RS256","jwk":{}}`, jws.ErrKeyInside},
		"jku":              {`{"alg":"RS256","jku":"https://evil.example"}`, jws.ErrKeyInside},
		"kid number":       {`{"alg":"RS256","kid":1}`, jws.ErrKeyID},
		"kid null":         {`{"alg":"RS256","kid":null}`, jws.ErrKeyID},
		"kid empty":        {`{"alg":"RS256","kid":""}`, jws.ErrKeyID},
		"kid long":         {`{"alg":"RS256","kid":"` + strings.Repeat("k", 257) + `"}`, jws.ErrKeyID},
		"alg absent":       {`{}`, jws.ErrAlgorithm},
		"alg null":         {`{"alg":null}`, jws.ErrAlgorithm},
		"alg array":        {`{"alg":["RS256"]}`, jws.ErrAlgorithm},
		"alg duplicate":    {`{"alg":"none","alg":"RS256"}`, jws.ErrHeader},
		"alg case variant": {`{"alg":"RS256","Alg":"none"}`, jws.ErrHeader},
		"Alg alone":        {`{"Alg":"RS256"}`, jws.ErrHeader},
		"typ number":       {`{"alg":"RS256","typ":1}`, jws.ErrType},
		"not an object":    {`[]`, jws.ErrHeader},
	} {
		_, err := jws.Parse(compact(c.header, `{}`, "sig"))
		require.ErrorIs(t, err, c.err, name)
	}
	got, err := jws.Parse(compact(`{"alg":"RS256","kid":"k","typ":"application/AT+JWT","x5t":"abc","x5t#S256":"def","cty":"x","own":{"a":1}}`, `{}`, "sig"))
	require.NoError(t, err)
	require.Equal(t, []string{"RS256", "k", "at+jwt", "{}", "sig"}, []string{got.Algorithm, got.KeyID, got.Type, got.Payload, string(got.Signature)})
}
