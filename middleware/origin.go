package middleware

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// originAllowed reports whether req, and every request whose redirect led to
// it, stays where the token may go.
func (t *Transport) originAllowed(req *http.Request) (bool, error) {
	if len(t.Origins) > 0 {
		return originListed(t.Origins, req)
	}
	// Client keeps the answer that caused a redirect in Request.Response.
	for hop := req; hop.Response != nil && hop.Response.Request != nil; {
		hop = hop.Response.Request
		if !originEqual(hop.URL, req.URL) {
			return false, nil
		}
	}
	return true, nil
}

func originListed(origins []string, req *http.Request) (bool, error) {
	for hop := req; ; hop = hop.Response.Request {
		listed := false
		for _, o := range origins {
			u, err := url.Parse(o)
			if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/")+u.RawQuery+u.Fragment != "" {
				return false, fmt.Errorf("middleware: Transport.Origins: %q is not scheme://host[:port]", o)
			}
			listed = listed || originEqual(u, hop.URL)
		}
		if !listed {
			return false, nil
		}
		if hop.Response == nil || hop.Response.Request == nil {
			return true, nil
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
