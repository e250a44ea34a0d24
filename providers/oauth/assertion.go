package oauth

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/internal/jose"
	internal "github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/providers"
)

const (
	// assertionLife is the default time from iat to exp. RFC 7523 sets no
	// limit. Vendors refuse more than five minutes, and the clocks may differ.
	assertionLife    = 2 * time.Minute
	maxAssertionLife = time.Hour
	// signTime bounds the wait for a signature.
	signTime = 10 * time.Second
	// maxAssertion bounds an assertion from a file or function, in bytes.
	maxAssertion = 64 << 10
)

// claimsFunc signs the assertion of a jwt_bearer grant.
type claimsFunc func(ctx context.Context, subject, scope string) (string, error)

// signer makes assertions with c.Key.
func signer(c Config) (func(ctx context.Context, claims map[string]any) (string, error), error) {
	private, err := jose.OneOf(c.Key.PEM, c.Key.Signer)
	if err != nil {
		return nil, fmt.Errorf("Key: %w", err)
	}
	key, err := jose.NewKey(private, c.Key.Algorithm, c.Key.ID)
	if err != nil {
		return nil, fmt.Errorf("Key: %w", err)
	}
	if len(c.Key.Certificate) > 0 {
		if key, err = key.WithCertificate(c.Key.Certificate); err != nil {
			return nil, fmt.Errorf("Key: Certificate: %w", err)
		}
	}
	audience := c.AssertionAudience
	if audience == "" {
		audience = c.TokenURL
	}
	if audience == "" {
		return nil, errors.New("AssertionAudience: required without a TokenURL")
	}
	life := cmp.Or(c.AssertionLifetime, assertionLife)
	if life < time.Second || life > maxAssertionLife || life%time.Second != 0 {
		return nil, fmt.Errorf("AssertionLifetime: must be whole seconds, from one second to %v", maxAssertionLife)
	}
	return func(ctx context.Context, claims map[string]any) (string, error) {
		now := c.Now().Unix()
		maps.Copy(claims, map[string]any{"iss": c.ClientID, "aud": audience, "jti": rand.Text(), "iat": now, "exp": now + int64(life/time.Second)})
		ctx, cancel := context.WithTimeout(ctx, signTime)
		defer cancel()
		return key.SignContext(ctx, claims)
	}, nil
}

func newClaims(c Config, grant grantType) (claimsFunc, error) {
	if c.Claims == nil {
		return nil, nil
	}
	if grant != jwtBearer {
		return nil, errors.New("Claims: only jwt_bearer signs an assertion of its own")
	}
	if !c.Key.set() {
		return nil, errors.New("Claims: a Key is needed to sign them")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Claims)) {
		switch name {
		case "iss", "aud", "iat", "exp", "jti":
			return nil, fmt.Errorf("Claims: %s is set by the kit", name)
		}
	}
	if _, err := (providers.Request{Params: c.Claims}).Key(); err != nil {
		return nil, errors.New("Claims: JSON values only")
	}
	sign, err := signer(c)
	if err != nil {
		return nil, err
	}
	own := maps.Clone(c.Claims)
	return func(ctx context.Context, subject, scope string) (string, error) {
		claims := maps.Clone(own)
		if subject != "" {
			claims["sub"] = subject
		}
		if scope != "" {
			claims["scope"] = scope
		}
		return sign(ctx, claims)
	}, nil
}

// assertionAuth authenticates the client by an assertion (RFC 7521 section
// 4.2). The assertion is signed or read for each attempt.
func assertionAuth(c Config) (authenticate, error) {
	source, err := assertionSource(c)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, _ http.Header, form url.Values) error {
		assertion, err := source(ctx)
		if err != nil {
			return err
		}
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
		return nil
	}, nil
}

func assertionSource(c Config) (func(context.Context) (string, error), error) {
	read, field := c.AssertionFunc, "AssertionFunc"
	switch {
	case c.AssertionFile != "":
		read, field = fileAssertion(c.AssertionFile), "AssertionFile"
	case read == nil:
		sign, err := signer(c)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) (string, error) { return sign(ctx, map[string]any{"sub": c.ClientID}) }, nil
	}
	if c.AssertionAudience == "" {
		return nil, fmt.Errorf("AssertionAudience: required with %s, so that no other token is sent", field)
	}
	return func(ctx context.Context) (string, error) {
		assertion, err := read(ctx)
		if err != nil {
			return "", err
		}
		return assertion, checkOwn(assertion, field, c.AssertionAudience, c.Now())
	}, nil
}

// fileAssertion reads a file for each attempt and drops one trailing line
// break.
func fileAssertion(name string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		f, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("%w: %w", errAssertion("AssertionFile: the file cannot be read"), err)
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, maxAssertion+1))
		if err != nil {
			return "", fmt.Errorf("%w: %w", errAssertion("AssertionFile: the file cannot be read"), err)
		}
		b = bytes.TrimSuffix(b, []byte("\n"))
		b = bytes.TrimSuffix(b, []byte("\r"))
		return string(b), nil
	}
}

// checkOwn checks an assertion of another signer before it is sent. It does not
// verify the signature; the server does.
func checkOwn(assertion, field, audience string, now time.Time) error {
	switch {
	case assertion == "":
		return errAssertion(field + ": the assertion is empty")
	case len(assertion) > maxAssertion:
		return errAssertion(fmt.Sprintf("%s: the assertion is over %d bytes", field, maxAssertion))
	case !vschar(assertion):
		return errCredential(field + ": the assertion has characters outside printable ASCII; it is not sent")
	}
	var claims struct {
		Audience json.RawMessage `json:"aud"`
	}
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 || strings.Contains(assertion, " ") {
		return errAssertion(field + ": the assertion is not a JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return errAssertion(field + ": the assertion is not a JWT")
	}
	var one string
	var all []string
	if json.Unmarshal(claims.Audience, &one) == nil {
		all = []string{one}
	} else {
		_ = json.Unmarshal(claims.Audience, &all)
	}
	if !slices.Contains(all, audience) {
		return errCredential(field + ": the assertion's aud is not AssertionAudience; it is not sent")
	}
	if exp, ok := internal.JWTExpiry(assertion); ok && !exp.After(now) {
		return errAssertion(field + ": the assertion has expired")
	}
	return nil
}
