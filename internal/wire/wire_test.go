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
