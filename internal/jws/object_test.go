package jws_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
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
		`{"a":{"b":1},"c":{"b":2}}`,                                      // one name in two objects
		`{"role":"user","Role":"admin"}`, "{\"kind\":1,\"\u212aind\":2}", // RFC 7519 section 10.1.1
		`{"resource_access":{"portal":{"roles":["a"]},"Portal":{"roles":["b"]},"SUB":1,"sub":2}}`,
		strings.Repeat(`{"a":`, 16) + "1" + strings.Repeat("}", 16),
	} {
		members, err := jws.Claims(s, nil)
		require.NoError(t, err, s)
		requireSameAsJSON(t, s, members)
	}
}

// halfPair finds what may be half a surrogate pair.
var halfPair = regexp.MustCompile(`\\u[dD][89a-fA-F]`)

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
			require.True(t, !strings.HasPrefix(m.Value, `"`) || halfPair.MatchString(m.Value), s)
		}
		var list []string
		if got, ok := jws.Texts(m.Value); ok && m.Value[0] == '[' {
			require.NoError(t, json.Unmarshal(want[m.Name], &list), s)
			require.True(t, len(list) == len(got) && strings.Join(list, "\x00") == strings.Join(got, "\x00"), s)
		}
	}
}

// Whichever name comes twice, and however alike the other names are.
func TestEveryDuplicateIsFound(t *testing.T) {
	names := []string{"", "a", "b", "aa", "aba", "aca", "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "azp", "ä", "größe", "scp", "acr", "tid", "cnf"}
	for n := range names {
		members := make([]string, n+1)
		for i := range members {
			members[i] = fmt.Sprintf(`%q:%d`, names[i], i)
		}
		s := "{" + strings.Join(members, ",")
		_, err := jws.ParseObject(s+"}", nil)
		require.NoError(t, err, s)
		for _, name := range names[:n+1] {
			_, err := jws.ParseObject(fmt.Sprintf(`%s,%q:0}`, s, name), nil)
			require.Error(t, err, "%s twice in %s", name, s)
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
		"bad escape": `{"a":"\x41"}`, "short escape": `{"a":"\u12"}`, "half surrogate in a name": `{"\ud800":1}`, "low surrogate in a nested name": `{"a":[{"b\udc00":1}]}`,
		"invalid UTF-8": "{\"a\":\"\xff\"}", "surrogate in UTF-8": "{\"a\":\"\xed\xa0\x80\"}",
		"form feed as space": "{\f}", "no-break space": "{\u00a0}",
		"duplicate": `{"sub":"a","sub":"b"}`, "escaped duplicate": `{"sub":"a","\u0073ub":"b"}`, "nested duplicate": `{"a":{"b":1,"b":2}}`,
		"duplicate in array": `{"a":[{"b":1,"b":2}]}`,
		"late duplicate":     strings.TrimSuffix(manyMembers(40), "}") + `,"mx":1}`, "late escaped duplicate": strings.TrimSuffix(manyMembers(40), "}") + `,"\u006dxx":1}`,
		"case variant": `{"ISS":"a"}`, "long s": `{"iſs":"a"}`, "long s escaped": `{"i\u017fs":"a"}`,
		"Cyrillic": `{"іss":"a"}`, "full width": `{"ｉｓｓ":"a"}`, "mathematical": "{\"\U0001d422\U0001d42c\U0001d42c\":1}", "zero width": "{\"i\u200bss\":1}",
		"combining": "{\"su\u0301b\":1}", "Greek": `{"ехр":1}`, "dotless": `{"ıss":1}`,
		"deep objects": deep(`{"a":`, `}`), "deep arrays": deep(`[`, `]`), "very deep": strings.Repeat(`{"a":`, 1e5),
		"many members": `{"a":` + manyShort(257) + `}`,
	} {
		_, err := jws.Claims(s, nil)
		require.Error(t, err, name)
	}
	for _, s := range []string{manyMembers(256), manyShort(256), manyMembers(300)} { // the bound follows the length
		_, err := jws.Claims(s, nil)
		require.NoError(t, err)
	}
}

func manyShort(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"%d":1`, i)
	}
	return "{" + b.String()[1:] + "}"
}

// RFC 8259 section 8.2: half a surrogate pair is no character. Two such texts
// would decode to one.
func TestHalfSurrogatesAreRefusedWhereTextIsRead(t *testing.T) {
	for _, bad := range []string{`"\ud800"`, `"\udc00"`, `"a\ud800b"`, `"\ud800\u0041"`, `"\ud800\ud800\udc00"`, `"\udfff\"` + `"`, `"\uD83D"`} {
		members, err := jws.Claims(`{"a":`+bad+`,"list":["x",`+bad+`]}`, nil)
		require.NoError(t, err, bad)
		_, ok := jws.Text(jws.Get(members, "a"))
		require.False(t, ok, bad)
		require.True(t, jws.IsString(jws.Get(members, "a")))
		_, ok = jws.Texts(jws.Get(members, "list"))
		require.False(t, ok, bad)
	}
	text, ok := jws.Text(`"\ud83d\ude00"`)
	require.True(t, ok)
	require.Equal(t, "😀", text)
}

// RFC 6901 section 5, on an object.
func TestPointers(t *testing.T) {
	const doc = ` {"foo":["bar","baz",{"x":[1]}],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8,"realm_access":{"roles":["admin"]},"num":{"0":"zero"},"uni\u0063":9}`
	for pointer, want := range map[string]string{
		"/foo": `["bar","baz",{"x":[1]}]`, "/foo/0": `"bar"`, "/foo/2/x/0": "1", "/": "0", "/a~1b": "1", "/c%d": "2", "/e^f": "3", "/g|h": "4", `/i\j`: "5", `/k"l`: "6", "/ ": "7", "/m~0n": "8",
		"/realm_access/roles": `["admin"]`, "/num/0": `"zero"`, "/unic": "9",
		"/none": "", "/foo/3": "", "/foo/-": "", "/foo/01": "", "/foo/x": "", "/foo/0/x": "", "/realm_access/Roles": "", "/num/00": "",
	} {
		p, err := jws.ParsePointer(pointer)
		require.NoError(t, err, pointer)
		got, err := p.Find(doc)
		require.NoError(t, err, pointer)
		require.Equal(t, want, got, pointer)
	}
	for _, bad := range []string{"", "foo", "/a~", "/a~2b", "/~", "/x~0~"} {
		_, err := jws.ParsePointer(bad)
		require.Error(t, err, bad)
	}
	for _, twin := range []string{`{"roles":["user"],"Roles":["admin"]}`, `{"ROLES":["admin"]}`, `{"rоles":["admin"]}`, `{"ｒoles":1,"roles":["admin"]}`} {
		p, _ := jws.ParsePointer("/roles")
		_, err := p.Find(twin)
		require.ErrorIs(t, err, jws.ErrAlike, twin)
	}
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
		"crit":                 {`{"alg":"RS256","crit":["exp"]}`, jws.ErrCritical},
		"crit empty":           {`{"alg":"RS256","crit":[]}`, jws.ErrCritical},
		"crit null":            {`{"alg":"RS256","crit":null}`, jws.ErrCritical},
		"b64":                  {`{"alg":"RS256","b64":false}`, jws.ErrCritical},
		"zip":                  {`{"alg":"RS256","zip":"DEF"}`, jws.ErrEncrypted},
		"enc":                  {`{"alg":"dir","enc":"A256GCM"}`, jws.ErrEncrypted},
		"jwk":                  {`{"alg":"RS256","jwk":{}}`, jws.ErrKeyInside},
		"jwks":                 {`{"alg":"RS256","jwks":{"keys":[]}}`, jws.ErrKeyInside},
		"p2c":                  {`{"alg":"RS256","p2c":1}`, jws.ErrEncrypted},
		"Crit":                 {`{"alg":"RS256","Crit":["exp"]}`, jws.ErrHeader},
		"critical in Cyrillic": {`{"alg":"RS256","сrit":["exp"]}`, jws.ErrHeader},
		"kid number":           {`{"alg":"RS256","kid":1}`, jws.ErrKeyID},
		"kid null":             {`{"alg":"RS256","kid":null}`, jws.ErrKeyID},
		"kid empty":            {`{"alg":"RS256","kid":""}`, jws.ErrKeyID},
		"kid long":             {`{"alg":"RS256","kid":"` + strings.Repeat("k", 257) + `"}`, jws.ErrKeyID},
		"alg absent":           {`{}`, jws.ErrAlgorithm},
		"alg null":             {`{"alg":null}`, jws.ErrAlgorithm},
		"alg array":            {`{"alg":["RS256"]}`, jws.ErrAlgorithm},
		"alg duplicate":        {`{"alg":"none","alg":"RS256"}`, jws.ErrHeader},
		"alg case variant":     {`{"alg":"RS256","Alg":"none"}`, jws.ErrHeader},
		"Alg alone":            {`{"Alg":"RS256"}`, jws.ErrHeader},
		"typ number":           {`{"alg":"RS256","typ":1}`, jws.ErrType},
		"not an object":        {`[]`, jws.ErrHeader},
	} {
		_, err := jws.Parse(compact(c.header, `{}`, "sig"))
		require.ErrorIs(t, err, c.err, name)
	}
	got, err := jws.Parse(compact(`{"alg":"RS256","kid":"k","typ":"application/AT+JWT","x5t":"abc","x5t#S256":"def","cty":"x","own":{"a":1},
		"jku":"https://evil.example","x5u":7,"x5c":"text","zip":"NONE","JKU":1}`, `{}`, "sig"))
	require.NoError(t, err)
	require.Equal(t, []string{"RS256", "k", "at+jwt", "{}", "sig"}, []string{got.Algorithm, got.KeyID, got.Type, got.Payload, string(got.Signature)})
}
