package middleware

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"reflect"
	"time"
)

// Verified is what a token says, every check passed. It is shared between the
// requests that present the token and must not be changed.
type Verified struct {
	// Subject is whom the token is for, as the token says it; "" if it does
	// not. Two issuers may have the same one: see the function [Subject].
	Subject string
	// Issuer is the token's iss, or the configured one of an entry for tokens
	// without.
	Issuer string
	// Audience is whom the token is meant for: aud, or the AudienceClaim.
	Audience []string
	// ID is the token's jti, "" if it has none.
	ID string
	// Scopes are those granted, from scope or scp.
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
	input    string // what was signed; the whole token if it is opaque
	token    string

	client    bool // its subject is a client and no user
	qualified bool // its subject is another's than this program's
	resolved  bool // its entry is an answer of Resolve
	unissued  bool // it has no iss

	few [2]string // what Audience nearly always needs

	entry      *entry  // that it passed; nil if it is opaque
	keys       *keySet // that verified it, as of generation; nil if it is opaque
	generation uint64
	thumbprint [sha256.Size]byte // of the key, for a token without iss
}

// Digest is the SHA-256 of what was signed, or of the whole token if it is
// opaque. Unlike the token's own bytes it is one for all spellings of a
// signature: every ES256 token has two.
func (v *Verified) Digest() [sha256.Size]byte { return sha256.Sum256([]byte(v.input)) }

// Decode reads the claims into c, a pointer, by encoding/json, but for names
// that match a field of a struct, at any depth, only when case is ignored:
// those are an error. The error is an [*Error], 401 invalid_token.
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

type contextKey struct{}

// NewContext returns a copy of ctx that carries v, for callers of
// [Authenticator.Verify]; [Authenticator.Handler] does it by itself.
func NewContext(ctx context.Context, v *Verified) context.Context {
	return context.WithValue(ctx, contextKey{}, v)
}

// VerifiedFrom returns the token that ctx carries.
func VerifiedFrom(ctx context.Context) (*Verified, bool) {
	v, ok := ctx.Value(contextKey{}).(*Verified)
	return v, ok && v != nil
}

// ClaimsFrom decodes the claims of the token that ctx carries into a C, any
// struct or a map, as [Verified.Decode] does. ok is false without a token and
// if the claims do not fit; to refuse such tokens, decode in [Rule.Check].
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
