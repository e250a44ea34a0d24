package jws

import (
	"errors"
	"strings"
)

// Pointer is a parsed JSON Pointer (RFC 6901).
type Pointer []string

var errPointer = errors.New("not a JSON Pointer (RFC 6901) to a member")

// ParsePointer parses s. The whole document, "", is not allowed.
func ParsePointer(s string) (Pointer, error) {
	if !strings.HasPrefix(s, "/") {
		return nil, errPointer
	}
	parts := strings.Split(s[1:], "/")
	for i, part := range parts {
		for n := strings.IndexByte(part, '~'); n >= 0; {
			rest := part[n+1:]
			if rest == "" || rest[0] != '0' && rest[0] != '1' {
				return nil, errPointer
			}
			next := strings.IndexByte(rest, '~')
			if next < 0 {
				break
			}
			n += 1 + next
		}
		parts[i] = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
	}
	return parts, nil
}

// ErrAlike means that a name looks like the one that is searched.
var ErrAlike = errors.New("a member's name looks like the one that is looked for")

// Find returns the JSON text that p points to in claims, an object that
// [ParseObject] has checked, or "" if there is none. If a top-level name is not
// p's first part but looks like it, the error is [ErrAlike].
func (p Pointer) Find(claims string) (value string, err error) {
	value = claims[space(claims, 0):]
	for depth, part := range p {
		found := ""
		switch {
		case value[0] == '{':
			err = eachMember(value, func(name, v string) bool {
				if name == part {
					found = v
				}
				return depth == 0 && alike(name, part)
			})
		case value[0] == '[':
			found = element(value, part)
		}
		if err != nil || found == "" {
			return "", err
		}
		value = found
	}
	return value, nil
}

// Alike reports whether one of members has a name that differs from name and
// looks like it.
func Alike(members []Member, name string) bool {
	for i := range members {
		if alike(members[i].Name, name) {
			return true
		}
	}
	return false
}

func alike(name, real string) bool {
	if name == real {
		return false
	}
	if ascii(name) && ascii(real) {
		return len(name) == len(real) && strings.EqualFold(name, real)
	}
	return skeletonOf(name) == skeletonOf(real)
}

// eachMember calls do with the members of object, which [ParseObject] has
// seen, until it returns true, which is ErrAlike.
func eachMember(object string, do func(name, value string) bool) error {
	p := parser{s: object, most: len(object)}
	i := space(object, 0) + 1
	for i = space(object, i); object[i] != '}'; {
		end, _, _, _ := stringEnd(object, i)
		name, _ := Text(object[i:end])
		i = space(object, space(object, end)+1) // behind the colon
		end, err := p.valueEnd(i, 1)
		if err != nil {
			return err
		}
		if do(name, object[i:end]) {
			return ErrAlike
		}
		if i = space(object, end); object[i] == ',' {
			i = space(object, i+1)
		}
	}
	return nil
}

// element is the element of array with the index that text says, "" if there
// is none.
func element(array, index string) string {
	if index == "" || len(index) > 1 && index[0] == '0' || digits(index, 0) != len(index) || len(index) > 6 {
		return ""
	}
	at := 0
	for _, c := range index {
		at = at*10 + int(c-'0')
	}
	p := parser{s: array, most: len(array)}
	for i := space(array, 1); array[i] != ']'; at-- {
		end, err := p.valueEnd(i, 1)
		if err != nil {
			return ""
		}
		if at == 0 {
			return array[i:end]
		}
		if i = space(array, end); array[i] == ',' {
			i = space(array, i+1)
		}
	}
	return ""
}
