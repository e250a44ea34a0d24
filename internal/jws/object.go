package jws

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// The JSON that is read has bounds. An object may have minMembers members, or
// one per memberBytes bytes of the whole text if that is more. The bound
// therefore follows the bound on tokens.
const (
	maxDepth    = 16
	minMembers  = 256
	memberBytes = 32
)

// errJSON is the error of everything that is not strict JSON. The others say why.
var (
	errJSON = errors.New("not strict JSON")
	errUTF8 = fmt.Errorf("%w: not UTF-8", errJSON)
	errDeep = fmt.Errorf("%w: nested too deeply", errJSON)
	errMany = fmt.Errorf("%w: an object with too many members", errJSON)
	errHalf = fmt.Errorf("%w: a name with half a surrogate pair", errJSON)
)

// Member is one member of a JSON object. Value is its JSON text.
type Member struct{ Name, Value string }

// Get returns the JSON text of the member name, or "" if there is none.
func Get(members []Member, name string) string {
	for i := range members {
		if members[i].Name == name {
			return members[i].Value
		}
	}
	return ""
}

// String returns m's value if it is a string, see [Text].
func (m Member) String() (string, bool) { return Text(m.Value) }

// ParseObject reads s, which must be one JSON object and nothing else, and
// appends its members to buf. It is stricter than RFC 8259: names are unique
// in every object (RFC 7519 section 4), strings are valid UTF-8, names hold no
// half of a surrogate pair, and depth and number of members are bounded. A
// string value may hold half a surrogate pair; [Text] refuses it.
func ParseObject(s string, buf []Member) ([]Member, error) {
	if !utf8.ValidString(s) {
		return nil, errUTF8
	}
	i := space(s, 0)
	if i >= len(s) || s[i] != '{' {
		return nil, errJSON
	}
	p := parser{s: s, most: max(minMembers, len(s)/memberBytes)}
	buf, i, err := p.outermost(i, buf)
	if err != nil {
		return nil, err
	}
	if space(s, i) != len(s) {
		return nil, errJSON
	}
	return buf, nil
}

// parser reads one text.
type parser struct {
	s    string
	most int // members of an object
}

// outermost reads the object that starts at s[i], appends its members to buf
// and returns the index behind it.
func (p *parser) outermost(i int, buf []Member) ([]Member, int, error) {
	var seen nameSet
	i, end := p.open(i, '}')
	for n := 1; !end; n++ {
		var m Member
		var err error
		if m, i, end, err = p.member(i, 1, n, &seen); err != nil {
			return nil, 0, err
		}
		buf = append(buf, m)
	}
	return buf, i, nil
}

// object reads the object that starts at s[i] and returns the index behind it.
func (p *parser) object(i, depth int) (int, error) {
	if depth > maxDepth {
		return 0, errDeep
	}
	var seen nameSet
	i, end := p.open(i, '}')
	for n := 1; !end; n++ {
		var err error
		if _, i, end, err = p.member(i, depth, n, &seen); err != nil {
			return 0, err
		}
	}
	return i, nil
}

// open returns the index of what comes first in the object or array that
// starts at s[i], or the index behind it if it is empty.
func (p *parser) open(i int, closing byte) (next int, end bool) {
	i = space(p.s, i+1)
	if i < len(p.s) && p.s[i] == closing {
		return i + 1, true
	}
	return i, false
}

// member reads the nth member of an object, which starts at s[i]. It returns
// the index of the next one, or the index behind the object if it ends.
func (p *parser) member(i, depth, n int, seen *nameSet) (m Member, next int, end bool, err error) {
	s := p.s
	start := i
	i, escaped, half, err := stringEnd(s, i)
	switch {
	case err != nil:
		return m, 0, false, err
	case half:
		return m, 0, false, errHalf
	case n > p.most:
		return m, 0, false, errMany
	}
	m.Name = s[start+1 : i-1]
	if escaped {
		m.Name, _ = unescape(m.Name)
	}
	if !seen.add(m.Name) {
		return m, 0, false, fmt.Errorf("%w: the member %+.64q twice", errJSON, m.Name)
	}
	i = space(s, i)
	if i >= len(s) || s[i] != ':' {
		return m, 0, false, errJSON
	}
	start = space(s, i+1)
	if i, err = p.valueEnd(start, depth); err != nil {
		return m, 0, false, err
	}
	m.Value = s[start:i]
	next, end, err = p.separator(i, '}')
	return m, next, end, err
}

// separator reads what stands behind a member or an element.
func (p *parser) separator(i int, closing byte) (next int, end bool, err error) {
	i = space(p.s, i)
	switch {
	case i >= len(p.s):
		return 0, false, errJSON
	case p.s[i] == closing:
		return i + 1, true, nil
	case p.s[i] != ',':
		return 0, false, errJSON
	}
	return space(p.s, i+1), false, nil
}

// nameSet holds the names of one object. A search through a few names is
// faster than a map; from there on a map keeps the whole linear.
type nameSet struct {
	few   [16]string
	n     int
	marks uint64 // of the names in few: a name with another mark is not there
	many  map[string]struct{}
}

// mark is one of 64 bits, from name's length and ends.
func mark(name string) uint64 {
	if name == "" {
		return 1
	}
	n := len(name)
	return 1 << ((n + int(name[0])*5 + int(name[n-1])*3) % 64)
}

// add reports whether name was not in the set.
func (u *nameSet) add(name string) bool {
	if u.many == nil {
		m := mark(name)
		if u.marks&m != 0 && slices.Contains(u.few[:u.n], name) {
			return false
		}
		u.marks |= m
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

func (p *parser) array(i, depth int) (int, error) {
	if depth > maxDepth {
		return 0, errDeep
	}
	i, end := p.open(i, ']')
	for !end {
		next, err := p.valueEnd(i, depth)
		if err != nil {
			return 0, err
		}
		if i, end, err = p.separator(next, ']'); err != nil {
			return 0, err
		}
	}
	return i, nil
}

// valueEnd returns the index behind the value that starts at s[i].
func (p *parser) valueEnd(i, depth int) (int, error) {
	s := p.s
	if i >= len(s) {
		return 0, errJSON
	}
	switch s[i] {
	case '"':
		end, _, _, err := stringEnd(s, i)
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
