package middleware

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// originAllowed reports whether req, and every request whose redirect led to
// it, stays where the token may go.
func (t *Transport) originAllowed(req *http.Request) (bool, error) {
	if len(t.Origins) == 0 && req.Response == nil {
		return true, nil
	}
	allowed := []*url.URL{req.URL}
	if len(t.Origins) > 0 {
		allowed = allowed[:0]
	}
	for _, o := range t.Origins {
		u, err := url.Parse(o)
		if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/")+u.RawQuery+u.Fragment != "" {
			return false, fmt.Errorf("middleware: Transport.Origins: %q is not scheme://host[:port]", o)
		}
		allowed = append(allowed, u)
	}
	// http.Client keeps the answer that caused a redirect in Request.Response.
	for hop := req; ; hop = hop.Response.Request {
		inside := slices.ContainsFunc(allowed, func(u *url.URL) bool { return originEqual(u, hop.URL) })
		switch {
		case !inside:
			return false, nil
		case hop.Response == nil:
			return true, nil
		case hop.Response.Request == nil:
			return false, nil
		}
	}
}

func originEqual(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) &&
		strings.EqualFold(a.Hostname(), b.Hostname()) &&
		originPort(a) == originPort(b)
}

func originPort(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if strings.EqualFold(u.Scheme, "https") {
		return "443"
	}
	return "80"
}
