package providers

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Key is the default name of r's grant. It is the key of a provider that is no
// [Keyer]. It encodes all fields but Assertion and Actor, and two different
// requests never have the same key. The order of scopes and of the members of
// maps does not count. The token cache adds a digest of Assertion and Actor to
// the key of any provider. The error, if any, is an [*Error] with
// [CodeInvalidField] that names the member of Params that is no JSON value.
// [Request.AppendKey] appends the key to a buffer.
func (r Request) Key() (string, error) {
	var buf [256]byte
	b, err := r.AppendKey(buf[:0])
	return string(b), err
}

// AppendKey appends [Request.Key] to b. It allocates only if b has no room for
// the key.
func (r Request) AppendKey(b []byte) ([]byte, error) {
	b = appendString(b, r.Tenant)
	b = appendString(b, r.Subject)
	b = appendString(b, r.Audience)
	var buf [8]string // more scopes or names than these are sorted on the heap
	scopes := r.Scopes
	if len(scopes) > 1 {
		scopes = append(buf[:0], scopes...)
		slices.Sort(scopes)
		scopes = slices.Compact(scopes)
	}
	b = appendCount(b, '[', len(scopes))
	for _, s := range scopes {
		b = appendString(b, s)
	}
	b = appendCount(b, '{', len(r.Identifiers))
	if len(r.Identifiers) > 0 {
		names := buf[:0]
		for name := range r.Identifiers {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			b = appendString(b, name)
			b = appendString(b, r.Identifiers[name])
		}
	}
	if len(r.Params) == 0 {
		return b, nil
	}
	n := len(b)
	b, err := appendObject(b, r.Params)
	if err != nil {
		return b[:n], &Error{Code: CodeInvalidField, Class: Permanent, Op: "key", Description: "Params" + err.Error()}
	}
	return b, nil
}

// appendString writes the length of s and then s, so that two different
// sequences of strings have different encodings.
func appendString(b []byte, s string) []byte {
	return append(appendCount(b, ':', len(s)), s...)
}

func appendCount(b []byte, kind byte, n int) []byte {
	switch {
	case n < 10:
		return append(b, '0'+byte(n), kind)
	case n < 100:
		return append(b, '0'+byte(n/10), '0'+byte(n%10), kind)
	}
	return append(strconv.AppendInt(b, int64(n), 10), kind)
}

// valueError describes a member that is no JSON value: the path to it, and what
// is wrong.
type valueError struct{ path, what string }

func (e *valueError) Error() string { return e.path + ": " + e.what }

func (e *valueError) below(step string) *valueError { return &valueError{step + e.path, e.what} }

func appendObject(b []byte, v map[string]any) ([]byte, *valueError) {
	type member struct {
		name  string
		value any
	}
	var buf [8]member
	members := buf[:0]
	for name, value := range v {
		if !utf8.ValidString(name) {
			return b, &valueError{what: "a name that is not UTF-8"}
		}
		members = append(members, member{name, value})
	}
	slices.SortFunc(members, func(x, y member) int { return strings.Compare(x.name, y.name) })
	b = appendCount(b, '{', len(members))
	for _, m := range members {
		var err *valueError
		b = appendString(b, m.name)
		if b, err = appendValue(b, m.value); err != nil {
			return b, err.below("." + m.name)
		}
	}
	return b, nil
}

// appendValue writes one JSON value. The first bytes tell its kind and, if it
// varies, its length. Numbers that print alike have one encoding, whatever
// their types.
func appendValue(b []byte, v any) ([]byte, *valueError) {
	switch v := v.(type) {
	case nil:
		return append(b, 'z'), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case string:
		// encoding/json replaces bytes that are not UTF-8 by U+FFFD, so two
		// different values would become one.
		if !utf8.ValidString(v) {
			return b, &valueError{what: "not UTF-8"}
		}
		return appendString(b, v), nil
	case []any:
		b = appendCount(b, '[', len(v))
		for i, e := range v {
			var err *valueError
			if b, err = appendValue(b, e); err != nil {
				return b, err.below("[" + strconv.Itoa(i) + "]")
			}
		}
		return b, nil
	case map[string]any:
		return appendObject(b, v)
	}
	return appendNumber(b, v)
}

// appendNumber writes a number as "#", its digits and ";".
func appendNumber(b []byte, v any) ([]byte, *valueError) {
	b = append(b, '#')
	switch v := v.(type) {
	case int:
		b = strconv.AppendInt(b, int64(v), 10)
	case int32:
		b = strconv.AppendInt(b, int64(v), 10)
	case int64:
		b = strconv.AppendInt(b, v, 10)
	case uint:
		b = strconv.AppendUint(b, uint64(v), 10)
	case uint32:
		b = strconv.AppendUint(b, uint64(v), 10)
	case uint64:
		b = strconv.AppendUint(b, v, 10)
	case float64:
		switch {
		case math.IsNaN(v) || math.IsInf(v, 0):
			return b, &valueError{what: "not a finite number"}
		case v == math.Trunc(v) && math.Abs(v) < 1<<53:
			b = strconv.AppendInt(b, int64(v), 10) // like the same number as an int
		default:
			b = strconv.AppendFloat(b, v, 'g', -1, 64)
		}
	case json.Number:
		if !validNumber(string(v)) {
			return b, &valueError{what: "not a number"}
		}
		b = append(b, v...)
	default:
		return b, &valueError{what: fmt.Sprintf("%T is not a JSON value", v)}
	}
	return append(b, ';'), nil
}

// validNumber reports whether s is a number of RFC 8259 section 6.
func validNumber(s string) bool {
	digits := func() bool {
		n := 0
		for n < len(s) && '0' <= s[n] && s[n] <= '9' {
			n++
		}
		s = s[n:]
		return n > 0
	}
	skip := func(set string) bool {
		for i := range len(set) {
			if s != "" && s[0] == set[i] {
				s = s[1:]
				return true
			}
		}
		return false
	}
	skip("-")
	if !skip("0") && !digits() {
		return false
	}
	if skip(".") && !digits() {
		return false
	}
	if skip("eE") {
		skip("+-")
		if !digits() {
			return false
		}
	}
	return s == ""
}
