package providers_test

import (
	"encoding/json"
	"errors"
	"fmt"
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
	fields      [3]string
	scopes      []string
	identifiers map[string]string
	params      any
}

// keyReader reads a key from its front.
type keyReader struct {
	t   *testing.T
	key string
}

func (k *keyReader) number(end string) int {
	digits, rest, ok := strings.Cut(k.key, end)
	n, err := strconv.Atoi(digits)
	require.True(k.t, ok && err == nil, "no number before %q in %q", end, k.key)
	k.key = rest
	return n
}

func (k *keyReader) text() string {
	n := k.number(":")
	require.LessOrEqual(k.t, n, len(k.key))
	s := k.key[:n]
	k.key = k.key[n:]
	return s
}

func (k *keyReader) object() map[string]any {
	m := map[string]any{}
	for range k.number("{") {
		name := k.text()
		m[name] = k.value()
	}
	return m
}

func (k *keyReader) value() any {
	for word, v := range map[string]any{"z": nil, "true": true, "false": false} {
		if rest, ok := strings.CutPrefix(k.key, word); ok {
			k.key = rest
			return v
		}
	}
	if rest, ok := strings.CutPrefix(k.key, "#"); ok {
		digits, rest, ok := strings.Cut(rest, ";")
		require.True(k.t, ok)
		k.key = rest
		f, err := strconv.ParseFloat(digits, 64)
		require.NoError(k.t, err)
		return f
	}
	switch end := k.key[strings.IndexAny(k.key, ":[{")]; end {
	case '[':
		list := []any{}
		for range k.number("[") {
			list = append(list, k.value())
		}
		return list
	case '{':
		return k.object()
	}
	return k.text()
}

func parseKey(t *testing.T, key string) (p parsed) {
	t.Helper()
	k := &keyReader{t, key}
	for i := range p.fields {
		p.fields[i] = k.text()
	}
	for range k.number("[") {
		p.scopes = append(p.scopes, k.text())
	}
	if n := k.number("{"); n > 0 {
		p.identifiers = map[string]string{}
		for range n {
			name := k.text()
			p.identifiers[name] = k.text()
		}
	}
	if k.key != "" {
		p.params = k.object()
	}
	assert.Empty(t, k.key)
	return p
}

// meaning is r in the form that parseKey reads.
func meaning(t *testing.T, r providers.Request) parsed {
	t.Helper()
	p := parsed{fields: [3]string{r.Tenant, r.Subject, r.Audience}}
	p.scopes = slices.Compact(slices.Sorted(slices.Values(r.Scopes)))
	if len(r.Identifiers) > 0 {
		p.identifiers = r.Identifiers
	}
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
			r.Identifiers = map[string]string{name: value, value: subject}
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
		for range rnd.IntN(3) {
			if r.Identifiers == nil {
				r.Identifiers = map[string]string{}
			}
			r.Identifiers[text()] = text()
		}
		key, err := r.Key()
		require.NoError(t, err)
		m := meaning(t, r)
		if old, ok := seen[key]; ok && !reflect.DeepEqual(old, m) {
			t.Fatalf("one key %q for %v and %v", key, old, m)
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

// JSON knows one kind of number: a decoder's choice of type makes no other grant.
func TestWholeNumbersHaveOneKeyWhateverTheirType(t *testing.T) {
	key := func(v any) string {
		k, err := providers.Request{Params: map[string]any{"n": v}}.Key()
		require.NoError(t, err)
		return k
	}
	for _, n := range []int64{0, 1, -1, 1_000_000, 1<<53 - 1, -(1<<53 - 1)} {
		assert.Equal(t, key(n), key(float64(n)), n)
		assert.Equal(t, key(n), key(json.Number(fmt.Sprint(n))), n)
	}
	assert.NotEqual(t, key(1), key(1.5))
}

func TestKeyWantsJSONValues(t *testing.T) {
	for name, v := range map[string]any{
		"nil": nil, "bool": true, "string": "s", "int": 1, "int64": int64(-1), "uint32": uint32(7), "float": 1.5, "number": json.Number("1e5"), "numbers": []any{json.Number("0"), json.Number("-0.5E-7"), json.Number("12345678901234567890")}, "array": []any{1, "a", nil}, "object": map[string]any{"a": []any{}},
	} {
		_, err := providers.Request{Params: map[string]any{"p": v}}.Key()
		assert.NoError(t, err, name)
	}
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
		"leading zero":      {json.Number("01"), "Params.p"},
		"no fraction":       {json.Number("1."), "Params.p"},
		"no exponent":       {json.Number("1e+"), "Params.p"},
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

func TestKeyHoldsNoAssertion(t *testing.T) {
	plain := providers.Request{Subject: "s"}
	held := plain
	held.Assertion = providers.Assertion{Token: "planted-a", Type: "planted-b", Issuer: "planted-c"}
	held.Actor = providers.Assertion{Token: "planted-d"}
	a, err := plain.Key()
	require.NoError(t, err)
	b, err := held.Key()
	require.NoError(t, err)
	assert.Equal(t, a, b)
}

func TestAppendKeyAllocatesNothing(t *testing.T) {
	var buf [512]byte
	for name, r := range map[string]providers.Request{
		"subject": {Subject: "user-1"},
		"more": {
			Tenant: "t", Subject: "user-1", Scopes: []string{"b", "a", "b"}, Identifiers: map[string]string{"email": "e", "mobile": "m"},
			Params: map[string]any{"x": "1", "y": []any{1, true, 1.5, nil, json.Number("-1.5e+3"), map[string]any{"z": uint64(1)}}},
		},
	} {
		assert.Zero(t, testing.AllocsPerRun(100, func() { _, _ = r.AppendKey(buf[:0]) }), name)
		key, err := r.Key()
		require.NoError(t, err)
		appended, err := r.AppendKey([]byte("before"))
		require.NoError(t, err)
		assert.Equal(t, "before"+key, string(appended), name)
	}
	b, err := providers.Request{Params: map[string]any{"p": own{}}}.AppendKey([]byte("before"))
	assert.Error(t, err)
	assert.Equal(t, "before", string(b)[:6])
}

// own is no JSON value.
type own struct{ A int }

func BenchmarkAppendKey(b *testing.B) {
	for name, r := range map[string]providers.Request{
		"subject": {Subject: "user-1"},
		"params":  {Subject: "user-1", Scopes: []string{"read", "write"}, Params: map[string]any{"a": "1", "b": 2}},
	} {
		b.Run(name, func(b *testing.B) {
			var buf [512]byte
			b.ReportAllocs()
			for b.Loop() {
				_, _ = r.AppendKey(buf[:0])
			}
		})
	}
}

func TestModesHaveNames(t *testing.T) {
	assert.Equal(t, "shared rotating exclusive mode(7)",
		strings.Join([]string{providers.Shared.String(), providers.Rotating.String(), providers.Exclusive.String(), providers.Mode(7).String()}, " "))
	assert.Equal(t, "transient in_doubt permanent grant_dead class(9)",
		strings.Join([]string{providers.Transient.String(), providers.InDoubt.String(), providers.Permanent.String(), providers.GrantDead.String(), providers.Class(9).String()}, " "))
}
