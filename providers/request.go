package providers

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// Request says for whom and for what a token is wanted. The zero value asks for
// the provider's own token.
//
// A Request names people and may hold their credentials. It prints, logs and
// encodes as a [Token] does: redacted or not at all.
type Request struct {
	// Tenant selects one of the provider's configured tenants. Providers
	// with one tenant accept "".
	Tenant string
	// Subject is the user the token is for, in the vendor's terms.
	Subject string
	// Identifiers are further names of the user, such as an email address,
	// under the vendor's names. Like Subject, they must come from a caller who
	// may act for that user. No other field names a person.
	Identifiers map[string]string
	// Audience is the party the token will be presented to.
	Audience string
	// Scopes are the OAuth scopes wanted, in any order (RFC 6749 section 3.3).
	Scopes []string
	// Params are further vendor parameters: JSON values only, that is nil,
	// bool, string in UTF-8, finite float64, int, int32, int64 and their
	// unsigned forms, json.Number, and []any and map[string]any of these.
	Params map[string]any
	// Assertion is the credential of the person or service that the token is
	// wanted for: the subject_token of RFC 8693 or the assertion of RFC 7521.
	// Providers that need none refuse a request that has one.
	Assertion Assertion
	// Actor is the credential of the party that acts for the subject: the
	// actor_token of RFC 8693.
	Actor Assertion
}

// Assertion is a credential that another party issued and that the application
// has verified. Its Token is a secret and is never printed.
type Assertion struct {
	// Token is the credential; "" means that there is none.
	Token string
	// Type is the type of Token, a URI of RFC 8693 section 3; "" means an
	// access token.
	Type string
	// Issuer is the verified issuer of Token. A provider sends a Token only if
	// its issuer is among the configured ones.
	Issuer string
	// Expiry is when Token ends; zero if unknown. A token that is issued for an
	// assertion is kept until Expiry at most, or for five minutes if Expiry is
	// unknown.
	Expiry time.Time
}

// String says which fields of r are set. It contains none of their values.
func (r Request) String() string {
	var b strings.Builder
	b.WriteString("Request(redacted")
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"tenant", r.Tenant != ""}, {"subject", r.Subject != ""}, {"identifiers", len(r.Identifiers) > 0},
		{"audience", r.Audience != ""}, {"scopes", len(r.Scopes) > 0}, {"params", len(r.Params) > 0},
		{"assertion", r.Assertion.Token != ""}, {"actor", r.Actor.Token != ""},
	} {
		if f.set {
			b.WriteString(" +")
			b.WriteString(f.name)
		}
	}
	b.WriteByte(')')
	return b.String()
}

// GoString is [Request.String], so that %#v does not print credentials.
func (r Request) GoString() string { return r.String() }

// Format writes [Request.String] for every verb and flag, as [Token.Format]
// does.
func (r Request) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }

// LogValue is [Request.String] for log/slog.
func (r Request) LogValue() slog.Value { return slog.StringValue(r.String()) }

// MarshalJSON always fails: wire shapes are explicit structs.
func (r Request) MarshalJSON() ([]byte, error) { return nil, errRequestForm }

// MarshalText always fails, as [Request.MarshalJSON] does.
func (r Request) MarshalText() ([]byte, error) { return nil, errRequestForm }

// MarshalBinary always fails, as [Request.MarshalJSON] does.
func (r Request) MarshalBinary() ([]byte, error) { return nil, errRequestForm }

// String says whether there is a token and when it ends.
func (a Assertion) String() string {
	switch {
	case a.Token == "":
		return "Assertion(empty)"
	case a.Expiry.IsZero():
		return "Assertion(redacted)"
	}
	return "Assertion(redacted until " + a.Expiry.UTC().Format(time.RFC3339) + ")"
}

// GoString is [Assertion.String], so that %#v does not print credentials.
func (a Assertion) GoString() string { return a.String() }

// Format writes [Assertion.String] for every verb and flag, as [Token.Format]
// does.
func (a Assertion) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, a.String()) }

// LogValue is [Assertion.String] for log/slog.
func (a Assertion) LogValue() slog.Value { return slog.StringValue(a.String()) }

// MarshalJSON always fails: wire shapes are explicit structs.
func (a Assertion) MarshalJSON() ([]byte, error) { return nil, errAssertionForm }

// MarshalText always fails, as [Assertion.MarshalJSON] does.
func (a Assertion) MarshalText() ([]byte, error) { return nil, errAssertionForm }

// MarshalBinary always fails, as [Assertion.MarshalJSON] does.
func (a Assertion) MarshalBinary() ([]byte, error) { return nil, errAssertionForm }
