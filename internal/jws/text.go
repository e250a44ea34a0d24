package jws

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Text decodes a JSON string that [ParseObject] has checked. ok is false for
// any other value, and for a string with half a surrogate pair: such strings
// would all decode to the same.
func Text(value string) (s string, ok bool) {
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	s = value[1 : len(value)-1]
	if strings.IndexByte(s, '\\') >= 0 {
		return unescape(s)
	}
	return s, true
}

// IsString reports whether value is a JSON string, readable by [Text] or not.
func IsString(value string) bool { return value != "" && value[0] == '"' }

// Texts decodes a JSON string, or an array of nothing but strings, that
// [ParseObject] has seen.
func Texts(value string) (list []string, ok bool) {
	ok = EachText(value, func(s string) { list = append(list, s) })
	return list, ok
}

// EachText is [Texts] with a function in place of a list.
func EachText(value string, do func(string)) (ok bool) {
	if s, ok := Text(value); ok {
		do(s)
		return true
	}
	if value == "" || value[0] != '[' {
		return false
	}
	for i := space(value, 1); value[i] != ']'; {
		if value[i] != '"' {
			return false
		}
		end, _, _, _ := stringEnd(value, i)
		s, ok := Text(value[i:end])
		if !ok {
			return false
		}
		do(s)
		if i = space(value, end); value[i] == ',' {
			i = space(value, i+1)
		}
	}
	return true
}

// stringEnd returns the index behind the string that starts at s[i]. escaped
// reports an escape sequence in it, half one of half a surrogate pair.
func stringEnd(s string, i int) (end int, escaped, half bool, err error) {
	if i >= len(s) || s[i] != '"' {
		return 0, false, false, errJSON
	}
	for i++; i < len(s); i++ {
		switch c := s[i]; {
		case literalByte[c]: // nearly always
		case c == '"':
			return i + 1, escaped, half, nil
		case c == '\\':
			r, n := escape(s[i:])
			if n == 0 {
				return 0, false, false, errJSON
			}
			escaped, half = true, half || r == halfPair
			i += n - 1
		default:
			return 0, false, false, errJSON
		}
	}
	return 0, false, false, errJSON
}

// literalByte marks what stands for itself in a string.
var literalByte = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= 0x20 && c != '"' && c != '\\'
	}
	return t
}()

// halfPair is what [escape] returns for half a surrogate pair.
const halfPair rune = -1

// escape decodes the escape sequence at the start of s, a surrogate pair being
// one, and returns its length, 0 if it is not valid.
func escape(s string) (r rune, n int) {
	if len(s) < 2 {
		return 0, 0
	}
	switch s[1] {
	case '"', '\\', '/':
		return rune(s[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
	default:
		return 0, 0
	}
	r, ok := hex4(s)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	low, ok := hex4(s[6:])
	if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
		return halfPair, 6
	}
	return r, 12
}

func hex4(s string) (rune, bool) {
	if len(s) < 6 || s[:2] != `\u` {
		return 0, false
	}
	n, err := strconv.ParseUint(s[2:6], 16, 32)
	return rune(n), err == nil
}

// unescape decodes what is between the quotes of a string. ok is false for an
// escape sequence that is not valid or half a surrogate pair.
func unescape(s string) (text string, ok bool) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			b = append(b, s[i])
			i++
			continue
		}
		r, n := escape(s[i:])
		if n == 0 || r == halfPair {
			return "", false
		}
		b = utf8.AppendRune(b, r)
		i += n
	}
	return string(b), true
}
