package middleware

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ChallengeError is what a server's challenge asks for that a newer token of
// the same grant would not have.
type ChallengeError struct {
	// Code is "insufficient_scope" (RFC 6750 section 3.1) or
	// "insufficient_user_authentication" (RFC 9470 section 3).
	Code string
	// Scopes are the scopes the server wants; nil if it does not say.
	Scopes []string
	// ACRValues are the authentication contexts it accepts, in its order.
	ACRValues []string
	// MaxAge is how old the user's sign-in may be; negative if it does not say.
	MaxAge time.Duration
}

func (e *ChallengeError) Error() string { return "middleware: server answered " + e.Code }

// ChallengeFrom reads the WWW-Authenticate headers of a 401 or 403 and returns
// the [*ChallengeError] in them, or nil for an answer that has none. It does
// not touch the body.
func ChallengeFrom(res *http.Response) *ChallengeError {
	if res.StatusCode != http.StatusUnauthorized && res.StatusCode != http.StatusForbidden {
		return nil
	}
	for _, c := range parseChallenges(res.Header["Www-Authenticate"]) {
		if c.scheme != "bearer" && c.scheme != "dpop" {
			continue
		}
		switch code := c.params["error"]; code {
		case "insufficient_scope", "insufficient_user_authentication":
			e := &ChallengeError{Code: code, MaxAge: -1, Scopes: challengeList(c.params["scope"]), ACRValues: challengeList(c.params["acr_values"])}
			if s, err := strconv.ParseUint(c.params["max_age"], 10, 31); err == nil {
				e.MaxAge = time.Duration(s) * time.Second
			}
			return e
		}
	}
	return nil
}

func challengeList(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Fields(s)
}

// challengeParam values are unquoted; of a repeated name the first counts.
type challengeParams map[string]string

type challengeRead struct {
	scheme  string // lower case
	token68 string
	params  challengeParams
}

// parseChallenges reads any number of challenges in any number of header
// fields (RFC 9110 section 11.6.1). What is not well-formed is skipped up to
// the next comma.
func parseChallenges(fields []string) []challengeRead {
	var all []challengeRead
	for _, f := range fields {
		s := challengeScanner{f}
		for s.skip(" \t,"); s.rest != ""; s.skip(" \t,") {
			scheme := s.token()
			if scheme == "" {
				s.resync()
				continue
			}
			c := challengeRead{scheme: strings.ToLower(scheme)}
			if s.skip(" \t") {
				if c.token68 = s.token68(); c.token68 == "" {
					c.params = s.params()
				}
			}
			all = append(all, c)
		}
	}
	return all
}

type challengeScanner struct{ rest string }

// skip drops leading bytes that are in set and reports whether there were any.
func (s *challengeScanner) skip(set string) bool {
	n := len(s.rest)
	s.rest = strings.TrimLeft(s.rest, set)
	return len(s.rest) != n
}

func (s *challengeScanner) take(n int) string {
	t := s.rest[:n]
	s.rest = s.rest[n:]
	return t
}

func (s *challengeScanner) token() string {
	n := 0
	for n < len(s.rest) && challengeTokenByte(s.rest[n]) {
		n++
	}
	return s.take(n)
}

// token68 takes a credential that fills the challenge up to a comma or the end,
// and nothing otherwise.
func (s *challengeScanner) token68() string {
	n := 0
	for n < len(s.rest) && (challengeAlnum(s.rest[n]) || strings.IndexByte("-._~+/", s.rest[n]) >= 0) {
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
func (s *challengeScanner) params() challengeParams {
	params := challengeParams{}
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

func (s *challengeScanner) value() (string, bool) {
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
func (s *challengeScanner) resync() {
	if i := strings.IndexByte(s.rest, ','); i >= 0 {
		s.take(i + 1)
		return
	}
	s.rest = ""
}

func challengeTokenByte(c byte) bool {
	return challengeAlnum(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func challengeAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}
