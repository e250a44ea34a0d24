package redox

import (
	"errors"
	"strings"

	"github.com/bearerkit/bearerkit/providers"
)

// explain changes an error of package oauth to what it means at Redox.
func explain(err error, op string) error {
	var e *providers.Error
	if !errors.As(err, &e) {
		return err
	}
	e.Op = op
	var said interface {
		OAuthError() (code, description string)
	}
	if !errors.As(e.Err, &said) || e.Class != providers.Permanent {
		return err
	}
	code, text := said.OAuthError()
	if code == "" || code == "invalid_scope" || e.Status < 400 {
		return err
	}
	e.Code = providers.CodeCredentialsRejected
	if why := reason(code, text); why != "" {
		e.Description = strings.TrimPrefix(e.Description+"; "+why, "; ")
	}
	return err
}

// reason returns a text of Redox's documentation in our words; "" for any
// other.
func reason(code, text string) string {
	switch {
	case strings.HasPrefix(text, "Public key not found"):
		return "the public key is not known to Redox (yet): check the client ID, the key ID and the key set's URL in the Redox dashboard"
	case strings.Contains(text, "kid property"):
		return "the assertion has no key ID"
	case code != "" && text == "":
		return "Redox gave no reason, which stands for aud, alg, jti or iat: check the base URL and the clock"
	}
	if words := strings.Fields(text); len(words) > 1 && words[0] == "Unexpected" {
		switch claim := strings.Trim(words[1], `"'`); claim {
		case "iss", "sub", "aud", "jti", "iat", "exp":
			return "Redox did not expect the assertion's " + claim
		}
	}
	return ""
}
