package oauth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/bearerkit/bearerkit/internal/jose"
)

// assertionLife is the time from iat to exp. RFC 7523 has no bound; vendors
// refuse more than five minutes, and clocks may differ by some of it.
const assertionLife = 2 * time.Minute

// authenticate adds the client's credentials to a call. It is a closure so that
// a Provider holds no secret that fmt could print.
type authenticate func(ctx context.Context, h http.Header, form url.Values) error

func newAuth(c Config) (authenticate, error) {
	hasSecret, hasKey := c.Secret != "" || c.SecretFunc != nil, c.Key.set()
	switch {
	case c.Secret != "" && c.SecretFunc != nil:
		return nil, errors.New("only one of Secret and SecretFunc can be set")
	case hasSecret && hasKey:
		return nil, errors.New("only one of Secret and Key can be set")
	}
	method := c.AuthMethod
	switch {
	case method != "":
	case hasKey:
		method = "private_key_jwt"
	case hasSecret:
		method = "client_secret_basic"
	default:
		return nil, errors.New(`one of Secret and Key is needed, or AuthMethod "none"`)
	}
	wants := func(what string, has bool) error {
		if !has {
			return fmt.Errorf("AuthMethod: %s needs a %s", method, what)
		}
		return nil
	}
	switch method {
	case "client_secret_basic":
		return withSecret(c, func(h http.Header, _ url.Values, secret string) {
			// RFC 6749 section 2.3.1 form-encodes both halves before base64;
			// http.Request.SetBasicAuth does not.
			pair := url.QueryEscape(c.ClientID) + ":" + url.QueryEscape(secret)
			h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
		}), wants("Secret", hasSecret)
	case "client_secret_post":
		return withSecret(c, func(_ http.Header, form url.Values, secret string) {
			form.Set("client_id", c.ClientID)
			form.Set("client_secret", secret)
		}), wants("Secret", hasSecret)
	case "private_key_jwt":
		if err := wants("Key", hasKey); err != nil {
			return nil, err
		}
		return assertionAuth(c)
	case "none":
		if hasSecret || hasKey {
			return nil, errors.New(`AuthMethod "none" has no use for a Secret or Key`)
		}
		return func(_ context.Context, _ http.Header, form url.Values) error {
			form.Set("client_id", c.ClientID)
			return nil
		}, nil
	}
	return nil, fmt.Errorf("AuthMethod: %q is none of client_secret_basic, client_secret_post, private_key_jwt, none", method)
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
			if secret == "" {
				return errors.New("SecretFunc returned no secret")
			}
		}
		put(h, form, secret)
		return nil
	}
}

func assertionAuth(c Config) (authenticate, error) {
	signer, err := jose.OneOf(c.Key.PEM, c.Key.Signer)
	if err != nil {
		return nil, fmt.Errorf("Key: %w", err)
	}
	key, err := jose.NewKey(signer, c.Key.Algorithm, c.Key.ID)
	if err != nil {
		return nil, fmt.Errorf("Key: %w", err)
	}
	audience := c.AssertionAudience
	if audience == "" {
		audience = c.TokenURL
	}
	return func(_ context.Context, _ http.Header, form url.Values) error {
		now := c.Now().Unix()
		assertion, err := key.Sign(struct {
			Issuer   string `json:"iss"`
			Subject  string `json:"sub"`
			Audience string `json:"aud"`
			ID       string `json:"jti"`
			IssuedAt int64  `json:"iat"`
			Expiry   int64  `json:"exp"`
		}{c.ClientID, c.ClientID, audience, rand.Text(), now, now + int64(assertionLife/time.Second)})
		if err != nil {
			return err
		}
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
		return nil
	}, nil
}
