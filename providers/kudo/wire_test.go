package kudo_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/recorder"
	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/kudo"
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

// The vendor's documented calls, from the caller's body to the vendor and back.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.json")
	require.NoError(t, err)
	require.Len(t, files, 3)
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			var g recorder.Golden
			recorder.ReadJSON(t, path, &g)
			u := recorder.Serve(t, 200, http.Header{"Date": nil}, string(g.Upstream.Answer))
			cfg := config()
			cfg.Now = func() time.Time { return at("2020-07-28T05:00:00Z") }
			p := build(t, u.URL, cfg)
			var answer any
			if token := g.Request.Headers["X-Api-Token"]; token != "" {
				v, err := p.Verify(t.Context(), token)
				require.NoError(t, err)
				answer = v.Claims
			} else {
				req, err := p.Decode(nil, members(t, g.Request.Body))
				require.NoError(t, err)
				token, err := p.Generate(t.Context(), req)
				require.NoError(t, err)
				answer = p.Encode(req, token)
			}
			got, _ := u.Seen()
			assert.Equal(t, g.Upstream.Method+" "+g.Upstream.Path, got.Method+" "+got.Path)
			if g.Upstream.Body != nil {
				assert.JSONEq(t, string(g.Upstream.Body), got.Body)
			}
			for name, want := range g.Upstream.Headers {
				assert.Equal(t, want, got.Header.Get(name), name)
			}
			b, err := json.Marshal(answer)
			require.NoError(t, err)
			assert.JSONEq(t, string(g.Response), string(b))
		})
	}
}

func TestDecode(t *testing.T) {
	narrow := config()
	narrow.AllowedParams = []string{"locale"}
	for name, c := range map[string]struct {
		cfg    kudo.Config
		body   string
		detail string // of the error; "" for none
	}{
		"minimal":                 {body: `{"file":"a"}`},
		"any editor parameter":    {body: `{"fileUrl":"https://x/a.dwg","sessionId":"s","whatever":1}`},
		"allowed":                 {cfg: narrow, body: `{"file":"a","userId":"u","locale":"de"}`},
		"not allowed, but empty":  {cfg: narrow, body: `{"file":"a","access":""}`, detail: "access is not allowed here"},
		"not allowed, but absent": {cfg: narrow, body: `{"file":"a","access":null}`},
		"not allowed":             {cfg: narrow, body: `{"file":"a","access":"edit"}`, detail: "access is not allowed here"},
		"not allowed, odd name":   {cfg: narrow, body: `{"file":"a","<script>":1}`, detail: "a parameter is not allowed here"},
		"fileUrl not allowed":     {cfg: narrow, body: `{"fileUrl":"https://x"}`, detail: "fileUrl is not allowed here"},
		"auth":                    {body: `{"file":"a","auth":"mine"}`, detail: "auth may not be sent"},
		"auth, null":              {body: `{"file":"a","auth":null}`, detail: "auth may not be sent"},
		"Auth":                    {body: `{"file":"a","Auth":"mine"}`, detail: "Auth may not be sent"},
		"server":                  {body: `{"file":"a","server":"https://evil"}`, detail: "server may not be sent"},
		"apiServerURL":            {body: `{"file":"a","apiServerURL":"https://evil"}`, detail: "apiServerURL may not be sent"},
		"x-api-key":               {body: `{"file":"a","X-API-KEY":"k"}`, detail: "X-API-KEY may not be sent"},
		"no file":                 {body: `{"userId":"u"}`},
		"file null":               {body: `{"file":null}`},
		"an empty string":         {body: `{"file":"","locale":""}`},
		"nothing":                 {body: ``},
		"Server":                  {body: `{"file":"a","Server":"https://evil"}`, detail: "Server may not be sent"},
		"server, null":            {body: `{"file":"a","server":null}`, detail: "server may not be sent"},
		"half a character":        {body: `{"file":"a","x":"\ud800"}`, detail: "x has half a surrogate pair"},
		"not allowed, any letter": {cfg: narrow, body: `{"file":"a","aAzZ09_-":1}`, detail: "aAzZ09_- is not allowed here"},
		"file of another type":    {body: `{"file":{}}`, detail: "file must be a string"},
		"userId of another type":  {body: `{"file":"a","userId":1}`, detail: "userId must be a string"},
		// The vendor may ignore case, or may take the last one.
		"userid":               {body: `{"file":"a","userid":"alice"}`, detail: "userid may not be sent"},
		"USERID beside userId": {body: `{"file":"a","userId":"mallory","USERID":"alice"}`, detail: "USERID may not be sent"},
		"UserId, null":         {body: `{"file":"a","UserId":null}`, detail: "UserId may not be sent"},
		"File":                 {body: `{"file":"a","File":"b"}`, detail: "File may not be sent"},
		"fileURL":              {body: `{"file":"a","fileURL":"https://x"}`, detail: "fileURL may not be sent"},
		"one name, two cases":  {body: `{"file":"a","access":"view","Access":"edit"}`, detail: "access is sent twice"},
		"long s":               {body: `{"file":"a","acces\u017f":"view","access":"edit"}`, detail: "a parameter is sent twice"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := c.cfg
			if cfg.AccessKey == "" {
				cfg = config()
			}
			_, err := build(t, "", cfg).Decode(nil, members(t, []byte(c.body)))
			if c.detail == "" {
				require.NoError(t, err)
				return
			}
			var e *providers.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, providers.CodeInvalidField, e.Code)
			assert.Equal(t, c.detail, e.Description)
		})
	}
}

