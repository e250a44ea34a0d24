package upstream_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/upstream"
)

func TestParseTime(t *testing.T) {
	at := time.Date(2020, 7, 28, 6, 23, 29, 0, time.UTC)
	for raw, want := range map[string]time.Time{
		``: {}, `null`: {}, `""`: {}, `" "`: {},
		`1595917409`: at, `"1595917409"`: at, `" 1595917409 "`: at, `1595917409000`: at, `"1595917409000"`: at,
		`1595917409.5`: at.Add(time.Second / 2), `1.595917409e9`: at, `1595917409500`: at.Add(time.Second / 2),
		`0`: time.Unix(0, 0).UTC(), `99999999999`: time.Unix(99999999999, 0).UTC(), `100000000000`: time.Unix(100000000, 0).UTC(),
		`253402300799000`:             time.Unix(253402300799, 0).UTC(),
		`"2020-07-28T06:23:29Z"`:      at,
		`"2020-07-28T06:23:29"`:       at,
		`"2020-07-28 06:23:29"`:       at,
		`"2020-07-28 06:23:29Z"`:      at,
		`"2020-07-28T06:23:29.000Z"`:  at,
		`"2020-07-28T06:23:29.25"`:    at.Add(time.Second / 4),
		`"2020-07-28T08:23:29+02:00"`: at,
		`"2020-07-28T08:23:29+0200"`:  at,
		`"2020-07-28 08:23:29+02:00"`: at,
	} {
		got, err := upstream.ParseTime(json.RawMessage(raw))
		require.NoError(t, err, raw)
		assert.True(t, want.Equal(got), "%s: %v", raw, got)
		assert.Equal(t, time.UTC, got.Location(), raw)
	}
	for _, raw := range []string{
		`-1`, `"-1"`, `1e300`, `"1e300"`, `"NaN"`, `"Inf"`, `253402300800000`, `true`, `{}`, `[1]`, `"soon"`, `"2020-07-28"`, `"2020-13-01T00:00:00Z"`,
		`"0000-01-01T00:00:00Z"`, `"9999-12-31T23:59:59-01:00"`, `"0001-01-01T00:00:00+01:00"`, `12abc`, `"unterminated`, "\x00",
	} {
		got, err := upstream.ParseTime(json.RawMessage(raw))
		assert.Error(t, err, raw)
		assert.True(t, got.IsZero(), raw)
	}
}

func TestParseSeconds(t *testing.T) {
	for raw, want := range map[string]time.Duration{
		`300`: 5 * time.Minute, `"300"`: 5 * time.Minute, `0`: 0, `1.5`: 1500 * time.Millisecond, `3e2`: 5 * time.Minute,
	} {
		got, ok, err := upstream.ParseSeconds(json.RawMessage(raw))
		assert.True(t, ok && err == nil, raw)
		assert.Equal(t, want, got, raw)
	}
	for _, raw := range []string{``, `null`, `""`} {
		got, ok, err := upstream.ParseSeconds(json.RawMessage(raw))
		assert.True(t, !ok && err == nil && got == 0, raw)
	}
	for _, raw := range []string{`-1`, `"NaN"`, `true`, `{}`, `"five"`, `"2020-07-28T06:23:29Z"`} {
		_, ok, err := upstream.ParseSeconds(json.RawMessage(raw))
		assert.True(t, !ok && err != nil, raw)
	}
	for _, raw := range []string{`1e18`, `1e300`, `"Inf"`} { // TC-14: no overflow into the past
		got, ok, err := upstream.ParseSeconds(json.RawMessage(raw))
		assert.True(t, ok && err == nil && got > 80*365*24*time.Hour, raw)
	}
}

func jwt(payload string) string {
	return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
}

func TestJWTExpiry(t *testing.T) {
	exp, ok := upstream.JWTExpiry(jwt(`{"exp":1595917409,"sub":"x"}`))
	assert.True(t, ok)
	assert.Equal(t, time.Unix(1595917409, 0).UTC(), exp)
	for name, token := range map[string]string{
		"empty": "", "opaque": "bbf18f21-3d0d-4a4c-b650-9c14d4075ce0", "two parts": "a.b", "four": jwt(`{"exp":1}`) + ".x",
		"no base64": "a.!.c", "padded": "a.e30=.c", "no JSON": jwt(`exp`), "no object": jwt(`[1]`), "none": jwt(`{}`), "null": jwt(`{"exp":null}`),
		"negative": jwt(`{"exp":-1}`), "huge": jwt(`{"exp":1e300}`), "a word": jwt(`{"exp":"never"}`), "null payload": jwt(`null`),
	} {
		exp, ok := upstream.JWTExpiry(token)
		assert.False(t, ok, name)
		assert.True(t, exp.IsZero(), name)
	}
}

// Whatever a vendor writes, an instant lies in the years that JSON can write and
// a lifetime is not negative, so that no token lives for ever or before its time.
func FuzzExpiry(f *testing.F) {
	for _, s := range []string{`null`, `1595917409`, `"1595917409"`, `1e300`, `-0`, `"0x1p40"`, `"2020-07-28T06:23:29.5+02:00"`, `"9999-12-31T23:59:59-23:59"`, `"Inf"`, `{}`, `"\u0031"`} {
		f.Add(s)
	}
	last := time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		raw := json.RawMessage(s)
		at, err := upstream.ParseTime(raw)
		require.False(t, err != nil && !at.IsZero(), "%v beside %v", at, err)
		require.False(t, at.After(last) || at.Before(time.Time{}), "time %v", at)
		if _, err := json.Marshal(at); err != nil {
			t.Fatal(err)
		}
		if d, ok, err := upstream.ParseSeconds(raw); d < 0 || err != nil && (ok || d != 0) {
			t.Fatalf("seconds %v %v %v", d, ok, err)
		}
		for _, token := range []string{s, jwt(s), jwt(`{"exp":` + s + `}`)} {
			exp, ok := upstream.JWTExpiry(token)
			require.False(t, ok == exp.IsZero() || exp.After(last), "exp %v %v of %q", exp, ok, token)
			if got, _ := upstream.ParseTime(raw); ok && json.Valid(raw) && token == jwt(`{"exp":`+s+`}`) && !strings.ContainsAny(s, " \t\r\n") && !exp.Equal(got) {
				t.Fatalf("exp %v, time %v", exp, got)
			}
		}
	})
}
