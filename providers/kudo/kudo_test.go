package kudo_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/recorder"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/kudo"
	"github.com/bearerkit/bearerkit/providers/providertest"
)

func file(name string) providers.Request {
	return providers.Request{Params: map[string]any{"file": name}}
}

func TestConformance(t *testing.T) {
	providertest.Run(t, providertest.Suite{
		New:          func(t testing.TB, base string) providers.Provider { return build(t, base, config()) },
		Request:      file("a.dwg"),
		Answer:       fmt.Sprintf(`{"token":"token-canary","expiration_time":%d}`, time.Now().Add(time.Hour).Unix()),
		Refusal:      "{ Wrong token }",
		AccessToken:  "presented-canary",
		VerifyAnswer: `{"file":"a.dwg","auth":"stored-canary"}`,
		Secrets:      []string{accessKey, auth, "token-canary", "stored-canary"},
	})
}

func TestConfigReportsEveryFault(t *testing.T) {
	_, err := kudo.New(kudo.Config{
		BaseURL: "ftp://x", AccessKey: "canary key", AllowedParams: []string{"locale", "Auth"}, EditorParam: "a&b",
	})
	for _, want := range []string{"BaseURL", "AccessKey: must be printable", "AllowedParams", "EditorParam"} {
		require.ErrorContains(t, err, want)
	}
	assert.NotContains(t, err.Error(), "canary")
	_, err = kudo.New(kudo.Config{Auth: "a"})
	require.ErrorContains(t, err, "AccessKey or Credentials is required")
	cfg := config()
	cfg.Credentials = func(context.Context) (string, string, error) { return "", "", nil }
	_, err = kudo.New(cfg)
	require.ErrorContains(t, err, "Credentials excludes")
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		assert.NotContains(t, fmt.Sprintf(verb, config()), "canary")
	}
}

type answerCase struct {
	Name   string          `json:"name"`
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
	Raw    string          `json:"raw"`
	Want   struct {
		Token, Expiry, Subject   string
		Claims                   json.RawMessage
		Code, Class, Description string
	} `json:"want"`
}

func (c answerCase) check(t *testing.T, err error) {
	t.Helper()
	var e *providers.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, c.Want.Code, string(e.Code))
	assert.Equal(t, c.Want.Class, e.Class.String())
	assert.Equal(t, c.Want.Description, e.Description)
	assert.Equal(t, c.Status, e.Status)
}

// Every shape of answer that vendors.md knows.
func TestGenerateAnswers(t *testing.T) {
	var cases []answerCase
	recorder.ReadJSON(t, "testdata/generate.json", &cases)
	cfg := config()
	cfg.Now = func() time.Time { return at("2020-07-28T05:00:00Z") }
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			u := recorder.Serve(t, c.Status, http.Header{"Date": nil}, string(c.Body)+c.Raw)
			token, err := build(t, u.URL, cfg).Generate(t.Context(), file("a"))
			if c.Want.Code != "" {
				c.check(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.Want.Token, token.AccessToken)
			assert.Equal(t, at(c.Want.Expiry), token.Expiry)
		})
	}
}

func TestVerifyAnswers(t *testing.T) {
	var cases []answerCase
	recorder.ReadJSON(t, "testdata/verify.json", &cases)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			u := recorder.Serve(t, c.Status, nil, string(c.Body)+c.Raw)
			v, err := build(t, u.URL, config()).Verify(t.Context(), uuid)
			if c.Want.Code != "" {
				c.check(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.Want.Subject, v.Subject)
			assert.Equal(t, compact(t, c.Want.Claims), string(v.Claims))
			assert.NotContains(t, string(v.Claims), "canary")
		})
	}
}

// compact sorts the members too, as encoding/json does for a map.
func compact(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	var m map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(raw, &m))
	b, err := json.Marshal(m)
	require.NoError(t, err)
	return string(b)
}

// A vendor whose clock is an hour behind issues no dead tokens, and one that is
// ahead none that outlive themselves.
func TestExpiryIsCorrectedByDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, skew := range []time.Duration{-2 * time.Hour, 2 * time.Hour} {
			f, err := providertest.NewKudo(providertest.KudoConfig{AccessKey: accessKey})
			require.NoError(t, err)
			f.SetSkew(skew)
			cfg := config()
			cfg.HTTPClient = &http.Client{Transport: handlerTransport{f}}
			token, err := build(t, "", cfg).Generate(t.Context(), file("a"))
			require.NoError(t, err)
			assert.Equal(t, time.Hour, time.Until(token.Expiry), skew)
		}
	})
}

