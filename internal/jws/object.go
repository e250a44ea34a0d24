package jws

import (
	"errors"
	"unicode/utf8"
)

// Bounds of the JSON that is read, far beyond what honest tokens hold.
const (
	maxDepth   = 16
	maxMembers = 256
)

var errJSON = errors.New("not strict JSON")

// Member is one member of a JSON object. Value is its JSON text.
type Member struct {
	Name, Value string
	plain       bool // Name is ASCII
}

// Get is the JSON text of the member called name, "" if there is none.
func Get(members []Member, name string) string {
	for i := range members {
		if members[i].Name == name {
			return members[i].Value
		}
	}
	return ""
}

// String is m's value if it is a string.
func (m Member) String() (string, bool) { return Text(m.Value) }

// ParseObject reads s, which must be one JSON object and nothing else, and
// appends its members to buf. It is stricter than RFC 8259: names are unique
// in every object, also when compared without case or by the look of their
// letters; strings are valid UTF-8 and hold no half surrogate pairs; depth and
// number of members are bounded.
func ParseObject(s string, buf []Member) ([]Member, error) {
	if !utf8.ValidString(s) {
		return nil, errJSON
	}
	i := space(s, 0)
	if i >= len(s) || s[i] != '{' {
		return nil, errJSON
	}
	members, i, err := object(s, i, 1, buf)
	if err != nil {
		return nil, err
	}
	if space(s, i) != len(s) {
		return nil, errJSON
	}
	return members, nil
}

// object reads the object that starts at s[i] and returns the index behind it.
func object(s string, i, depth int, buf []Member) ([]Member, int, error) {
	if depth > maxDepth {
		return nil, 0, errJSON
	}
	i = space(s, i+1)
	if i < len(s) && s[i] == '}' {
		return buf, i + 1, nil
	}
	for {
		start := i
		end, err := stringEnd(s, i)
		if err != nil {
			return nil, 0, err
		}
		var m Member
		m.Name, _ = Text(s[start:end])
		m.plain = ascii(m.Name)
		if !unique(buf, &m) {
			return nil, 0, errJSON
		}
		i = space(s, end)
		if i >= len(s) || s[i] != ':' {
			return nil, 0, errJSON
		}
		start = space(s, i+1)
		if end, err = valueEnd(s, start, depth); err != nil {
			return nil, 0, err
		}
		m.Value = s[start:end]
		buf = append(buf, m)
		i = space(s, end)
		switch {
		case i >= len(s):
			return nil, 0, errJSON
		case s[i] == '}':
			return buf, i + 1, nil
		case s[i] != ',':
			return nil, 0, errJSON
		}
		i = space(s, i+1)
	}
}

func unique(seen []Member, m *Member) bool {
	if len(seen) >= maxMembers {
		return false
	}
	for i := range seen {
		if seen[i].like(m) {
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

func array(s string, i, depth int) (int, error) {
	if depth > maxDepth {
		return 0, errJSON
	}
	i = space(s, i+1)
	if i < len(s) && s[i] == ']' {
		return i + 1, nil
	}
	for {
		end, err := valueEnd(s, i, depth)
		if err != nil {
			return 0, err
		}
		i = space(s, end)
		switch {
		case i >= len(s):
			return 0, errJSON
		case s[i] == ']':
			return i + 1, nil
		case s[i] != ',':
			return 0, errJSON
		}
		i = space(s, i+1)
	}
}

// valueEnd returns the index behind the value that starts at s[i].
func valueEnd(s string, i, depth int) (int, error) {
	if i >= len(s) {
		return 0, errJSON
	}
	switch s[i] {
	case '"':
		return stringEnd(s, i)
	case '{':
		var buf [8]Member
		_, end, err := object(s, i, depth+1, buf[:0])
		return end, err
	case '[':
		return array(s, i, depth+1)
	case 't':
		return literal(s, i, "true")
	case 'f':
		return literal(s, i, "false")
	case 'n':
		return literal(s, i, "null")
	}
	return numberEnd(s, i)
}

func literal(s string, i int, word string) (int, error) {
	if end := i + len(word); end <= len(s) && s[i:end] == word {
		return end, nil
	}
	return 0, errJSON
}

// numberEnd reads -?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?
func numberEnd(s string, i int) (int, error) {
	if i < len(s) && s[i] == '-' {
		i++
	}
	if i < len(s) && s[i] == '0' {
		i++
	} else if end := digits(s, i); end > i {
		i = end
	} else {
		return 0, errJSON
	}
	if i < len(s) && s[i] == '.' {
		end := digits(s, i+1)
		if end == i+1 {
			return 0, errJSON
		}
		i = end
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		end := digits(s, i)
		if end == i {
			return 0, errJSON
		}
		i = end
	}
	return i, nil
}

func digits(s string, i int) int {
	for i < len(s) && '0' <= s[i] && s[i] <= '9' {
		i++
	}
	return i
}

func space(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r') {
		i++
	}
	return i
}
