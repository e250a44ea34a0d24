package wire_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
)

func TestStringsAreExact(t *testing.T) {
	o, err := wire.Parse([]byte(`{"a":"x","b":null,"c":"","n":1,"A":"other","big":12345678901234567890}`))
	require.NoError(t, err)
	for name, want := range map[string]string{"a": "x", "b": "", "c": "", "none": ""} {
		got, err := o.String(name)
		require.NoError(t, err, name)
		assert.Equal(t, want, got, name)
		assert.Equal(t, want == "", o.Absent(name), name)
	}
	_, err = o.String("n")
	require.Error(t, err)
	e := providers.AsError(err)
	assert.Equal(t, providers.CodeInvalidField, e.Code)
	assert.Equal(t, "n must be a string", e.Description)
	v, err := o.Value("big")
	require.NoError(t, err)
	assert.Equal(t, json.Number("12345678901234567890"), v)
}

func TestOnlyOneObject(t *testing.T) {
	for _, ok := range []string{"{}", ` {"a":1} `} {
		_, err := wire.Parse([]byte(ok))
		assert.NoError(t, err, ok)
	}
	for _, bad := range []string{"", "  ", "null", "[]", "1", `{"a":1}{}`, `{"a":`, "{\"a\":\"\xff\"}"} {
		_, err := wire.Parse([]byte(bad))
		assert.Error(t, err, bad)
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	for body, want := range map[string]string{
		"":                              "The body is empty. It must be one JSON object, {} at the least.",
		" \n":                           "The body is empty. It must be one JSON object, {} at the least.",
		"{\"a\":\"\xff\"}":              "The body is not UTF-8.",
		`{"a":1,"a":2}`:                 "The body has a member twice.",
		`{"a":1,"\u0061":2}`:            "The body has a member twice.",
		`[{"a":1}]`:                     "The body must be one JSON object.",
		`{"x":[{"y":1,"y":1e400}]}`:     "The body has a member twice.",
		`{"\ud800":1}`:                  "The name of a member has half a surrogate pair.",
		`{"x":{"\ud800":1,"\udfff":1}}`: "The name of a member has half a surrogate pair.",
		`{"x":` + strings.Repeat("[", 10001) + strings.Repeat("]", 10001) + `}`: "The body is nested too deeply.",
		`{"x":1e400,}`: "The body must be one JSON object.",
		`{"x":01}`:     "The body must be one JSON object.",
		`{"x" 1}`:      "The body must be one JSON object.",
		`{,}`:          "The body must be one JSON object.",
		`{"x":[1,]}`:   "The body must be one JSON object.",
		`{"x":[1}`:     "The body must be one JSON object.",
		`{"x":[1 2]}`:  "The body must be one JSON object.",
		`{"x":1}{`:     "The body must be one JSON object.",
		`{1:1}`:        "The body must be one JSON object.",
		`{"x":nul}`:    "The body must be one JSON object.",
	} {
		_, err := wire.Parse([]byte(body))
		require.Error(t, err, body)
		e := providers.AsError(err)
		assert.Equal(t, providers.Code("invalid_json"), e.Code, body)
		assert.Equal(t, want, e.Description, body)
	}
}

func TestMembersAreTheBytesOfTheBody(t *testing.T) {
	o, err := wire.Parse([]byte(" {\"a\" : [1, {\"b\":1e400}] ,\"c\":{ },\"d\"\n:\n\"\\ud83d\\ude00:,\" , \"e\":1e400,\"f\":true}\n"))
	require.NoError(t, err)
	got := map[string]string{}
	for name, raw := range o {
		got[name] = string(raw)
	}
	assert.Equal(t, map[string]string{"a": `[1, {"b":1e400}]`, "c": "{ }", "d": `"\ud83d\ude00:,"`, "e": "1e400", "f": "true"}, got)
	v, err := o.Value("e")
	require.NoError(t, err)
	assert.Equal(t, json.Number("1e400"), v)
}

// encoding/json reads both halves as U+FFFD, and two users would be one.
func TestHalfSurrogatesAreNoValues(t *testing.T) {
	for raw, half := range map[string]bool{
		`"\ud800"`: true, `"\uDFFF"`: true, `"a\ud83d\ud83d\ude00"`: true, `"\ude00\ud83d"`: true, `"\ud800x\udc00"`: true, `"\\\ud800"`: true, `["x",{"y":"\udc00"}]`: true, `"\ud800\u0041"`: true,
		`"\ud83d\ude00"`: false, `"\\ud800"`: false, `"\ufffd"`: false, `"\u0041\n"`: false, `"\\\\udc00"`: false, `["\ud83d\ude00"]`: false,
	} {
		assert.Equal(t, half, wire.HalfSurrogate([]byte(raw)), raw)
		o, err := wire.Parse([]byte(`{"a":` + raw + `,"b":"kept"}`))
		require.NoError(t, err, "values that nobody reads pass: %s", raw)
		_, err = o.Value("a")
		assert.Equal(t, half, err != nil, raw)
		if raw[0] == '"' {
			_, err = o.String("a")
			assert.Equal(t, half, err != nil, raw)
		}
		if half {
			assert.Equal(t, "a has half a surrogate pair", providers.AsError(err).Description)
		}
	}
}

// What Parse passes, encoding/json reads as the same members, and the reverse
// but for the rules that Parse adds.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `{"a":[{"b":"\ud800"}],"c":1e400}`, `{"a":1,"a":2}`, ` {"x" : "\\" , "y":{}} `, `{"a":1}}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got, err := wire.Parse([]byte(body))
		var want map[string]json.RawMessage
		jsonErr := json.Unmarshal([]byte(body), &want)
		if err == nil {
			require.NoError(t, jsonErr)
			require.Len(t, got, len(want))
			for name, raw := range want {
				assert.Equal(t, string(raw), string(got[name]), name)
			}
			return
		}
		if text := providers.AsError(err).Description; text == "The body must be one JSON object." {
			assert.True(t, jsonErr != nil || want == nil)
		}
	})
}

func TestUUID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		u := wire.NewUUID()
		assert.True(t, wire.UUID(u), u)
		assert.Regexp(t, "^.{14}4.{4}[89ab]", u)
		seen[u] = true
	}
	assert.Len(t, seen, 1000)
	for _, bad := range []string{"", "0b8e5a3c-6f1d-4a63-9c1f-1f6f2d1f7a0", "0b8e5a3c-6f1d-4a63-9c1f-1f6f2d1f7a0g", "0b8e5a3c06f1d04a6309c1f01f6f2d1f7a01", "0b8e5a3-c6f1d-4a63-9c1f-1f6f2d1f7a01"} {
		assert.False(t, wire.UUID(bad), bad)
	}
}

func TestVisible(t *testing.T) {
	for s, want := range map[string]bool{"": true, "aZ~!": true, "a b": false, "a\n": false, "\x7f": false, "\u00e9": false} {
		assert.Equal(t, want, wire.Visible(s), s)
	}
}