// The document's sample ends in 2020. It is good for a clock that says 2020,
// whatever the Date of the machine that plays the vendor.
func TestTheDocumentsSampleIsGoodInItsTime(t *testing.T) {
	u := recorder.Serve(t, 200, nil, `{"token":"bbf18f21-3d0d-4a4c-b650-9c14d4075ce0","expiration_time":1595917409}`)
	cfg := config()
	cfg.Now = func() time.Time { return at("2020-07-28T05:00:00Z") }
	token, err := build(t, u.URL, cfg).Generate(t.Context(), providers.Request{})
	require.NoError(t, err)
	assert.Equal(t, at("2020-07-28T06:23:29Z"), token.Expiry)
	cfg.Now = nil
	_, err = build(t, u.URL, cfg).Generate(t.Context(), providers.Request{})
	assert.Equal(t, providers.CodeBadResponse, providers.AsError(err).Code, "and bad in ours")
}

func TestVerifyIsCached(t *testing.T) {
	f, err := providertest.NewKudo(providertest.KudoConfig{AccessKey: accessKey})
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		cfg := config()
		cfg.HTTPClient = &http.Client{Transport: handlerTransport{f}}
		p := build(t, "", cfg)
		token, err := p.Generate(t.Context(), providers.Request{Subject: "u", Params: map[string]any{"file": "a"}})
		require.NoError(t, err)
		verify := func(token string, want providers.Code) {
			t.Helper()
			v, err := p.Verify(t.Context(), token)
			if want != "" {
				require.Equal(t, want, providers.AsError(err).Code)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "u", v.Subject)
		}
		for range 10 {
			verify(token.AccessToken, "")
			verify("unknown", providers.CodeInvalidToken)
		}
		assert.Equal(t, 2, f.Stats().Verifies)
		f.RevokeAll()
		time.Sleep(5 * time.Second)
		verify("unknown", providers.CodeInvalidToken)
		verify(token.AccessToken, "")
		assert.Equal(t, 3, f.Stats().Verifies)
		time.Sleep(25 * time.Second)
		verify(token.AccessToken, providers.CodeInvalidToken)
	})
}

// handlerTransport calls a handler without a network.
type handlerTransport struct{ http.Handler }

func (h handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), nil
}

func TestVerifyRefusesWhatNoHeaderHolds(t *testing.T) {
	u := recorder.Serve(t, 200, nil, "{}")
	p := build(t, u.URL, config())
	for _, token := range []string{"", "a b", "a\r\nX-Api-Key: x", "é", strings.Repeat("a", 4097)} {
		_, err := p.Verify(t.Context(), token)
		assert.Equal(t, providers.CodeInvalidToken, providers.AsError(err).Code)
	}
	_, hits := u.Seen()
	assert.Zero(t, hits)
}

func TestVerifyWhileTheCallerLeaves(t *testing.T) {
	f, err := providertest.NewKudo(providertest.KudoConfig{AccessKey: accessKey})
	require.NoError(t, err)
	f.SetFault(providertest.Fault{Hang: true})
	srv := httptest.NewServer(f)
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = build(t, srv.URL, config()).Verify(ctx, uuid)
	var e *providers.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, providers.CodeTimeout, e.Code)
	assert.Equal(t, "kudo: verify", e.Op)
	srv.CloseClientConnections()
}

func TestCredentials(t *testing.T) {
	u := recorder.Serve(t, 200, nil, `{"token":"t"}`)
	accessKey, auth := "one", ""
	var fail error
	p := build(t, u.URL, kudo.Config{Credentials: func(context.Context) (string, string, error) { return accessKey, auth, fail }})
	for range 2 {
		_, err := p.Generate(t.Context(), file("a"))
		require.NoError(t, err)
		got, _ := u.Seen()
		assert.Equal(t, accessKey, got.Header.Get("X-Api-Key"))
		assert.Equal(t, auth != "", strings.Contains(got.Body, `"auth":"app"`))
		accessKey, auth = "two", "app"
	}
	fail = errors.New("vault is down")
	_, err := p.Generate(t.Context(), file("a"))
	require.ErrorIs(t, err, fail)
	assert.Equal(t, "kudo: generate: internal", err.Error())
	accessKey, fail = "", nil
	_, err = p.Generate(t.Context(), file("a"))
	assert.Equal(t, providers.CodeInternal, providers.AsError(err).Code)
}