// A request that did not come through Decode keeps the same rules.
func TestGenerateChecksToo(t *testing.T) {
	u := recorder.Serve(t, 200, nil, `{"token":"t"}`)
	p := build(t, u.URL, config())
	for name, params := range map[string]map[string]any{
		"auth":           {"file": "a", "auth": "x"},
		"Server":         {"file": "a", "Server": "https://x"},
		"empty server":   {"file": "a", "server": ""},
		"server's type":  {"file": "a", "server": 1},
		"userId differs": {"file": "a", "userId": "other"},
		"not JSON":       {"file": "a", "f": func() {}},
	} {
		_, err := p.Generate(t.Context(), providers.Request{Subject: "u", Params: params})
		require.Error(t, err, name)
		_, err = p.Key(providers.Request{Subject: "u", Params: params})
		assert.Equal(t, providers.CodeInvalidField, providers.AsError(err).Code, name)
	}
	_, hits := u.Seen()
	assert.Zero(t, hits)
}

// Go code may choose the server of one request, within a list if there is one;
// a caller never.
func TestAServerPerRequest(t *testing.T) {
	u := recorder.Serve(t, 200, nil, `{"token":"t"}`)
	send := func(cfg kudo.Config, server any) (any, error) {
		_, err := build(t, u.URL, cfg).Generate(t.Context(), providers.Request{Params: map[string]any{"server": server}})
		got, _ := u.Seen()
		var body map[string]any
		require.NoError(t, json.Unmarshal([]byte(got.Body), &body))
		return body["server"], err
	}
	cfg := config()
	cfg.Server = "https://default.example"
	for server, want := range map[any]any{nil: "https://default.example", "https://other.example": "https://other.example"} {
		got, err := send(cfg, server)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	cfg.Servers = []string{"https://eu.example"}
	for _, server := range []string{"https://eu.example", "https://default.example"} {
		got, err := send(cfg, server)
		require.NoError(t, err)
		assert.Equal(t, server, got)
	}
	_, err := send(cfg, "https://other.example")
	e := providers.AsError(err)
	assert.Equal(t, providers.CodeInvalidField, e.Code)
	assert.Equal(t, "server is none of Servers", e.Description)
}

func TestKeyCoversEveryParameter(t *testing.T) {
	p := build(t, "", config())
	key := func(subject string, params map[string]any) string {
		t.Helper()
		k, err := p.Key(providers.Request{Subject: subject, Params: params})
		require.NoError(t, err)
		return k
	}
	base := key("u", map[string]any{"file": "a", "access": "view"})
	assert.Equal(t, base, key("", map[string]any{"access": "view", "file": "a", "userId": "u", "mobile": nil}))
	for _, other := range []string{
		key("v", map[string]any{"file": "a", "access": "view"}),
		key("u", map[string]any{"file": "b", "access": "view"}),
		key("u", map[string]any{"file": "a", "access": "edit"}),
		key("u", map[string]any{"file": "a"}),
		key("u", map[string]any{"fileUrl": "a", "access": "view"}),
		key("u", map[string]any{"file": "a", "access": "view", "locale": ""}),
		key("u", map[string]any{"file": "a", "access": "view", "server": "https://x"}),
		key("u", map[string]any{"access": "view"}),
		key("u", nil),
	} {
		assert.NotEqual(t, base, other)
	}
}

func TestEncodeWithoutExpiry(t *testing.T) {
	b, err := json.Marshal(build(t, "", config()).Encode(providers.Request{}, providers.Token{AccessToken: "t"}))
	require.NoError(t, err)
	assert.JSONEq(t, `{"token":"t"}`, string(b))
}

func TestOwns(t *testing.T) {
	p := build(t, "", config())
	assert.True(t, p.Owns(uuid))
	assert.True(t, p.Owns(strings.ToUpper(uuid)))
	for _, other := range []string{"", "eyJhbGciOiJIUzI1NiJ9.e30.c2ln", uuid + "a", uuid[1:], strings.ReplaceAll(uuid, "-", "a"), "g" + uuid[1:]} {
		assert.False(t, p.Owns(other), other)
	}
}

func TestEditorURL(t *testing.T) {
	p := build(t, "", config())
	for base, want := range map[string]string{
		"https://editor.example.com":                "https://editor.example.com/editor?apitoken=a%2Bb%26c",
		"https://editor.example.com/":               "https://editor.example.com/editor?apitoken=a%2Bb%26c",
		"https://editor.example.com/v2/edit?x=1%26": "https://editor.example.com/v2/edit?apitoken=a%2Bb%26c&x=1%26",
		"http://127.0.0.1:8080":                     "http://127.0.0.1:8080/editor?apitoken=a%2Bb%26c",
	} {
		got, err := p.EditorURL(base, "a+b&c")
		require.NoError(t, err, base)
		assert.Equal(t, want, got)
	}
	for _, base := range []string{
		"", "editor", "//editor.example.com", "http://editor.example.com", "javascript:alert(1)", "https://u:p@editor.example.com",
		"https://editor.example.com/#x", "https://editor.example.com/editor?apitoken=x", "https://editor.example.com/?a=%zz", "https://a b",
	} {
		_, err := p.EditorURL(base, "token-canary")
		require.Error(t, err, base)
		assert.NotContains(t, err.Error(), "canary")
	}
	_, err := p.EditorURL("https://editor.example.com", "")
	require.Error(t, err)

	cfg := config()
	cfg.EditorParam = "auth"
	got, err := build(t, "", cfg).EditorURL("https://editor.example.com/?apitoken=x", "t")
	require.NoError(t, err)
	assert.Equal(t, "https://editor.example.com/editor?apitoken=x&auth=t", got)
}
