// Package subject writes the subject of one issuer so that it cannot be taken
// for another issuer's: two issuers may both have a user u1.
//
// The qualified form is made by package middleware, understood by package
// handlers, and refused by the vendors, for it is no user id of theirs.
package subject

import (
	"strconv"
	"strings"
)

const prefix = "iss:"

// Qualify joins issuer and plain. No two pairs give one text: the length of
// the issuer stands before it.
func Qualify(issuer, plain string) string {
	return prefix + strconv.Itoa(len(issuer)) + ":" + issuer + ":" + plain
}

// Plain takes a qualified subject apart. ok is false for any other text.
func Plain(s string) (issuer, plain string, ok bool) {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return "", "", false
	}
	length, rest, ok := strings.Cut(rest, ":")
	n, err := strconv.Atoi(length)
	if !ok || err != nil || n < 0 || strconv.Itoa(n) != length || n >= len(rest) || rest[n] != ':' {
		return "", "", false
	}
	return rest[:n], rest[n+1:], true
}

// Qualified reports that s has the qualified form.
func Qualified(s string) bool {
	_, _, ok := Plain(s)
	return ok
}

// Is reports whether name, which a caller gave, is the subject s: s itself, or
// for a qualified subject the plain one in it.
func Is(s, name string) bool {
	if s == name {
		return true
	}
	_, plain, ok := Plain(s)
	return ok && plain == name
}
