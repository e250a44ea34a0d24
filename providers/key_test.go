package providers_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
)

// parsed is what a key says. That it can be read back is what makes it
// injective.
type parsed struct {
	fields [3]string
	scopes []string
	params any
}

func parseKey(t *testing.T, key string) (p parsed) {
	t.Helper()
	number := func(end string) int {
		digits, rest, ok := strings.Cut(key, end)
		n, err := strconv.Atoi(digits)
		require.True(t, ok && err == nil, "no number before %q in %q", end, key)
		key = rest
		return n
	}
	text := func() string {
		n := number(":")
		require.LessOrEqual(t, n, len(key))
		s := key[:n]
		key = key[n:]
		return s
	}
	for i := range p.fields {
		p.fields[i] = text()
	}
	for range number("[") {
		p.scopes = append(p.scopes, text())
	}
	if key != "" {
		require.NoError(t, json.Unmarshal([]byte(key), &p.params))
	}
	return p
}

// meaning is r in the form that parseKey reads.
func meaning(t *testing.T, r providers.Request) parsed {
	t.Helper()
	p := parsed{fields: [3]string{r.Tenant, r.Subject, r.Audience}}
	p.scopes = slices.Compact(slices.Sorted(slices.Values(r.Scopes)))
	if len(r.Params) > 0 {
		b, err := json.Marshal(r.Params)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(b, &p.params))
	}
	return p
}

// Whatever the fields hold, the key tells exactly them, so that two requests
// that differ never share one (TC-01, TC-02).
func FuzzRequestKey(f *testing.F) {
	f.Add("", "", "", "", "", "")
	f.Add("1:a", "a1:", "0[", "1:a 1:b", "{\"a\":1}", "a")
	f.Add("a", "b", "", "c,c,b", "x", "\x00")
	f.Add("ab", "", "c", "", "\u2028<>&", "é")
	f.Fuzz(func(t *testing.T, tenant, subject, audience, scopes, name, value string) {
		r := providers.Request{Tenant: tenant, Subject: subject, Audience: audience, Scopes: strings.Split(scopes, ",")}
		if name != "" {
			r.Params = map[string]any{name: value, name + "2": []any{value, nil, true, 1.5}}
		}
		key, err := r.Key()
		if name != "" && !(utf8.ValidString(name) && utf8.ValidString(value)) {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		assert.Equal(t, meaning(t, r), parseKey(t, key))
	})
}

// Small alphabets of the encoding's own characters make near misses common.
func TestDistinctRequestsHaveDistinctKeys(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		b := make([]byte, rnd.IntN(4))
		for i := range b {
			b[i] = "01:[{\"a,}"[rnd.IntN(9)]
		}
		return string(b)
	}
	var value func(depth int) any
	value = func(depth int) any {
		switch n := rnd.IntN(8); {
		case n == 0 && depth < 3:
			return map[string]any{text(): value(depth + 1), text(): value(depth + 1)}
		case n == 1 && depth < 3:
			return []any{value(depth + 1), value(depth + 1)}
		case n == 2:
			return rnd.IntN(3)
		case n == 3:
			return nil
		case n == 4:
			return rnd.IntN(2) == 0
		}
		return text()
	}
	seen := map[string]parsed{}
	for range 50_000 {
		r := providers.Request{Tenant: text(), Subject: text(), Audience: text()}
		for range rnd.IntN(3) {
			r.Scopes = append(r.Scopes, text())
		}
		for range rnd.IntN(3) {
			if r.Params == nil {
				r.Params = map[string]any{}
			}
			r.Params[text()] = value(0)
		}
		key, err := r.Key()
		require.NoError(t, err)
		m := meaning(t, r)
		if old, ok := seen[key]; ok && !reflect.DeepEqual(old, m) {
			t.Fatalf("one key %q for %+v and %+v", key, old, m)
		}
		seen[key] = m
	}
	assert.Greater(t, len(seen), 20_000)
}

func TestKeyIgnoresOrder(t *testing.T) {
	key := func(r providers.Request) string {
		k, err := r.Key()
		require.NoError(t, err)
		return k
	}
	scopes := []string{"b", "a", "b"}
	a := key(providers.Request{Scopes: scopes, Params: map[string]any{"x": 1, "y": map[string]any{"p": 1, "q": 2}}})
	b := key(providers.Request{Scopes: []string{"a", "b"}, Params: map[string]any{"y": map[string]any{"q": 2, "p": 1}, "x": 1}})
	assert.Equal(t, a, b)
	assert.Equal(t, []string{"b", "a", "b"}, scopes, "the caller's slice is left alone")
	assert.Equal(t, key(providers.Request{}), key(providers.Request{Scopes: []string{}, Params: map[string]any{}}))
}

func TestKeyWantsJSONValues(t *testing.T) {
	for name, v := range map[string]any{
		"nil": nil, "bool": true, "string": "s", "int": 1, "int64": int64(-1), "uint32": uint32(7), "float": 1.5, "number": json.Number("1e5"), "array": []any{1, "a", nil}, "object": map[string]any{"a": []any{}},
	} {
		_, err := providers.Request{Params: map[string]any{"p": v}}.Key()
		assert.NoError(t, err, name)
	}
	type own struct{ A int }
	for name, c := range map[string]struct {
		value any
		path  string
	}{
		"NaN":               {math.NaN(), "Params.p"},
		"infinity":          {math.Inf(-1), "Params.p"},
		"struct":            {own{}, "Params.p"},
		"pointer":           {new(int), "Params.p"},
		"strings":           {[]string{"a"}, "Params.p"},
		"bytes":             {[]byte("a"), "Params.p"},
		"function":          {func() {}, "Params.p"},
		"map of strings":    {map[string]string{}, "Params.p"},
		"int8":              {int8(1), "Params.p"},
		"below":             {map[string]any{"q": []any{1, own{}}}, "Params.p.q[1]"},
		"empty number":      {json.Number(""), "Params.p"},
		"number with blank": {json.Number(" 1"), "Params.p"},
		"number as a word":  {json.Number("null"), "Params.p"},
		"number as text":    {json.Number(`"1"`), "Params.p"},
		"two numbers":       {json.Number("1,2"), "Params.p"},
		"not UTF-8":         {"\xff", "Params.p"}, // would be U+FFFD, as "\xfe" would
		"a name likewise":   {map[string]any{"\xff": 1}, "Params.p"},
	} {
		_, err := providers.Request{Params: map[string]any{"p": c.value}}.Key()
		var e *providers.Error
		if assert.True(t, errors.As(err, &e), name) {
			assert.Equal(t, providers.CodeInvalidField, e.Code, name)
			assert.Equal(t, providers.Permanent, e.Class, name)
			assert.Contains(t, e.Description, c.path, name)
			assert.NotContains(t, e.Description, "\xff", name)
		}
	}
}

func TestModesHaveNames(t *testing.T) {
	assert.Equal(t, "shared rotating exclusive mode(7)",
		strings.Join([]string{providers.Shared.String(), providers.Rotating.String(), providers.Exclusive.String(), providers.Mode(7).String()}, " "))
	assert.Equal(t, "transient in_doubt permanent grant_dead class(9)",
		strings.Join([]string{providers.Transient.String(), providers.InDoubt.String(), providers.Permanent.String(), providers.GrantDead.String(), providers.Class(9).String()}, " "))
}
