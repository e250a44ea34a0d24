package wire_test

import (
	"encoding/json"
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
	for _, ok := range []string{"", "  ", "{}", ` {"a":1} `} {
		_, err := wire.Parse([]byte(ok))
		assert.NoError(t, err, ok)
	}
	for _, bad := range []string{"null", "[]", "1", `{"a":1}{}`, `{"a":`, "{\"a\":\"\xff\"}"} {
		_, err := wire.Parse([]byte(bad))
		assert.Error(t, err, bad)
	}
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
