package providers

import (
	"context"
	"encoding/json"
	"strconv"
	"time"
)

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
	//
	// An answer may hold a new refresh token and no access token that can be
	// used. Refresh then returns a Token whose only credential is
	// RefreshToken, together with an [*Error] whose Class is InDoubt or
	// Transient: the presented refresh token is spent and the returned one
	// replaces it. With any other error the Token is the zero Token.
	Refresh(ctx context.Context, req Request, refreshToken string) (Token, error)
}

// OptionalRefresher is a Refresher that tells at run time whether it can
// refresh. A type that wraps any Provider, like the token cache, always has the
// method Refresh. CanRefresh reports whether Refresh can work.
type OptionalRefresher interface {
	Refresher
	// CanRefresh reports whether Refresh can work. The answer never changes.
	CanRefresh() bool
}

// Renewer is a Provider that keeps tokens and can replace a token that was
// refused. The token cache is one.
type Renewer interface {
	// Renew returns a token of req other than rejected: the current token if it
	// is already another one, else a new one.
	Renew(ctx context.Context, req Request, rejected Token) (Token, error)
}

// Purger is a Provider that keeps tokens and can forget those of a request.
// The token cache is one.
type Purger interface {
	// Purge ends the grant of req: no token of it is handed out afterwards.
	Purge(ctx context.Context, req Request) error
}

// Verifier is a Provider that can tell whether an access token is valid.
type Verifier interface {
	// Verify reports what the upstream knows about accessToken. A token that
	// is not valid is an [*Error] with [CodeInvalidToken].
	Verify(ctx context.Context, accessToken string) (Verified, error)
}

// Revoker is a Provider that can end a token early (RFC 7009).
type Revoker interface {
	// Revoke ends t. It ends the refresh token first.
	Revoke(ctx context.Context, t Token) error
}

// Keyer is a Provider that knows which requests share one grant at the vendor.
// Without it, requests that differ in any field have different grants. For
// example, a token that the cache adopted for {Subject} is not found by a
// request for {Subject, Scopes}.
type Keyer interface {
	// Key names the grant of req. Two requests with one key share a record
	// and an upstream call. It is never logged, and stored only as a digest.
	Key(req Request) (string, error)
}

// Moder is a Provider that says how its vendor treats earlier tokens of a
// grant. Without it, the mode is [Shared].
type Moder interface {
	Mode() Mode
}

// Mode is how a vendor treats the earlier tokens of a grant.
type Mode uint8

const (
	// Shared: many tokens of a grant may be valid at once.
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
	// Subject is the user of the token; it may be empty.
	Subject string
	// Scopes are the scopes granted; nil if the upstream does not say.
	Scopes []string
	// Expiry is when the token ends; zero if the upstream does not say.
	Expiry time.Time
	// Claims is the upstream's answer as one JSON object, without its secret
	// members.
	Claims json.RawMessage
}
