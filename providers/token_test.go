package providers_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
)

var full = providers.Token{
	AccessToken: "planted-access", TokenType: "planted-type", RefreshToken: "planted-refresh",
	Expiry: time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600)), RefreshExpiry: time.Unix(1, 0), IssuedAt: time.Unix(2, 0),
	Scopes: []string{"planted-scope"}, Extra: map[string]any{"id_token": "planted-extra"}, Version: 7,
}

var fullRequest = providers.Request{
	Tenant: "planted-tenant", Subject: "planted-subject", Identifiers: map[string]string{"planted-name": "planted-email"}, Audience: "planted-audience",
	Scopes: []string{"planted-scope"}, Params: map[string]any{"planted": "planted-param"},
	Assertion: providers.Assertion{Token: "planted-assertion", Type: "planted-type", Issuer: "planted-issuer", Expiry: time.Unix(1, 0)},
	Actor:     providers.Assertion{Token: "planted-actor"},
}

// secretive are the types of the contract that never print what they hold.
var secretive = []any{full, &full, fullRequest, &fullRequest, fullRequest.Assertion, &fullRequest.Actor}

// holder has a Token where a caller's own types have one.
type holder struct {
	Token   providers.Token
	Pointer *providers.Token
	List    []providers.Token
	Named   map[string]providers.Token
	Any     any
}

func holds() holder {
	return holder{full, &full, []providers.Token{full}, map[string]providers.Token{"k": full}, full}
}

// bad are the verbs that fmt refuses for a value of this kind. It then prints
// the value without asking it, and go vet reports the call.
const bad = "pw"

func TestFmtDoesNotPrintATokensCredentials(t *testing.T) {
	held := holds()
	for _, v := range append(secretive, held, &held, []any{full}, secretive) {
		for verb := '!'; verb <= '~'; verb++ {
			if strings.ContainsRune(bad, verb) {
				continue
			}
			for _, flags := range []string{"", "+", "#", "-60", " ", "060.20", "[1]"} {
				format := "%" + flags + string(verb)
				assert.NotContains(t, fmt.Sprintf(format, v), "planted", "%s of %T", format, v)
			}
		}
		assert.NotContains(t, fmt.Sprint(v, v), "planted")
		noVerb := strings.Clone("too few verbs")
		assert.NotContains(t, fmt.Sprintf(noVerb, v), "planted")
		assert.NotContains(t, fmt.Errorf("because of %v", v).Error(), "planted")
	}
	assert.Equal(t, "Token(redacted +refresh v7 until 2026-01-02T02:04:05Z)", fmt.Sprintf("%+v", full))
	assert.Equal(t, "Token(empty)", fmt.Sprintf("%#v", providers.Token{}))
	assert.Equal(t, full.String(), full.GoString())
	assert.Equal(t, "Request(redacted +tenant +subject +identifiers +audience +scopes +params +assertion +actor)", fmt.Sprint(fullRequest))
	assert.Equal(t, "Request(redacted)", fmt.Sprintf("%#v", providers.Request{}))
	assert.Equal(t, "Assertion(redacted until 1970-01-01T00:00:01Z) Assertion(redacted) Assertion(empty)",
		fmt.Sprint(fullRequest.Assertion, " ", fullRequest.Actor, " ", providers.Assertion{}))
}

func TestEncodersRefuseTokens(t *testing.T) {
	for name, encode := range map[string]func(io.Writer, any) error{
		"json": func(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) },
		"xml":  func(w io.Writer, v any) error { return xml.NewEncoder(w).Encode(v) },
		"gob":  func(w io.Writer, v any) error { return gob.NewEncoder(w).Encode(v) },
	} {
		for _, v := range append(secretive, []providers.Token{full}, struct{ T providers.Token }{full}, struct{ T *providers.Token }{&full}, []providers.Request{fullRequest}) {
			var b bytes.Buffer
			assert.Error(t, encode(&b, v), "%s of %T", name, v)
			assert.NotContains(t, b.String(), "planted", "%s of %T", name, v)
		}
	}
	_, err := full.MarshalText()
	assert.ErrorContains(t, err, "struct of your own")
	_, err = fullRequest.MarshalText()
	assert.ErrorContains(t, err, "struct of your own")
	_, err = fullRequest.Actor.MarshalText()
	assert.ErrorContains(t, err, "struct of your own")
	_, err = json.Marshal(map[providers.Mode]providers.Token{1: full})
	assert.Error(t, err)
	assert.NotContains(t, err.Error(), "planted")
}

func TestLogsHoldNoCredentials(t *testing.T) {
	var b bytes.Buffer
	for _, h := range []slog.Handler{
		slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil),
		slog.NewTextHandler(&b, &slog.HandlerOptions{AddSource: true, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { return a }}),
	} {
		l := slog.New(h).With("with", full).WithGroup("g")
		l.Info("m", "token", full, "pointer", &full, "holder", holds(), "list", []providers.Token{full})
		l.Info("m", slog.Group("g", slog.Any("t", full)), slog.Any("request", fullRequest), slog.Any("actor", fullRequest.Actor), slog.Any("error", fmt.Errorf("of %v: %w", full, errors.New("x"))))
	}
	std := log.New(&b, "", 0)
	std.Print(full, &full, holds())
	std.Printf("%v %+v", full, holds())
	require.NoError(t, template.Must(template.New("").Parse("{{.}} {{.Token}} {{.Any}}")).Execute(&b, holds()))
	assert.NotContains(t, b.String(), "planted")
	assert.GreaterOrEqual(t, strings.Count(b.String(), "Token(redacted"), 12)
}
