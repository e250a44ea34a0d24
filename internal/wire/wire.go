// Package wire reads what callers send: JSON objects whose member names match
// exactly, with null and "" counting as absent; UUIDs; header values.
package wire

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/bearerkit/bearerkit/internal/subject"
	"github.com/bearerkit/bearerkit/providers"
)

// Invalid is the error for a request that breaks a field's rules. detail is
// public and must not repeat a value.
func Invalid(detail string) *providers.Error {
	return &providers.Error{Code: providers.CodeInvalidField, Class: providers.Permanent, Op: "decode", Description: detail}
}

// UUID reports the 8-4-4-4-12 form of RFC 9562, in either case.
func UUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		dash := i == 8 || i == 13 || i == 18 || i == 23
		hex := '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
		if dash != (c == '-') || !dash && !hex {
			return false
		}
	}
	return true
}

// NewUUID is a random UUID, version 4 (RFC 9562 section 5.4).
func NewUUID() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// Visible reports that s is printable ASCII without spaces, or empty: what
// travels in a header unchanged (RFC 9110 section 5.5).
func Visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// errKey is a key from a function that breaks the rules for keys.
type errKey struct{ field, fault string }

func (e *errKey) Error() string { return e.field + " returned " + e.fault }

// CheckKey checks a key that the function named field returned as one from a
// field is checked: not empty, and [Visible].
func CheckKey(field, key string) error {
	switch {
	case key == "":
		return &errKey{field, "nothing"}
	case !Visible(key):
		return &errKey{field, "a key that is not printable ASCII without spaces"}
	}
	return nil
}

// KeyError is the error of a call whose key could not be had. It is transient
// where the function failed, and permanent where it returned a key that can
// never be right. What ended ctx is found in it.
func KeyError(ctx context.Context, op string, err error) *providers.Error {
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		err = fmt.Errorf("%w: %w", ended, err) // the function returned the cause, or hid it
	}
	e := &providers.Error{Code: providers.CodeInternal, Class: providers.Transient, Op: op, Err: err}
	if errors.Is(err, context.DeadlineExceeded) {
		e.Code = providers.CodeTimeout
	}
	var bad *errKey
	if errors.As(err, &bad) {
		e.Class, e.Description = providers.Permanent, bad.Error()
	}
	return e
}

// NoAssertion refuses a request with a caller's credential, for a provider that
// has no use for one: it would be dropped without a word.
func NoAssertion(req providers.Request) error {
	if req.Assertion.Token != "" || req.Actor.Token != "" {
		return Invalid("Assertion: the vendor takes none")
	}
	return nil
}

// OnePerson refuses a request with a tenant, identifiers or an assertion, for a
// provider that has one tenant and knows a person by Subject alone.
func OnePerson(req providers.Request) error {
	switch {
	case req.Tenant != "":
		return &providers.Error{Code: providers.CodeTenantNotAllowed, Class: providers.Permanent, Op: "decode", Description: "no tenants are configured"}
	case len(req.Identifiers) > 0:
		return Invalid("Identifiers: the vendor knows none")
	}
	if err := UserID(req.Subject); err != nil {
		return err
	}
	return NoAssertion(req)
}

// UserID refuses a subject that is qualified with its issuer, which is no user
// id of a vendor's: the application maps it to one, or to none.
func UserID(s string) error {
	if !subject.Qualified(s) {
		return nil
	}
	return &providers.Error{
		Code: providers.CodeIdentityMismatch, Class: providers.Permanent, Op: "decode",
		Err: errors.New("the subject is qualified with its issuer: map it to a user id of the vendor's"),
	}
}
