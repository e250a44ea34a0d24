package middleware

import (
	"context"
	"errors"

	"github.com/bearerkit/bearerkit/internal/subject"
)

// Subjects says what a source's subjects are to the rest of the program.
type Subjects int

const (
	// Own subjects are this program's users by name.
	Own Subjects = iota + 1
	// Qualified subjects are another's: [Subject] returns them with their
	// issuer, in a form that no other issuer's subject has. The vendors of the
	// kit refuse that form; to let such users in, map [Verified.Issuer] and
	// [Verified.Subject] to a user of your own.
	Qualified
)

func (s Subjects) check() []error {
	if s < 0 || s > Qualified {
		return []error{errors.New("Subjects is neither Own nor Qualified")}
	}
	return nil
}

// Subject returns the subject of the token that ctx carries: the plain one of
// a source with Own subjects or of the only source, else a text that holds the
// issuer too. ok is false if there is no token, if the token has no subject,
// and if it is a client's own, which has no user: its sub is its client_id.
func Subject(ctx context.Context) (subject string, ok bool) {
	v, ok := VerifiedFrom(ctx)
	if !ok {
		return "", false
	}
	return v.User()
}

// User is whom the token is for, as the function [Subject] returns it.
func (v *Verified) User() (subject string, ok bool) {
	if v.Subject == "" || v.client {
		return "", false
	}
	return v.user(), true
}

// user is whom v's token is for, in the form that the whole kit uses.
func (v *Verified) user() string {
	if v.qualified && v.Subject != "" {
		return subject.Qualify(v.Issuer, v.Subject)
	}
	return v.Subject
}

// takeSubject puts s, which the token says, into v. A plain subject must not
// have the form of another source's qualified one.
func (v *Verified) takeSubject(s string, how Subjects) bool {
	v.Subject, v.qualified = s, how == Qualified
	return v.qualified || !subject.Qualified(s)
}
