package middleware

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/internal/attached"
)

// Verified is what a token says after every check passed. Requests that present
// the same token share it, so it must not be changed.
type Verified struct {
	// Subject is the subject as the token says it; "" if it has none. Two
	// issuers may have the same subject: see the function [Subject].
	Subject string
	// Issuer is the token's iss. For a token without iss it is the Issuer of
	// the entry.
	Issuer string
	// Audience is the party that the token is for: aud, or the AudienceClaim.
	Audience []string
	// ID is the token's jti, "" if it has none.
	ID string
	// Scopes are the granted scopes, from scope or scp.
	Scopes []string
	// Expiry is when the token ends; zero for an opaque token without one.
	Expiry time.Time
	// IssuedAt is the token's iat, zero if it has none.
	IssuedAt time.Time
	// Claims is the whole claims set, one JSON object; nil for an opaque token
	// whose verifier returned none.
	Claims json.RawMessage

	acr      string
	authTime int64
	token    string

	client    bool // its subject is a client, not a user
	qualified bool // its source has Qualified subjects
	resolved  bool // its entry is an answer of Resolve
	unissued  bool // it has no iss

	// Room for most values of Audience and Scopes.
	fewAudiences [2]string
	fewScopes    [4]string

	entry      *entry  // its entry; nil if it is opaque
	keys       *keySet // the set whose generation verified it; nil if it is opaque
	generation uint64
	renewable  time.Duration      // how long after its end it may be renewed
	thumbprint *[sha256.Size]byte // of the key, for a token without iss
}

// Digest is the SHA-256 of the signed part of the token, or of the whole token
// if it is opaque. All spellings of one signature have the same Digest: every
// ES256 token has two spellings.
func (v *Verified) Digest() [sha256.Size]byte {
	signed := v.token
	if v.entry != nil {
		signed = signed[:strings.LastIndexByte(signed, '.')]
	}
	return sha256.Sum256([]byte(signed))
}

// Decode reads the claims into the pointer c, as encoding/json does. Names are
// case-sensitive: if a name matches a field of a struct only when case is
// ignored, at any depth, Decode fails. The error is an [*Error], 401
// invalid_token.
func (v *Verified) Decode(c any) error {
	err := exactNames(v.Claims, reflect.TypeOf(c))
	if err == nil {
		err = json.Unmarshal(v.Claims, c)
	}
	if err != nil {
		e := refusals[badClaims]
		e.Err = err
		return &e
	}
	return nil
}

// contextKey is the key of the *Verified in a context.
type contextKey struct{}

// verifiedContext is a context.WithValue of half the size that prints nothing
// of the token, whatever the verb.
type verifiedContext struct {
	context.Context
	v *Verified
}

func (c *verifiedContext) Value(key any) any {
	switch key {
	case contextKey{}:
		return c.v
	case attached.Caller{}:
		if c.v == nil {
			return nil
		}
		return c.v.Expiry
	}
	return c.Context.Value(key)
}

// NewContext returns a copy of ctx that carries v, for callers of
// [Authenticator.Verify]. If v is nil, the copy carries no token, also if ctx
// does. [Authenticator.Handler] calls it itself.
func NewContext(ctx context.Context, v *Verified) context.Context {
	return &verifiedContext{ctx, v}
}

// VerifiedFrom returns the token that ctx carries.
func VerifiedFrom(ctx context.Context) (*Verified, bool) {
	v, ok := ctx.Value(contextKey{}).(*Verified)
	return v, ok && v != nil
}

// ClaimsFrom decodes the claims of the token that ctx carries into a C, a
// struct or a map, as [Verified.Decode] does. ok is false if there is no token
// or if the claims do not fit. To refuse a token whose claims do not fit,
// decode in [Rule.Check].
func ClaimsFrom[C any](ctx context.Context) (claims C, ok bool) {
	v, ok := VerifiedFrom(ctx)
	if !ok {
		return claims, false
	}
	if v.Decode(&claims) != nil {
		var zero C
		return zero, false
	}
	return claims, true
}
