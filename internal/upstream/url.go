// Package upstream has what all parts of the kit that call another server
// share: which addresses they accept, what of an error may be logged, and how
// they read an expiry.
package upstream

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/bearerkit/bearerkit/internal/plainhttp"
)

// CheckURL parses a base URL from a configuration: absolute, https, or http to
// a loopback host; no userinfo, query or fragment.
func CheckURL(field, raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: not a URL", field)
	}
	switch {
	case u.Hostname() == "" || u.Opaque != "":
		return nil, fmt.Errorf("%s: not an absolute URL", field)
	case u.User != nil || strings.ContainsAny(raw, "?#"):
		return nil, fmt.Errorf("%s: userinfo, query and fragment are not allowed", field)
	case u.Scheme == "https", u.Scheme == "http" && Loopback(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("%s: must be https (http only to a loopback address)", field)
}

// Loopback reports whether host names this machine without DNS, in any case of
// its ASCII letters.
func Loopback(host string) bool {
	if plainhttp.Lower(host) == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
