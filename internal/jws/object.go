package jws

import (
	"errors"
	"unicode/utf8"
)

// Bounds of the JSON that is read. An object may have minMembers members, or
// one per memberBytes bytes of the whole text if that is more, so that the
// bound follows the bound on tokens.
const (
	maxDepth    = 16
	minMembers  = 256
	memberBytes = 32
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

// String is m's value if it is a string, see [Text].
func (m Member) String() (string, bool) { return Text(m.Value) }

// ParseObject reads s, which must be one JSON object and nothing else, and
// appends its members to buf. It is stricter than RFC 8259: names are unique
// in every object (RFC 7519 section 4), strings are valid UTF-8, names hold no
// half of a surrogate pair, and depth and number of members are bounded. A
// string value may hold half a surrogate pair; [Text] refuses it.
func ParseObject(s string, buf []Member) ([]Member, error) {
	if !utf8.ValidString(s) {
		return nil, errJSON
	}
	i := space(s, 0)
	if i >= len(s) || s[i] != '{' {
		return nil, errJSON
	}
	p := parser{s: s, most: max(minMembers, len(s)/memberBytes), members: buf}
	i, err := p.object(i, 1)
	if err != nil {
		return nil, err
	}
	if space(s, i) != len(s) {
		return nil, errJSON
	}
	return p.members, nil
}

// parser reads one text. members are those of the outermost object.
type parser struct {
	s       string
	most    int // members of an object
	members []Member
}

// object reads the object that starts at s[i] and returns the index behind it.
func (p *parser) object(i, depth int) (int, error) {
	s := p.s
	if depth > maxDepth {
		return 0, errJSON
	}
	i = space(s, i+1)
	if i < len(s) && s[i] == '}' {
		return i + 1, nil
	}
	var seen nameSet
	for n := 1; ; n++ {
		start := i
		end, half, err := stringEnd(s, i)
		if err != nil || half || n > p.most {
			return 0, errJSON
		}
		name, _ := Text(s[start:end])
		if !seen.add(name) {
			return 0, errJSON
		}
		i = space(s, end)
		if i >= len(s) || s[i] != ':' {
			return 0, errJSON
		}
		start = space(s, i+1)
		if end, err = p.valueEnd(start, depth); err != nil {
			return 0, err
		}
		if depth == 1 {
			p.members = append(p.members, Member{name, s[start:end], ascii(name)})
		}
		i = space(s, end)
		switch {
		case i >= len(s):
			return 0, errJSON
		case s[i] == '}':
			return i + 1, nil
		case s[i] != ',':
			return 0, errJSON
		}
		i = space(s, i+1)
	}
}

// nameSet holds the names of one object. A search through a few names is
// faster than a map; from there on a map keeps the whole linear.
type nameSet struct {
	few  [16]string
	n    int
	many map[string]struct{}
}

// add reports whether name was not in the set.
func (u *nameSet) add(name string) bool {
	if u.many == nil {
		for i := range u.few[:u.n] {
			if u.few[i] == name {
				return false
			}
		}
		if u.n < len(u.few) {
			u.few[u.n] = name
			u.n++
			return true
		}
		u.many = make(map[string]struct{}, 2*len(u.few))
		for _, have := range u.few {
			u.many[have] = struct{}{}
		}
	}
	if _, found := u.many[name]; found {
		return false
	}
	u.many[name] = struct{}{}
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

func (p *parser) array(i, depth int) (int, error) {
	s := p.s
	if depth > maxDepth {
		return 0, errJSON
	}
	i = space(s, i+1)
	if i < len(s) && s[i] == ']' {
		return i + 1, nil
	}
	for {
		end, err := p.valueEnd(i, depth)
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
func (p *parser) valueEnd(i, depth int) (int, error) {
	s := p.s
	if i >= len(s) {
		return 0, errJSON
	}
	switch s[i] {
	case '"':
		end, _, err := stringEnd(s, i)
		return end, err
	case '{':
		return p.object(i, depth+1)
	case '[':
		return p.array(i, depth+1)
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
