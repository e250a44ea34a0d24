// Package challenges parses the challenges of HTTP authentication.
package challenges

import "strings"

// Challenge is one challenge of a WWW-Authenticate or Proxy-Authenticate
// header. It has a Token68, or Params, or neither.
type Challenge struct {
	Scheme  string // in lower case
	Token68 string
	// Params are the auth-params by their names in lower case. The values are
	// unquoted. Of a repeated name the first counts.
	Params map[string]string
}

// Parse reads any number of challenges in any number of header
// fields (RFC 9110 section 11.6.1). What is not well-formed is skipped up to
// the next comma.
func Parse(fields []string) []Challenge {
	var all []Challenge
	for _, f := range fields {
		s := scanner{f}
		for s.skip(" \t,"); s.rest != ""; s.skip(" \t,") {
			scheme := s.token()
			if scheme == "" {
				s.resync()
				continue
			}
			c := Challenge{Scheme: strings.ToLower(scheme)}
			if s.skip(" \t") {
				if c.Token68 = s.token68(); c.Token68 == "" {
					c.Params = s.params()
				}
			}
			all = append(all, c)
		}
	}
	return all
}

type scanner struct{ rest string }

// skip drops leading bytes that are in set and reports whether there were any.
func (s *scanner) skip(set string) bool {
	n := len(s.rest)
	s.rest = strings.TrimLeft(s.rest, set)
	return len(s.rest) != n
}

func (s *scanner) take(n int) string {
	t := s.rest[:n]
	s.rest = s.rest[n:]
	return t
}

func (s *scanner) token() string {
	n := 0
	for n < len(s.rest) && tokenByte(s.rest[n]) {
		n++
	}
	return s.take(n)
}

// token68 takes a credential that fills the challenge up to a comma or the end,
// and nothing otherwise.
func (s *scanner) token68() string {
	n := 0
	for n < len(s.rest) && (alnum(s.rest[n]) || strings.IndexByte("-._~+/", s.rest[n]) >= 0) {
		n++
	}
	if n == 0 {
		return ""
	}
	for n < len(s.rest) && s.rest[n] == '=' {
		n++
	}
	if after := strings.TrimLeft(s.rest[n:], " \t"); after != "" && after[0] != ',' {
		return ""
	}
	return s.take(n)
}

// params takes auth-params until something that is not one: the next scheme.
func (s *scanner) params() map[string]string {
	params := map[string]string{}
	for {
		s.skip(" \t,")
		before := s.rest
		name := strings.ToLower(s.token())
		s.skip(" \t")
		if name == "" || !strings.HasPrefix(s.rest, "=") {
			s.rest = before
			return params
		}
		s.take(1)
		s.skip(" \t")
		value, ok := s.value()
		if !ok {
			s.resync()
			continue
		}
		if _, repeated := params[name]; !repeated {
			params[name] = value
		}
	}
}

func (s *scanner) value() (string, bool) {
	if !strings.HasPrefix(s.rest, `"`) {
		v := s.token()
		return v, v != ""
	}
	s.take(1)
	var b strings.Builder
	for i := 0; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '"':
			s.take(i + 1)
			return b.String(), true
		case '\\':
			if i++; i == len(s.rest) {
				continue
			}
		}
		b.WriteByte(s.rest[i])
	}
	s.rest = ""
	return "", false
}

// resync drops everything up to the next comma.
func (s *scanner) resync() {
	if i := strings.IndexByte(s.rest, ','); i >= 0 {
		s.take(i + 1)
		return
	}
	s.rest = ""
}

func tokenByte(c byte) bool {
	return alnum(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}
