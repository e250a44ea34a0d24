package middleware

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// fault says what is wrong with a token, for [Error.Err]. Its text is made when
// it is read.
type fault struct {
	what  string // "claim exp", "header typ"
	value string // its JSON text, "" if it is missing
	rule  string // what it must be
}

func (f *fault) Error() string {
	if f.value == "" {
		return f.what + " is missing: it must be " + f.rule
	}
	return f.what + " is " + quoted(f.value) + ": it must be " + f.rule
}

// maxQuoted is the length up to which an error quotes a token's value.
const maxQuoted = 100

// quoted returns s as one line of printable ASCII.
func quoted(s string) string {
	if len(s) > maxQuoted {
		cut := maxQuoted
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		return fmt.Sprintf("%+q… (%d bytes)", s[:cut], len(s))
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Sprintf("%+q", s)
	}
	return s
}

func claimFault(name, value, rule string) *fault { return &fault{"claim " + name, value, rule} }

// These causes name no claim.
var (
	errTooLong    = errors.New("the token is longer than MaxTokenBytes")
	errCharacters = errors.New("the token has characters that no token has (RFC 6750 section 2.1)")
	errNoToken    = errors.New("the request has no Bearer credentials")
	errEmptyToken = errors.New("the place of the token is empty")
	errTwoTokens  = errors.New("the request has more than one token, or more than one Authorization header")
	errScheme     = errors.New("the Authorization header has the scheme Bearer and no token")
	errForm       = errors.New("the body cannot be read as a form of at most 1 MiB")
	errQuery      = errors.New("the query cannot be read")
	errRevoked    = errors.New("Revoked says that the token was withdrawn")
	errSharedKey  = errors.New("the token has no iss, and another entry has the key that verifies it")
)
