package oauth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
)

// authenticate adds the client's credentials to a call. It is a closure so that
// a Provider holds no secret that fmt could print.
type authenticate func(ctx context.Context, h http.Header, form url.Values) error

// errCredential says that a configured credential is wrong and stays wrong. Its
// text names the field.
type errCredential string

func (e errCredential) Error() string { return string(e) }

// errAssertion says that there is no assertion to send now, and may be later.
// Its text names the field.
type errAssertion string

func (e errAssertion) Error() string { return string(e) }

// credentialError is the error of a call that could not get its credential.
func credentialError(ctx context.Context, op string, err error) *providers.Error {
	e := wire.KeyError(ctx, opName(op), err)
	e.Description = "the client's secret or signature could not be had"
	var bad errCredential
	var missing errAssertion
	switch {
	case errors.As(err, &bad):
		e.Class, e.Description = providers.Permanent, string(bad)
	case errors.As(err, &missing):
		e.Description = string(missing)
	}
	return e
}

// credentials reports for which ways to authenticate c holds a value.
func (c Config) credentials() (secret, key, assertion bool, err error) {
	secret, key = c.Secret != "" || c.SecretFunc != nil, c.Key.set()
	assertion = c.AssertionFunc != nil || c.AssertionFile != ""
	if c.Claims != nil {
		key = false // the key signs the grant
	}
	switch {
	case c.Secret != "" && c.SecretFunc != nil:
		err = errors.New("only one of Secret and SecretFunc can be set")
	case c.AssertionFunc != nil && c.AssertionFile != "":
		err = errors.New("only one of AssertionFunc and AssertionFile can be set")
	case secret && key:
		err = errors.New("only one of Secret and Key can be set")
	case assertion && (secret || key):
		err = errors.New("an AssertionFunc or AssertionFile stands in place of Secret and Key")
	case !vschar(c.Secret):
		err = errors.New("Secret: has characters outside printable ASCII (RFC 6749 appendix A.2)")
	}
	return secret, key, assertion, err
}

func newAuth(c Config) (authenticate, error) {
	secret, key, assertion, err := c.credentials()
	if err != nil {
		return nil, err
	}
	method := c.AuthMethod
	switch {
	case method != "":
	case key, assertion:
		method = "private_key_jwt"
	case secret:
		method = "client_secret_basic"
	case c.Claims != nil:
		return func(context.Context, http.Header, url.Values) error { return nil }, nil
	default:
		return nil, errors.New(`one of Secret, Key and AssertionFile is needed, or AuthMethod "none"`)
	}
	wants := func(what string, has bool) error {
		if !has {
			return fmt.Errorf("AuthMethod: %s needs a %s", method, what)
		}
		return nil
	}
	switch method {
	case "client_secret_basic":
		// RFC 6749 section 2.3.1 form-encodes both halves before base64;
		// http.Request.SetBasicAuth does not.
		return withSecret(c, basic(c.ClientID, url.QueryEscape)), wants("Secret", secret)
	case "client_secret_basic_unencoded":
		if strings.Contains(c.ClientID, ":") {
			return nil, fmt.Errorf("AuthMethod: %s cannot send a ClientID with a colon", method)
		}
		return withSecret(c, basic(c.ClientID, strings.Clone)), wants("Secret", secret)
	case "client_secret_post":
		return withSecret(c, func(_ http.Header, form url.Values, secret string) {
			form.Set("client_id", c.ClientID)
			form.Set("client_secret", secret)
		}), wants("Secret", secret)
	case "private_key_jwt":
		if err := wants("Key or AssertionFile", key || assertion); err != nil {
			return nil, err
		}
		return assertionAuth(c)
	case "none":
		if secret || key || assertion {
			return nil, errors.New(`AuthMethod "none" has no use for a Secret, Key or AssertionFile`)
		}
		return func(_ context.Context, _ http.Header, form url.Values) error {
			form.Set("client_id", c.ClientID)
			return nil
		}, nil
	}
	return nil, fmt.Errorf("AuthMethod: %q is none of client_secret_basic, client_secret_basic_unencoded, client_secret_post, private_key_jwt, none", method)
}

func basic(clientID string, encode func(string) string) func(http.Header, url.Values, string) {
	return func(h http.Header, _ url.Values, secret string) {
		pair := encode(clientID) + ":" + encode(secret)
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	}
}

// withSecret asks for the secret on every call.
func withSecret(c Config, put func(h http.Header, form url.Values, secret string)) authenticate {
	return func(ctx context.Context, h http.Header, form url.Values) error {
		secret := c.Secret
		if c.SecretFunc != nil {
			var err error
			if secret, err = c.SecretFunc(ctx); err != nil {
				return err
			}
			switch {
			case secret == "":
				return errCredential("SecretFunc returned no secret")
			case !vschar(secret):
				return errCredential("SecretFunc returned a secret with characters outside printable ASCII (RFC 6749 appendix A.2)")
			}
		}
		put(h, form, secret)
		return nil
	}
}
