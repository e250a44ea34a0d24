package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/bearerkit/bearerkit/providers"
)

// Object is the members of one JSON object.
type Object map[string]json.RawMessage

// maxDepth bounds the nesting of a body. It is the bound of encoding/json.
const maxDepth = 10000

// Parse reads body, one JSON object, in one pass. The error is invalid_json and
// says which rule the body breaks. No object in it, at any depth, may have a
// member twice, for parsers differ on which one counts, or a name with half a
// surrogate pair, for two such names would become one. Numbers of any size
// pass.
func Parse(body []byte) (Object, error) {
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		return nil, malformed("The body is empty. It must be one JSON object, {} at the least.")
	case !utf8.Valid(body): // invalid bytes would become U+FFFD, and two identifiers one
		return nil, malformed("The body is not UTF-8.")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	p := &parser{d: d, body: body, members: Object{}}
	first, err := d.Token()
	if err == nil && first != json.Delim('{') {
		err = errNotObject
	}
	if err == nil {
		err = p.object(1)
	}
	if err == nil {
		if _, end := d.Token(); !errors.Is(end, io.EOF) {
			err = errNotObject
		}
	}
	switch {
	case err == nil:
		return p.members, nil
	case errors.Is(err, errTwice), errors.Is(err, errSurrogate), errors.Is(err, errDeep):
		return nil, malformed(err.Error())
	}
	return nil, malformed("The body must be one JSON object.")
}

var (
	errNotObject = errors.New("not one object")
	errTwice     = errors.New("The body has a member twice.")
	errSurrogate = errors.New("The name of a member has half a surrogate pair.")
	errDeep      = errors.New("The body is nested too deeply.")
)

func malformed(detail string) error {
	return &providers.Error{Code: "invalid_json", Class: providers.Permanent, Op: "decode", Description: detail}
}

// parser reads the tokens of a body and collects the members of its outermost
// object.
type parser struct {
	d       *json.Decoder
	body    []byte
	members Object
}

// object reads the rest of an object whose brace has been read.
func (p *parser) object(depth int) error {
	if depth > maxDepth {
		return errDeep
	}
	names := map[string]bool{}
	for p.d.More() {
		start := p.d.InputOffset()
		token, err := p.d.Token()
		if err != nil {
			return err
		}
		name, ok := token.(string)
		switch {
		case !ok:
			return errNotObject
		case names[name]:
			return errTwice
		case HalfSurrogate(p.body[start:p.d.InputOffset()]):
			return errSurrogate
		}
		names[name] = true
		start = p.d.InputOffset()
		if err := p.value(depth); err != nil {
			return err
		}
		if depth == 1 {
			p.members[name] = bytes.TrimLeft(p.body[start:p.d.InputOffset()], ": \t\r\n")
		}
	}
	_, err := p.d.Token()
	return err
}

func (p *parser) value(depth int) error {
	token, err := p.d.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		return p.object(depth + 1)
	case json.Delim('['):
		if depth >= maxDepth {
			return errDeep
		}
		for p.d.More() {
			if err := p.value(depth + 1); err != nil {
				return err
			}
		}
		_, err = p.d.Token()
	}
	return err
}

// HalfSurrogate reports that a string in raw, which is valid JSON, has the
// escape of one half of a surrogate pair without the other. encoding/json reads
// every such half as U+FFFD.
func HalfSurrogate(raw []byte) bool {
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 || i+1 >= len(raw) {
			return false
		}
		raw = raw[i:]
		switch u := escaped(raw); {
		case u < 0:
			raw = raw[2:]
		case u < 0xd800 || u > 0xdfff:
			raw = raw[6:]
		default:
			if low := escaped(raw[6:]); u > 0xdbff || low < 0xdc00 || low > 0xdfff {
				return true
			}
			raw = raw[12:]
		}
	}
}

// escaped is the number of the \uXXXX with which raw begins, -1 without one.
func escaped(raw []byte) int64 {
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return -1
	}
	u, err := strconv.ParseUint(string(raw[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return int64(u)
}

// String is the member name, "" if absent. Any other type is an error.
func (o Object) String(name string) (string, error) {
	if o.Absent(name) {
		return "", nil
	}
	var s string
	if json.Unmarshal(o[name], &s) != nil {
		return "", Invalid(name + " must be a string")
	}
	if HalfSurrogate(o[name]) {
		return "", Invalid(name + " has half a surrogate pair")
	}
	return s, nil
}

// Absent reports that the member name is missing, null or "".
func (o Object) Absent(name string) bool {
	switch string(o[name]) {
	case "", "null", `""`:
		return true
	}
	return false
}

// Value is the member name with numbers as json.Number, so that none loses
// digits on its way to a vendor.
func (o Object) Value(name string) (any, error) {
	if HalfSurrogate(o[name]) {
		return nil, Invalid(simple(name) + " has half a surrogate pair")
	}
	d := json.NewDecoder(bytes.NewReader(o[name]))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil, Invalid("the body must be one JSON object")
	}
	return v, nil
}

// simple is name if it is short and plain enough to be repeated in an error.
func simple(name string) string {
	if len(name) > 64 || !Visible(name) || name == "" {
		return "a member"
	}
	return name
}
