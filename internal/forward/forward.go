// Package forward reads the subrequests by which reverse proxies ask whether a
// request may pass, and writes identity headers.
package forward

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
)

// Proxy describes how one reverse proxy asks.
type Proxy struct {
	method, host, uri string // headers of the original request; "" for the subrequest itself
	refusals          []int  // the statuses it passes on; nil for all
}

// Dialect returns the Proxy of that name.
func Dialect(name string) (Proxy, error) {
	switch name {
	case "nginx":
		return Proxy{"X-Original-Method", "X-Original-Host", "X-Original-Uri", []int{401, 403, 503}}, nil
	case "caddy", "traefik":
		return Proxy{"X-Forwarded-Method", "X-Forwarded-Host", "X-Forwarded-Uri", nil}, nil
	case "envoy":
		return Proxy{}, nil
	}
	return Proxy{}, fmt.Errorf("%q is not nginx, caddy, traefik or envoy", name)
}

// Status returns the status that a refusal has for the proxy.
func (p Proxy) Status(status int) int {
	if p.refusals == nil || slices.Contains(p.refusals, status) {
		return status
	}
	return http.StatusUnauthorized
}

// ErrUnreadable means that the proxy described the original request, and that
// its path or method cannot be read. Any client can send such a request.
var ErrUnreadable = errors.New("cannot be read")

// Original returns the request that the subrequest r asks about, without its
// body. Its headers are r's. The error wraps [ErrUnreadable], or says what is
// wrong with the proxy's configuration.
func (p Proxy) Original(r *http.Request) (*http.Request, error) {
	out := r.WithContext(r.Context())
	out.Body, out.GetBody, out.ContentLength, out.TransferEncoding = http.NoBody, nil, 0, nil
	if p.method == "" {
		return out, nil
	}
	var errs []error
	header := func(name string) string {
		switch lines := r.Header[name]; {
		case len(lines) == 0:
			errs = append(errs, fmt.Errorf("%s is missing; set it in the proxy's configuration", name))
		case len(lines) > 1:
			errs = append(errs, fmt.Errorf("%s is there more than once", name))
		default:
			return lines[0]
		}
		return ""
	}
	out.Method, out.Host, out.RequestURI = header(p.method), header(p.host), header(p.uri)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	u, err := url.ParseRequestURI(out.RequestURI)
	switch {
	case err != nil || !strings.HasPrefix(out.RequestURI, "/"):
		return nil, fmt.Errorf("%s %w as a path with an optional query", p.uri, ErrUnreadable)
	case !token(out.Method):
		return nil, fmt.Errorf("%s %w as a method", p.method, ErrUnreadable)
	}
	out.URL = u
	return out, nil
}

// Peers are the addresses that may ask.
type Peers struct {
	prefixes []netip.Prefix
	unix     bool
}

// ParsePeers reads IP addresses, CIDRs and "unix". The error joins every fault.
func ParsePeers(list []string) (p Peers, err error) {
	if len(list) == 0 {
		return p, errors.New("required")
	}
	var errs []error
	for _, s := range list {
		if s == "unix" {
			p.unix = true
			continue
		}
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			var addr netip.Addr
			if addr, err = netip.ParseAddr(s); err == nil && addr.Zone() == "" {
				prefix, err = addr.Unmap().Prefix(addr.Unmap().BitLen())
			}
		}
		if err == nil && prefix.Addr().Is4In6() { // callers' addresses are compared unmapped
			prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
		}
		if err != nil || !prefix.IsValid() {
			errs = append(errs, fmt.Errorf("%q is not an IP address, a CIDR or unix", s))
			continue
		}
		p.prefixes = append(p.prefixes, prefix.Masked())
	}
	return p, errors.Join(errs...)
}

// Has reports whether an address as of http.Request.RemoteAddr is one of p.
func (p Peers) Has(remote string) bool {
	if remote == "" || remote[0] == '@' || remote[0] == '/' {
		return p.unix
	}
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(p.prefixes, func(prefix netip.Prefix) bool { return prefix.Contains(addr) })
}

// Names checks the names of identity headers and returns them in canonical
// form, in order.
func Names(names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, errors.New("none, so that the proxy would learn of nobody")
	}
	var errs []error
	out := make([]string, 0, len(names))
	for _, name := range names {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		switch {
		case !headerName(name):
			errs = append(errs, fmt.Errorf("%q has more than letters, digits and hyphens", name))
		case reserved(canonical):
			errs = append(errs, fmt.Errorf("%q has a meaning in HTTP", name))
		case slices.Contains(out, canonical):
			errs = append(errs, fmt.Errorf("%q is there twice", name))
		}
		out = append(out, canonical)
	}
	return out, errors.Join(errs...)
}

// reserved reports whether a header is one that the answer or the connection
// uses, or one that carries credentials.
func reserved(name string) bool {
	switch name {
	case "Authorization", "Proxy-Authorization", "Www-Authenticate", "Proxy-Authenticate", "Cookie", "Set-Cookie", "Set-Cookie2",
		"Cache-Control", "Retry-After", "Location", "Connection", "Transfer-Encoding", "Upgrade", "Trailer", "Te", "Keep-Alive",
		"Host", "Date", "Server", "Vary", "Etag", "Expect", "Forwarded":
		return true
	}
	return strings.HasPrefix(name, "Content-") || strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Original-")
}

func headerName(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '-' && !('a' <= c|0x20 && c|0x20 <= 'z') && !('0' <= c && c <= '9') {
			return false
		}
	}
	return s != "" && s != "-"
}

func token(s string) bool {
	for i := range len(s) {
		if c := s[i]; !('a' <= c|0x20 && c|0x20 <= 'z') && !('0' <= c && c <= '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// Disguised returns a header of h that is not one of names, but that some
// servers read as one of them because they replace other characters by hyphens.
// It returns "" if there is none.
func Disguised(h http.Header, names []string) string {
	for name := range h {
		for _, n := range names {
			if len(name) == len(n) && fold(name) == fold(n) && textproto.CanonicalMIMEHeaderKey(name) != n {
				return n
			}
		}
	}
	return ""
}

// fold returns a name as some servers read it: X_Auth.User becomes x-auth-user.
func fold(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case 'A' <= c && c <= 'Z':
			return c + 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			return c
		}
		return '-'
	}, name)
}

// List returns texts as the value of one header: each percent-encoded, joined
// by commas. Two different lists without empty texts have different values.
func List(texts []string) string {
	var b strings.Builder
	for i, s := range texts {
		if i > 0 {
			b.WriteByte(',')
		}
		for j := range len(s) {
			if c := s[j]; c <= ' ' || c > '~' || c == ',' || c == '%' {
				fmt.Fprintf(&b, "%%%02X", c)
			} else {
				b.WriteByte(c)
			}
		}
	}
	return b.String()
}
