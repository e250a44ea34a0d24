package middleware

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// maxForm is the size up to which a body is read for a token.
const maxForm = 1 << 20

// credentials finds the request's token and does not check its characters. If
// it returns neither an error nor a token, there are no Bearer credentials.
func (a *Authenticator) credentials(r *http.Request) (token string, err *Error) {
	if a.cfg.Extract != nil {
		return a.only(a.cfg.Extract(r))
	}
	token, why, cause := fromHeader(r.Header["Authorization"])
	if why != noFault {
		return "", a.errors.with(why, cause)
	}
	if a.cfg.Cookie == "" && a.cfg.Query == "" && a.cfg.Form == "" {
		return token, nil
	}
	found, cause := a.elsewhere(r)
	switch {
	case errors.Is(cause, os.ErrDeadlineExceeded):
		return "", a.errors.with(lateBody, cause)
	case cause != nil:
		return "", a.errors.with(misformed, cause)
	}
	if token != "" {
		found = append(found, token)
	}
	return a.only(found)
}

func (a *Authenticator) only(found []string) (string, *Error) {
	switch {
	case len(found) > 1:
		return "", a.errors.with(repeated, errTwoTokens)
	case len(found) == 0:
		return "", nil
	case found[0] == "":
		return "", a.errors.with(misformed, errEmptyToken)
	}
	return found[0], nil
}

// fromHeader reads the header of RFC 6750 section 2.1. net/http has removed the
// white space around lines. No token with noFault means no Bearer credentials.
func fromHeader(lines []string) (token string, why reason, cause error) {
	switch len(lines) {
	case 0:
		return "", noFault, nil
	case 1:
	default:
		return "", repeated, errTwoTokens
	}
	const scheme = "bearer"
	line := lines[0]
	if len(line) < len(scheme) || !strings.EqualFold(line[:len(scheme)], scheme) {
		return "", noFault, nil
	}
	rest := line[len(scheme):]
	if rest != "" && schemeByte(rest[0]) {
		return "", noFault, nil // it is the beginning of another scheme
	}
	token = strings.TrimLeft(rest, " ")
	if len(token) == len(rest) || token == "" {
		return "", misformed, errScheme
	}
	return token, noFault, nil
}

// schemeByte reports that c may be in an auth-scheme, a token of RFC 9110
// section 5.6.2.
func schemeByte(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// elsewhere collects the tokens in the places that Config names.
func (a *Authenticator) elsewhere(r *http.Request) (found []string, cause error) {
	if name := a.cfg.Cookie; name != "" {
		for _, c := range r.CookiesNamed(name) {
			if c.Value != "" {
				found = append(found, c.Value)
			}
		}
	}
	if name := a.cfg.Query; name != "" {
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil { // the token may be in the part that could not be read
			return nil, errQuery
		}
		found = append(found, query[name]...)
	}
	if name := a.cfg.Form; name != "" && urlencoded(r) {
		form, err := readForm(r)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
		}
		if err != nil {
			return nil, errForm
		}
		found = append(found, form[name]...)
	}
	return found, nil
}

// readForm reads a form and leaves the body unchanged for the handler.
func readForm(r *http.Request) (url.Values, error) {
	switch {
	case r.PostForm != nil: // a handler before this one has read it
		return r.PostForm, nil
	case r.Body == nil || r.Method != http.MethodPost && r.Method != http.MethodPut && r.Method != http.MethodPatch:
		return nil, nil
	}
	body := r.Body
	read, err := io.ReadAll(io.LimitReader(body, maxForm+1))
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(read), body), body}
	if err != nil {
		return nil, err
	}
	if len(read) > maxForm {
		return nil, errForm
	}
	return url.ParseQuery(string(read))
}

// withoutQuery returns r without the query parameter name, which is compared
// after decoding. The rest of the query is unchanged.
func withoutQuery(r *http.Request, name string) *http.Request {
	query, found := cutParameter(r.URL.RawQuery, name)
	if !found {
		return r
	}
	out := *r
	u := *r.URL
	u.RawQuery = query
	out.URL = &u
	if path, _, ok := strings.Cut(r.RequestURI, "?"); ok {
		out.RequestURI = path
		if query != "" {
			out.RequestURI += "?" + query
		}
	}
	if r.Form != nil {
		out.Form = maps.Clone(r.Form)
		delete(out.Form, name)
	}
	return &out
}

func cutParameter(query, name string) (rest string, found bool) {
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		key, _, _ := strings.Cut(part, "=")
		if decoded, err := url.QueryUnescape(key); err == nil && decoded == name {
			found = true
			continue
		}
		kept = append(kept, part)
	}
	return strings.Join(kept, "&"), found
}

func urlencoded(r *http.Request) bool {
	// ParseMediaType returns the type also beside an error about a parameter, and
	// net/http reads such a body as a form.
	t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return t == "application/x-www-form-urlencoded"
}

// b64token reports whether s has RFC 6750's syntax of a token.
func b64token(s string) bool {
	end := len(s)
	for end > 0 && s[end-1] == '=' {
		end--
	}
	// It checks four bytes at a time, because a token that is refused as
	// malformed is read to its end here.
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

// otherByte marks the bytes that no b64token has.
var otherByte = func() (t [256]uint8) {
	for i := range t {
		if strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/", byte(i)) < 0 {
			t[i] = 1
		}
	}
	return t
}()
