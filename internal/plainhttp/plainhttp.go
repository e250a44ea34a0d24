// Package plainhttp reads the lists of hosts that may be reached over http
// where the kit otherwise insists on https.
package plainhttp

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Check reports every entry of hosts that is not an exact host:port. field
// names the list in the errors.
func Check(field string, hosts []string) error {
	var errs []error
	for _, h := range hosts {
		host, port, err := net.SplitHostPort(h)
		if err != nil || host == "" || strings.ContainsAny(host, "*?/@%# \t") || !isPort(port) {
			if strings.Contains(h, "@") {
				h = "…@…" // may hold a password
			}
			errs = append(errs, fmt.Errorf("%s: %q is not an exact host:port", field, h))
		}
	}
	return errors.Join(errs...)
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s == strconv.FormatUint(n, 10)
}

// Allowed reports whether the list has u's host and port. The port of an http
// URL without one is 80. Only ASCII letters match without regard to case.
func Allowed(hosts []string, u *url.URL) bool {
	if u.Scheme != "http" {
		return false
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	name := Lower(net.JoinHostPort(u.Hostname(), port))
	for _, h := range hosts {
		if Lower(h) == name {
			return true
		}
	}
	return false
}

// Lower makes the ASCII letters of s small and leaves all else as it is. Hosts
// that differ in more than that are different hosts: strings.EqualFold would
// take the Kelvin sign for a k.
func Lower(s string) string {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
