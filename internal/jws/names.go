package jws

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// These names decide. Some JSON decoders, and people, take misspellings of them
// for the real ones. All other names are case-sensitive (RFC 7519 section
// 10.1.1).
var (
	headerNames = []string{"alg", "kid", "typ", "crit", "b64", "enc", "jwk", "jwks", "p2c", "p2s", "epk"}
	claimNames  = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "cnf", "scope", "scp", "acr", "auth_time", "azp", "client_id", "events", "tid", "token_use", "typ"}
)

// spells reports whether name is a disguise of one of names: in another case, or
// with letters of another script.
func spells(name string, names []string) bool {
	switch {
	case lowerASCII(name):
		return false
	case ascii(name):
		return slices.Contains(names, lower(name))
	}
	return slices.Contains(names, skeletonOf(name))
}

// lowerASCII reports that s is ASCII without capital letters.
func lowerASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return true
}

func ascii(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// skeletonOf returns the ASCII name for which a name can be mistaken: case
// folded, letters that look like Latin ones replaced, invisible runes removed.
func skeletonOf(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 0xFF21 <= r && r <= 0xFF5A, r == 0xFF3F: // full width
			r -= 0xFEE0
		case 0x1D400 <= r && r < 0x1D6A4: // mathematical alphanumerics
			return 'a' + (r-0x1D400)%26
		case unicode.In(r, unicode.Cf, unicode.Mn, unicode.Me):
			return -1
		}
		r = unicode.ToLower(r)
		if i := strings.IndexRune(lookalikes, r); i >= 0 {
			// Both strings have one rune per letter, lookalikes of two bytes.
			return rune(latin[i/2])
		}
		return r
	}, name)
}

// lookalikes are letters of two bytes in UTF-8, latin what each resembles.
const (
	lookalikes = "асԁеһіјӏоԛрѕуѵхіԝκкαοριυνχτтмнвıɑɡſȷɩ"
	latin      = "acdehijloqpsyvxiwkkaopiuvxttmhbiagsji"
)
