package middleware

import (
	"mime"
	"net/http"
	"strings"
)

// maxForm bounds a body that is read for a token in it.
const maxForm = 1 << 20

// credentials finds the request's token, whatever its characters. With no error
// and no token there are no Bearer credentials.
func (a *Authenticator) credentials(r *http.Request) (token string, err *Error) {
	if a.cfg.Extract != nil {
		return a.only(a.cfg.Extract(r))
	}
	token, why := fromHeader(r.Header["Authorization"])
	if why != 0 {
		return "", a.errors.plain[why]
	}
	if a.cfg.Cookie == "" && a.cfg.Query == "" && a.cfg.Form == "" {
		return token, nil
	}
	found, why := a.elsewhere(r)
	if why != 0 {
		return "", a.errors.plain[why]
	}
	if token != "" {
		found = append(found, token)
	}
	return a.only(found)
}

func (a *Authenticator) only(found []string) (string, *Error) {
	switch {
	case len(found) > 1:
		return "", a.errors.plain[repeated]
	case len(found) == 0:
		return "", nil
	case found[0] == "":
		return "", a.errors.plain[misformed]
	}
	return found[0], nil
}

// fromHeader reads RFC 6750 section 2.1. Header lines are as net/http gives
// them, trimmed of white space. reason 0 (missing) is none.
func fromHeader(lines []string) (token string, why reason) {
	switch len(lines) {
	case 0:
		return "", 0
	case 1:
	default:
		return "", repeated
	}
	scheme, rest := cutScheme(lines[0])
	if !strings.EqualFold(scheme, "bearer") {
		return "", 0
	}
	token = strings.TrimLeft(rest, " ")
	if len(token) == len(rest) || token == "" {
		return "", misformed
	}
	return token, 0
}

// cutScheme splits off the auth-scheme, a token of RFC 9110 section 5.6.2.
func cutScheme(line string) (scheme, rest string) {
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return line[:i], line[i:]
		}
	}
	return line, ""
}

// elsewhere collects the tokens in the places that were named.
func (a *Authenticator) elsewhere(r *http.Request) (found []string, why reason) {
	if name := a.cfg.Cookie; name != "" {
		for _, c := range r.CookiesNamed(name) {
			if c.Value != "" {
				found = append(found, c.Value)
			}
		}
	}
	if name := a.cfg.Query; name != "" {
		found = append(found, r.URL.Query()[name]...)
	}
	if name := a.cfg.Form; name != "" && urlencoded(r) {
		if r.PostForm == nil && r.Body != nil {
			r.Body = http.MaxBytesReader(nil, r.Body, maxForm)
		}
		if r.ParseForm() != nil {
			return nil, misformed
		}
		found = append(found, r.PostForm[name]...)
	}
	return found, 0
}

func urlencoded(r *http.Request) bool {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && t == "application/x-www-form-urlencoded"
}

// b64token is RFC 6750's syntax of a token.
func b64token(s string) bool {
	end := len(s)
	for end > 0 && s[end-1] == '=' {
		end--
	}
	// Four at a time: all of a refused token is looked at.
	i := 0
	for ; i+4 <= end; i += 4 {
		if part := s[i : i+4]; otherByte[part[0]]|otherByte[part[1]]|otherByte[part[2]]|otherByte[part[3]] != 0 {
			return false
		}
	}
	for ; i < end; i++ {
		if otherByte[s[i]] != 0 {
			return false
		}
	}
	return end > 0
}

// otherByte marks what stands in no b64token.
var otherByte = func() (t [256]uint8) {
	for i := range t {
		if strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/", byte(i)) < 0 {
			t[i] = 1
		}
	}
	return t
}()
