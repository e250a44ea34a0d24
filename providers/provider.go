package providers

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Request says for whom and for what a token is wanted. The zero value asks for
// the provider's own token.
type Request struct {
	// Tenant selects one of the provider's configured tenants. Providers
	// with one tenant accept "".
	Tenant string
	// Subject is the user the token is for, in the vendor's terms.
	Subject string
	// Audience is the party the token will be presented to.
	Audience string
	// Scopes are the OAuth scopes wanted, in any order (RFC 6749 section 3.3).
	Scopes []string
	// Params are further vendor parameters: JSON values only, that is nil,
	// bool, string in UTF-8, finite float64, int, int32, int64 and their
	// unsigned forms, json.Number, and []any and map[string]any of these.
	Params map[string]any
}

// Provider issues tokens.
type Provider interface {
	// Generate issues a token for req. Every call may reach the upstream.
	Generate(ctx context.Context, req Request) (Token, error)
}

// Refresher is a Provider that can spend a refresh token.
type Refresher interface {
	// Refresh exchanges refreshToken for a new token. A result without a
	// refresh token means that the presented one stays valid; the provider
	// then repeats it in the result.
	Refresh(ctx context.Context, req Request, refreshToken string) (Token, error)
}

// Verifier is a Provider that can tell whether an access token is valid.
type Verifier interface {
	// Verify reports what the upstream knows about accessToken. A token that
	// is not valid is an [*Error] with [CodeInvalidToken].
	Verify(ctx context.Context, accessToken string) (Verified, error)
}

// Revoker is a Provider that can end a token's life early (RFC 7009).
type Revoker interface {
	// Revoke ends t, its refresh token first.
	Revoke(ctx context.Context, t Token) error
}

// Keyer is a Provider that knows which requests share one grant at the vendor.
// Without it, requests that differ in any field are different grants.
type Keyer interface {
	// Key names the grant of req. Two requests with one key share a record
	// and an upstream call. It is never logged, and stored only as a digest.
	Key(req Request) (string, error)
}

// Moder is a Provider that says how many of its tokens may live at once.
// Without it, the mode is [Shared].
type Moder interface {
	Mode() Mode
}

// Mode is how a vendor treats the earlier tokens of a grant.
type Mode uint8

const (
	// Shared: many tokens of a grant may live at once.
	Shared Mode = iota
	// Rotating: a refresh token works once (RFC 9700 section 4.14).
	Rotating
	// Exclusive: a new token ends every earlier one of the grant.
	Exclusive
)

// String returns the mode's name in lower case.
func (m Mode) String() string {
	switch m {
	case Shared:
		return "shared"
	case Rotating:
		return "rotating"
	case Exclusive:
		return "exclusive"
	}
	return "mode(" + strconv.Itoa(int(m)) + ")"
}

// Verified is what a [Verifier] learned about a valid token.
type Verified struct {
	// Subject is whom the token is for; it may be empty.
	Subject string
	// Scopes are the scopes granted; nil if the upstream does not say.
	Scopes []string
	// Expiry is when the token ends; zero if the upstream does not say.
	Expiry time.Time
	// Claims is the upstream's answer as one JSON object, without members
	// that are secret.
	Claims json.RawMessage
}

// Key is the default identity of r's grant: an injective encoding of all
// fields, with the order of scopes and of map members not counted. It is what
// a provider without [Keyer] is keyed by. The error, if any, is an [*Error]
// with [CodeInvalidField] naming the member of Params that is no JSON value.
func (r Request) Key() (string, error) {
	b := make([]byte, 0, 128)
	for _, s := range []string{r.Tenant, r.Subject, r.Audience} {
		b = appendString(b, s)
	}
	scopes := slices.Clone(r.Scopes)
	slices.Sort(scopes)
	scopes = slices.Compact(scopes)
	b = strconv.AppendInt(b, int64(len(scopes)), 10)
	b = append(b, '[')
	for _, s := range scopes {
		b = appendString(b, s)
	}
	if len(r.Params) > 0 {
		if err := checkJSON("Params", r.Params); err != nil {
			return "", &Error{Code: CodeInvalidField, Class: Permanent, Op: "key", Description: err.Error()}
		}
		j, err := json.Marshal(r.Params) // members sorted
		if err != nil {
			return "", &Error{Code: CodeInvalidField, Class: Permanent, Op: "key", Description: "Params: not a JSON value", Err: err}
		}
		b = append(b, j...)
	}
	return string(b), nil
}

// appendString writes s with its length before it, so that no two sequences of
// strings have one encoding.
func appendString(b []byte, s string) []byte {
	b = strconv.AppendInt(b, int64(len(s)), 10)
	b = append(b, ':')
	return append(b, s...)
}

func checkJSON(path string, v any) error {
	switch v := v.(type) {
	case nil, bool, int, int32, int64, uint, uint32, uint64:
		return nil
	case string:
		// encoding/json makes U+FFFD of every other byte, and one value of two.
		if !utf8.ValidString(v) {
			return fmt.Errorf("%s: not UTF-8", path)
		}
		return nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("%s: not a finite number", path)
		}
		return nil
	case json.Number:
		if !json.Valid([]byte(v)) || strings.ContainsAny(string(v), "\" \t\r\n{[tfn") {
			return fmt.Errorf("%s: not a number", path)
		}
		return nil
	case []any:
		for i, e := range v {
			if err := checkJSON(path+"["+strconv.Itoa(i)+"]", e); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		for k, e := range v {
			if !utf8.ValidString(k) {
				return fmt.Errorf("%s: a name that is not UTF-8", path)
			}
			if err := checkJSON(path+"."+k, e); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("%s: %T is not a JSON value", path, v)
}
