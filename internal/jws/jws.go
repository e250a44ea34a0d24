// Package jws parses JWS compact serializations (RFC 7515) and checks their
// signatures. It is stricter than the libraries that it uses: one scan of the
// header and the claims, no ambiguous JSON, and every algorithm bound to its
// kind and size of key.
//
// It knows nothing of issuers, time or HTTP.
package jws

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// MaxKeyID is the longest kid accepted, in bytes.
const MaxKeyID = 256

// These are the reasons for which a token is refused before its signature is
// checked.
var (
	ErrSegments  = errors.New("not three segments, of which the first and last are not empty")
	ErrEncoding  = errors.New("not strict base64url")
	ErrHeader    = errors.New("header is not an acceptable JSON object")
	ErrClaims    = errors.New("claims are not an acceptable JSON object")
	ErrNames     = errors.New("a claim's name looks like one that is reserved")
	ErrCritical  = errors.New("header has crit or b64")
	ErrEncrypted = errors.New("header of an encrypted or compressed token")
	ErrKeyInside = errors.New("header carries a key")
	ErrKeyID     = errors.New("kid is not a string of 1 to 256 bytes")
	ErrAlgorithm = errors.New("alg is not a string")
	ErrType      = errors.New("typ is not a string")
)

// Token is a parsed JWS. Nothing of it is verified.
type Token struct {
	Algorithm string
	KeyID     string // "" means that the header has no kid
	Type      string // lower case, without "application/"; "" without typ
	Input     string // header and payload as they were signed
	Payload   string
	Bytes     []byte // Payload as bytes
	Signature []byte
}

// Parse parses token and applies the rules for headers that do not depend on
// the issuer. A character outside the alphabet is [ErrSegments] or
// [ErrEncoding], whatever else is wrong.
func Parse(token string) (Token, error) {
	first, second, err := split(token)
	if err != nil {
		return Token{}, err
	}
	// Two allocations hold the whole token: its bytes and its text.
	b := make([]byte, 0, strict.DecodedLen(len(token)))
	if b, err = decode(b, token[:first]); err != nil {
		return Token{}, err
	}
	header := len(b)
	if b, err = decode(b, token[first+1:second]); err != nil {
		return Token{}, err
	}
	payload := len(b)
	if b, err = decode(b, token[second+1:]); err != nil {
		return Token{}, err
	}
	text := string(b[:payload])
	t, err := parseHeader(text[:header])
	if err != nil {
		return Token{}, err
	}
	t.Input, t.Payload = token[:second], text[header:]
	t.Bytes, t.Signature = b[header:payload:payload], b[payload:]
	return t, nil
}

// split finds the two dots. It stops at the third, so that a token of a million
// dots costs nothing.
func split(token string) (first, second int, err error) {
	first = strings.IndexByte(token, '.')
	second = first + 1 + strings.IndexByte(token[first+1:], '.')
	switch {
	case first <= 0 || second <= first || second == len(token)-1, strings.IndexByte(token[second+1:], '.') >= 0:
		return 0, 0, ErrSegments
	case strings.IndexByte(token, '\n') >= 0 || strings.IndexByte(token, '\r') >= 0:
		return 0, 0, ErrEncoding
	}
	return first, second, nil
}

// decode appends to b. It is strict: Strict refuses trailing bits, and split the
// line ends that the decoder would skip.
func decode(b []byte, s string) ([]byte, error) {
	b, err := strict.AppendDecode(b, []byte(s))
	if err != nil {
		return nil, ErrEncoding
	}
	return b, nil
}

var strict = base64.RawURLEncoding.Strict()

func parseHeader(s string) (t Token, err error) {
	var buf [8]Member
	members, err := ParseObject(s, buf[:0])
	if err != nil {
		return Token{}, fmt.Errorf("%w: %w", ErrHeader, err)
	}
	for i := range members {
		m, ok := &members[i], true
		switch m.Name {
		case "alg":
			if t.Algorithm, ok = m.String(); !ok || t.Algorithm == "" {
				return Token{}, mistyped(ErrAlgorithm, m)
			}
		case "kid":
			if t.KeyID, ok = m.String(); !ok || t.KeyID == "" || len(t.KeyID) > MaxKeyID {
				return Token{}, mistyped(ErrKeyID, m)
			}
		case "typ":
			if t.Type, ok = m.String(); !ok || t.Type == "" {
				return Token{}, mistyped(ErrType, m)
			}
			t.Type = mediaType(t.Type)
		case "crit", "b64":
			return Token{}, named(ErrCritical, m)
		case "enc", "p2c", "p2s", "epk":
			return Token{}, named(ErrEncrypted, m)
		case "zip":
			if zip, _ := m.String(); zip == "DEF" {
				return Token{}, named(ErrEncrypted, m)
			} // any other value is an unknown parameter
		case "jwk", "jwks":
			return Token{}, named(ErrKeyInside, m)
		case "jku", "x5u", "x5c", "x5t", "x5t#S256":
			// Allowed (RFC 7515 section 4), and never used: keys come from the
			// issuer's configuration alone.
		default:
			if spells(m.Name, headerNames) {
				return Token{}, fmt.Errorf("%w: a name looks like one that decides: %+.64q", ErrHeader, m.Name)
			}
		}
	}
	if t.Algorithm == "" {
		return Token{}, fmt.Errorf("%w: it is missing", ErrAlgorithm)
	}
	return t, nil
}

// named adds to err which header it is about.
func named(err error, m *Member) error { return fmt.Errorf("%w: %s", err, m.Name) }

// mistyped adds to err what the header is instead.
func mistyped(err error, m *Member) error {
	return fmt.Errorf("%w: it is %+.64q (%d bytes)", err, m.Value, len(m.Value))
}

// mediaType returns typ in the form for comparison (RFC 7515 section 4.1.9):
// case does not count and "application/" may be left out.
func mediaType(s string) string {
	if s == "JWT" { // nearly always
		return "jwt"
	}
	const prefix = "application/"
	s = lower(s)
	if len(s) > len(prefix) && s[:len(prefix)] == prefix {
		return s[len(prefix):]
	}
	return s
}

// lower is strings.ToLower for ASCII alone, without a copy where there is
// nothing to do.
func lower(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// Claims scans a token's claims set into buf. Names that differ from a
// registered claim only in case or by a look-alike letter are refused.
func Claims(payload string, buf []Member) ([]Member, error) {
	members, err := ParseObject(payload, buf)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrClaims, err)
	}
	for i := range members {
		if spells(members[i].Name, claimNames) {
			return nil, fmt.Errorf("%w: %+.64q", ErrNames, members[i].Name)
		}
	}
	return members, nil
}
