package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/internal/plainhttp"
	"github.com/bearerkit/bearerkit/internal/upstream"
)

// mayAttach reports whether req, and every request whose redirect led to it, is
// within the origins that may see the token. An error means that the
// configuration is wrong or that the request must not be sent.
func (t *Transport) mayAttach(req *http.Request) (bool, error) {
	if err := plainhttp.Check("middleware: Transport.DangerouslyPlainHTTP", t.DangerouslyPlainHTTP); err != nil {
		return false, err
	}
	within, err := t.withinOrigins(req)
	if err != nil || !within {
		return false, err
	}
	u := req.URL
	if u.Scheme == "https" || upstream.Loopback(plainhttp.Lower(u.Hostname())) || plainhttp.Allowed(t.DangerouslyPlainHTTP, u) {
		return true, nil
	}
	return false, fmt.Errorf("middleware: no token over %s to %s, which is not in Transport.DangerouslyPlainHTTP", u.Scheme, u.Host)
}

func (t *Transport) withinOrigins(req *http.Request) (bool, error) {
	if len(t.Origins) == 0 && req.Response == nil {
		return true, nil
	}
	allowed := []*url.URL{req.URL}
	if len(t.Origins) > 0 {
		allowed = allowed[:0]
	}
	var errs []error
	for _, o := range t.Origins {
		u, err := parseOrigin(o)
		errs = append(errs, err)
		allowed = append(allowed, u)
	}
	if err := errors.Join(errs...); err != nil {
		return false, err
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
		case hop.Response.Request.URL.Scheme == "https" && hop.URL.Scheme != "https":
			return false, nil // no token after a redirect from https to http
		}
	}
}

func parseOrigin(o string) (*url.URL, error) {
	u, err := url.Parse(o)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || strings.Contains(u.Host, "*") ||
		u.User != nil || strings.Trim(u.Path, "/") != "" || strings.ContainsAny(o, "?#") {
		if strings.Contains(o, "@") {
			o = "…@…" // may hold a password
		}
		return nil, fmt.Errorf("middleware: Transport.Origins: %q is not scheme://host[:port]", o)
	}
	return u, nil
}

// originEqual compares origins (RFC 6454 section 5). Case is ignored for ASCII
// letters only, so a host with other letters never equals an ASCII host.
func originEqual(a, b *url.URL) bool {
	return plainhttp.Lower(a.Scheme) == plainhttp.Lower(b.Scheme) &&
		plainhttp.Lower(a.Hostname()) == plainhttp.Lower(b.Hostname()) &&
		originPort(a) == originPort(b)
}

func originPort(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if plainhttp.Lower(u.Scheme) == "https" {
		return "443"
	}
	return "80"
}
