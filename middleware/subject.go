package middleware

import (
	"context"
	"errors"

	"github.com/bearerkit/bearerkit/internal/subject"
)

// Subjects says whose users the subjects of a source are.
type Subjects int

const (
	// Own subjects are names of this program's users.
	Own Subjects = iota + 1
	// Qualified subjects are names of another party's users. [Subject] returns
	// them with their issuer, in a form that no subject of another issuer has.
	// The vendors of the kit refuse that form. To let such users in, map
	// [Verified.Issuer] and [Verified.Subject] to a user of your own.
	Qualified
)

func (s Subjects) check() []error {
	if s < 0 || s > Qualified {
		return []error{errors.New("Subjects is neither Own nor Qualified")}
	}
	return nil
}

// Subject returns the subject of the token that ctx carries. If its source has
// Own subjects or is the only source, that is the plain subject, else a text
// that also contains the issuer. ok is false if there is no token, if the token
// has no subject, or if it belongs to a client (its sub is its client_id),
// which is no user.
func Subject(ctx context.Context) (subject string, ok bool) {
	v, ok := VerifiedFrom(ctx)
	if !ok {
		return "", false
	}
	return v.User()
}

// User returns the token's subject, as the function [Subject] does.
func (v *Verified) User() (subject string, ok bool) {
	if v.Subject == "" || v.client {
		return "", false
	}
	return v.user(), true
}

// user returns v's subject in the form that the whole kit uses.
func (v *Verified) user() string {
	if v.qualified && v.Subject != "" {
		return subject.Qualify(v.Issuer, v.Subject)
	}
	return v.Subject
}

// takeSubject stores s, the token's subject, in v. A plain subject must not
// have the form of a qualified one.
func (v *Verified) takeSubject(s string, how Subjects) bool {
	v.Subject, v.qualified = s, how == Qualified
	return v.qualified || !subject.Qualified(s)
}
