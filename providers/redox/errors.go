package redox

import (
	"errors"
	"net/http"
	"strings"

	"github.com/bearerkit/bearerkit/providers"
)

// explain gives an error of package oauth Redox's meaning.
func explain(err error, op string) error {
	var e *providers.Error
	if !errors.As(err, &e) {
		return err
	}
	e.Op = op
	switch s := e.Status; {
	case s < 400, s > 499, s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests:
		return err
	}
	var code, text string
	var said interface {
		OAuthError() (code, description string)
	}
	if errors.As(e.Err, &said) {
		code, text = said.OAuthError()
	}
	e.Class = providers.Permanent
	if code == "invalid_scope" {
		return err
	}
	e.Code = providers.CodeCredentialsRejected
	if why := reason(code, text); why != "" {
		e.Description = strings.TrimPrefix(e.Description+"; "+why, "; ")
	}
	return err
}

// reason is a text of Redox's documentation in words of ours; "" for any other.
func reason(code, text string) string {
	switch {
	case strings.HasPrefix(text, "Public key not found"):
		return "the public key is not known to Redox (yet): check the client ID, the key ID and the key set's URL in the Redox dashboard"
	case strings.Contains(text, "kid property"):
		return "the assertion has no key ID"
	case code != "" && text == "":
		return "Redox gave no reason, which stands for aud, alg, jti or iat: check the base URL and the clock"
	}
	for _, claim := range []string{"iss", "sub", "aud", "jti", "iat", "exp"} {
		if strings.HasPrefix(text, "Unexpected ") && strings.Contains(text, claim) {
			return "Redox did not expect the assertion's " + claim
		}
	}
	return ""
}
