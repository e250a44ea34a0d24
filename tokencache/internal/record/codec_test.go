package record_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

func full() record.Record {
	at := time.UnixMilli(now.UnixMilli())
	return record.Record{
		Token: providers.Token{
			AccessToken: "at", TokenType: "Bearer", RefreshToken: "rt", Expiry: at.Add(time.Hour), RefreshExpiry: at.Add(2 * time.Hour),
			IssuedAt: at, Scopes: []string{"a"}, Extra: map[string]any{"x": "y"}, Version: 9,
		},
		Details: record.Details{
			Version: 10, Purges: 2, Fence: 3, Forced: at, Salvages: 1, Brought: true, Bound: true, Ends: at, Tenant: "t", Anonymous: true,
			Spent: []record.Spent{{Token: older, At: at}, {Token: current, At: at}}, Ended: []record.Digest{unknown},
			Failure: &record.Failure{Err: &providers.Error{Code: "c", Class: providers.InDoubt, Op: "o", Status: 5, Description: "d"}, N: 2, At: at, Wait: time.Second},
			Intent:  &record.Intent{Owner: "me", At: at, Ended: true},
		},
	}
}

func TestAnyDetailIsHeldBesideTheToken(t *testing.T) {
	assert.True(t, (&record.Record{}).HoldsTokenAlone())
	plain := record.Record{Token: providers.Token{AccessToken: "at", Version: 9}, Details: record.Details{Version: 9}}
	assert.True(t, plain.HoldsTokenAlone())
	whole := reflect.ValueOf(full().Details)
	for i := range whole.NumField() {
		r := plain
		require.False(t, whole.Field(i).IsZero(), whole.Type().Field(i).Name)
		reflect.ValueOf(&r.Details).Elem().Field(i).Set(whole.Field(i))
		assert.False(t, r.HoldsTokenAlone(), whole.Type().Field(i).Name)
	}
}

func TestEncodeAndDecode(t *testing.T) {
	for _, r := range []record.Record{{}, full(), {Details: record.Details{Version: 1}}} {
		b, err := record.Encode(&r, "nonce")
		require.NoError(t, err)
		got, nonce, err := record.Decode(b)
		require.NoError(t, err)
		assert.Equal(t, "nonce", nonce)
		got.Token.Expiry, got.Token.RefreshExpiry, got.Token.IssuedAt = got.Token.Expiry.Local(), got.Token.RefreshExpiry.Local(), got.Token.IssuedAt.Local()
		if r.Token.Expiry.IsZero() {
			got.Token = r.Token
		}
		assert.Equal(t, r, got)
	}
	r := full()
	r.Token.Extra["bad"] = make(chan int)
	b, err := record.Encode(&r, "")
	require.NoError(t, err, "the grant is worth more than Extra")
	got, _, err := record.Decode(b)
	require.NoError(t, err)
	assert.Equal(t, "rt", got.Token.RefreshToken)
	assert.Nil(t, got.Token.Extra)

	r = full()
	r.Token.Extra = map[string]any{"id": json.Number("9007199254740993")}
	b, err = record.Encode(&r, "")
	require.NoError(t, err)
	got, _, err = record.Decode(b)
	require.NoError(t, err)
	assert.Equal(t, r.Token.Extra, got.Token.Extra, "numbers keep their digits at rest too")
	_, _, err = record.Decode(append(b, "{}"...))
	assert.ErrorIs(t, err, record.ErrFormat)

	for _, bad := range []string{"", "null", "{}", `{"f":1}`, `{"f":3}`, `{"f":2,"spent":"AAAA"}`, `{"f":2,"ended":"AAAA"}`, `{"f":2,"v":-1}`} {
		_, _, err := record.Decode([]byte(bad))
		assert.True(t, errors.Is(err, record.ErrFormat), bad)
		assert.NotContains(t, fmt.Sprint(err), "AAAA")
	}
}

func FuzzDecode(f *testing.F) {
	r := full()
	b, _ := record.Encode(&r, "nonce")
	f.Add(b)
	f.Add([]byte(`{"f":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, nonce, err := record.Decode(b)
		if err != nil {
			return
		}
		again, err := record.Encode(&r, nonce)
		require.NoError(t, err)
		r2, nonce2, err := record.Decode(again)
		require.NoError(t, err)
		third, _ := record.Encode(&r2, nonce2)
		assert.True(t, bytes.Equal(again, third), "%s\n%s", again, third)
	})
}
