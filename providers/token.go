package providers

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// Token is what a provider issued. Field names and meanings follow
// golang.org/x/oauth2. A Token is immutable once returned and may be shared
// between goroutines. It holds no clock.
type Token struct {
	// AccessToken is the credential that is presented; never empty in a
	// token that a provider returned without an error.
	AccessToken string
	// TokenType is how AccessToken is presented; "Bearer" if the upstream
	// did not say (RFC 6750).
	TokenType string
	// RefreshToken renews the token; "" if there is none.
	RefreshToken string
	// Expiry is when AccessToken ends; zero if the upstream did not say.
	Expiry time.Time
	// RefreshExpiry is when RefreshToken ends; zero if unknown.
	RefreshExpiry time.Time
	// IssuedAt is when the request for the token was sent, by our clock.
	IssuedAt time.Time
	// Scopes are the scopes granted; nil means those that were asked for.
	Scopes []string
	// Extra holds further members of the upstream's answer, JSON values only.
	Extra map[string]any
	// Version orders the tokens of one grant: a higher one is newer. The
	// token cache sets it; providers leave it 0.
	Version uint64
}

// These types have no encoded form, so that no encoder writes a credential.
var (
	errTokenForm     = errors.New("providers: a Token has no encoded form; copy the fields wanted into a struct of your own")
	errRequestForm   = errors.New("providers: a Request has no encoded form; copy the fields wanted into a struct of your own")
	errAssertionForm = errors.New("providers: an Assertion has no encoded form; copy the fields wanted into a struct of your own")
)

// String returns type, version and expiry, and no credential.
func (t Token) String() string {
	var b strings.Builder
	b.WriteString("Token(")
	if t.AccessToken == "" {
		b.WriteString("empty")
	} else {
		b.WriteString("redacted")
	}
	if t.RefreshToken != "" {
		b.WriteString(" +refresh")
	}
	if t.Version != 0 {
		fmt.Fprintf(&b, " v%d", t.Version)
	}
	if !t.Expiry.IsZero() {
		b.WriteString(" until ")
		b.WriteString(t.Expiry.UTC().Format(time.RFC3339))
	}
	b.WriteByte(')')
	return b.String()
}

// GoString is [Token.String], so that %#v does not print credentials.
func (t Token) GoString() string { return t.String() }

// Format writes [Token.String] for every verb and flag. (fmt does not call it
// for %p and %w. go vet reports these.)
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue is [Token.String] for log/slog.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalJSON always fails: wire shapes are explicit structs.
func (t Token) MarshalJSON() ([]byte, error) { return nil, errTokenForm }

// MarshalText always fails, as [Token.MarshalJSON] does.
func (t Token) MarshalText() ([]byte, error) { return nil, errTokenForm }

// MarshalBinary always fails, as [Token.MarshalJSON] does. encoding/gob calls
// it.
func (t Token) MarshalBinary() ([]byte, error) { return nil, errTokenForm }
