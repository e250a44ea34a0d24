package contactsmanager_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/recorder"
	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
)

// members are those of a body that package handlers has read.
func members(t testing.TB, body []byte) map[string]json.RawMessage {
	t.Helper()
	if len(body) == 0 {
		return nil
	}
	o, err := wire.Parse(body)
	require.NoError(t, err)
	return o
}

// The vendor's documented endpoint, from the app's body to its answer.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.json")
	require.NoError(t, err)
	require.Len(t, files, 2)
	p := build(t, config())
	for _, file := range files {
		var g recorder.Golden
		recorder.ReadJSON(t, file, &g)
		req, err := p.Decode(nil, members(t, g.Request.Body))
		require.NoError(t, err)
		token, err := p.Generate(t.Context(), req)
		require.NoError(t, err)
		b, err := json.Marshal(p.Encode(req, token))
		require.NoError(t, err)
		assert.JSONEq(t, strings.Replace(string(g.Response), "$token", token.AccessToken, 1), string(b))
	}
}

func TestEncodeISO(t *testing.T) {
	cfg := config()
	cfg.ISOExpiry = true
	p := build(t, cfg)
	token, err := p.Generate(t.Context(), providers.Request{Subject: "u"})
	require.NoError(t, err)
	b, err := json.Marshal(p.Encode(providers.Request{Subject: "u"}, token))
	require.NoError(t, err)
	assert.Contains(t, string(b), `"expiresAt":"2023-11-15T22:13:20.000Z"`)
}

func TestDecode(t *testing.T) {
	p := build(t, config())
	for body, detail := range map[string]string{
		`{"userId":"u"}`: "",
		`{"userId":"u","deviceInfo":{"a":[1,null]},"x":1}`: "",
		`{"userId":"u","deviceInfo":""}`:                   "",
		``:                                                 "",
		`{"userId":1}`:                                     "userId must be a string",
		`{"userId":"u","deviceInfo":{"a":"\ud800"}}`:               "deviceInfo has half a surrogate pair",
		`{"userId":"u","deviceInfo":"iPhone"}`:                     "deviceInfo must be an object",
		`{"userId":"u","deviceInfo":[]}`:                           "deviceInfo must be an object",
		`{"deviceInfo":{"x":"` + strings.Repeat("a", 4096) + `"}}`: "deviceInfo is over 4 KiB",
		`{"deviceInfo":{"x":"` + strings.Repeat("a", 4000) + `"}}`: "",
	} {
		_, err := p.Decode(nil, members(t, []byte(body)))
		if detail == "" {
			require.NoError(t, err, body)
			continue
		}
		var e *providers.Error
		require.ErrorAs(t, err, &e, body)
		assert.Equal(t, providers.CodeInvalidField, e.Code, body)
		assert.Equal(t, detail, e.Description)
	}
	req, err := p.Decode(nil, members(t, []byte(`{"userid":"other","deviceInfo":{"n":1}}`)))
	require.NoError(t, err)
	assert.Empty(t, req.Subject, "names match exactly; Authorize may fill it in")
	_, err = p.Key(req)
	assert.Equal(t, providers.CodeIdentityRequired, providers.AsError(err).Code)
}

func TestEncodeError(t *testing.T) {
	p := build(t, config())
	for code, want := range map[providers.Code]string{
		providers.CodeIdentityRequired: "Error: Missing required field: userId",
		"method_not_allowed":           "Method not allowed",
		providers.CodeInvalidField:     "Error: the detail",
	} {
		assert.Equal(t, map[string]any{"message": want, "success": false}, p.EncodeError(code, "the detail"))
	}
}

// What Decode passes is signed as it came.
func FuzzDecode(f *testing.F) {
	f.Add(`{"userId":"user-123","deviceInfo":{"os":"iOS","n":1e400}}`)
	f.Add(`{"userId":"\u0000","deviceInfo":null}`)
	p := build(f, config())
	f.Fuzz(func(t *testing.T, body string) {
		o, err := wire.Parse([]byte(body))
		if err != nil {
			return
		}
		req, err := p.Decode(nil, o)
		if err != nil {
			assert.Equal(t, providers.CodeInvalidField, providers.AsError(err).Code, "a caller's mistake is %v", err)
			return
		}
		token, err := p.Generate(t.Context(), req)
		if err != nil {
			if c := providers.AsError(err).Code; c != providers.CodeIdentityRequired && c != providers.CodeInvalidField {
				t.Errorf("Generate: %v", err)
			}
			return
		}
		_, claims := segments(t, token.AccessToken)
		var got struct {
			UserID string `json:"user_id"`
		}
		if err := json.Unmarshal([]byte(claims), &got); err != nil || got.UserID != req.Subject {
			t.Errorf("signed for %q, asked for %q", got.UserID, req.Subject)
		}
	})
}
