package providertest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
)

// canary is a text in the upstream's answers that must not be repeated.
const canary = "canary-of-the-upstreams-answer"

// scanError looks for secrets in err and in everything it wraps.
func (s Suite) scanError(t *testing.T, err error) {
	t.Helper()
	s.scan(t, "the error", err)
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if next := e.Unwrap(); next != nil {
			s.scanError(t, next)
		}
	case interface{ Unwrap() []error }:
		for _, next := range e.Unwrap() {
			s.scanError(t, next)
		}
	}
}

// scan looks for secrets in every form in which v prints.
func (s Suite) scan(t *testing.T, what string, v any) {
	t.Helper()
	forms := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		forms[verb] = fmt.Sprintf(verb, v)
	}
	var text, object bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("", "v", v)
	slog.New(slog.NewJSONHandler(&object, nil)).Info("", "v", v)
	forms["slog's text"], forms["slog's JSON"] = text.String(), object.String()
	if b, err := json.Marshal(v); err == nil {
		forms["encoding/json"] = string(b)
	} else {
		forms["encoding/json's error"] = err.Error()
	}
	check := func(field, secret string) {
		if secret == "" {
			return
		}
		b64 := base64.StdEncoding.EncodeToString([]byte(secret))
		for form, printed := range forms {
			for _, spelling := range []string{secret, url.QueryEscape(secret), b64} {
				if strings.Contains(printed, spelling) {
					t.Errorf("%s shows %s in %s", what, field, form)
				}
			}
		}
	}
	check("the upstream's answer", canary)
	check("Suite.RefreshToken", s.RefreshToken)
	check("Suite.AccessToken", s.AccessToken)
	for i, secret := range s.Secrets {
		check(fmt.Sprintf("Suite.Secrets[%d]", i), secret)
	}
}
