package middleware

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bearerkit/bearerkit/internal/plainhttp"
)

// An answer of Resolve must not open a way into our own network (RFC 8725
// section 3.10). Key sets are therefore fetched over https, and not from
// loopback, private or link-local addresses. A name does not show its address,
// so the address is checked when it is dialled.

// checkReach refuses a configuration that cannot be guarded.
func (r *resolver) checkReach(cfg *Issuer) error {
	raw := cfg.JWKSURL
	if cfg.Discover {
		raw = cfg.Issuer
	}
	u, err := url.Parse(raw)
	if err != nil {
		return errors.New("not a URL")
	}
	host := plainhttp.Lower(u.Hostname())
	switch {
	case u.Scheme != "https":
		return errors.New("its address must be https")
	case named(r.private, host):
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil && !public(ip) {
		return fmt.Errorf("%s is not a public address", host)
	}
	if cfg.HTTPClient != nil && cfg.HTTPClient.Transport != nil {
		if _, ok := cfg.HTTPClient.Transport.(*http.Transport); !ok {
			return fmt.Errorf("HTTPClient's Transport is a %T, which does not let addresses be seen: name %s in DangerouslyPrivateHosts", cfg.HTTPClient.Transport, host)
		}
	}
	return nil
}

// guard returns a client with c's timeout and, if c has an *http.Transport, its
// TLS configuration and limits. It dials public addresses and the hosts in
// private. It uses no proxy, because a proxy would dial instead. Any other
// RoundTripper of c is used for the hosts in private only.
func guard(c *http.Client, private []string) *http.Client {
	var out http.Client
	base := http.DefaultTransport
	if _, ok := base.(*http.Transport); !ok {
		base = &http.Transport{} // the application has wrapped the default
	}
	if c != nil {
		out.Timeout = c.Timeout
		if c.Transport != nil {
			base = c.Transport
		}
	}
	t, ok := base.(*http.Transport)
	if !ok {
		out.Transport = onlyHosts{base, private}
		return &out
	}
	out.Transport = &http.Transport{
		TLSClientConfig: t.Clone().TLSClientConfig, TLSHandshakeTimeout: fetchTimeout, ResponseHeaderTimeout: t.ResponseHeaderTimeout,
		MaxIdleConns: 100, MaxIdleConnsPerHost: t.MaxIdleConnsPerHost, IdleConnTimeout: 90 * time.Second,
		MaxResponseHeaderBytes: t.MaxResponseHeaderBytes, ForceAttemptHTTP2: true,
		HTTP2:       &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: fetchTimeout}, // detects a dead connection
		DialContext: dialPublic(private),
	}
	return &out
}

func dialPublic(private []string) func(context.Context, string, string) (net.Conn, error) {
	direct := &net.Dialer{Timeout: fetchTimeout}
	guarded := &net.Dialer{Timeout: fetchTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !public(at.Addr()) {
			return errors.New("not a public address")
		}
		return nil
	}}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err == nil && named(private, host) {
			return direct.DialContext(ctx, network, address)
		}
		return guarded.DialContext(ctx, network, address)
	}
}

func named(hosts []string, host string) bool {
	return slices.ContainsFunc(hosts, func(h string) bool { return plainhttp.Lower(h) == plainhttp.Lower(host) })
}

// onlyHosts sends requests to hosts and to no other host.
type onlyHosts struct {
	base  http.RoundTripper
	hosts []string
}

func (o onlyHosts) RoundTrip(r *http.Request) (*http.Response, error) {
	if !named(o.hosts, r.URL.Hostname()) {
		return nil, errors.New("the host is not in DangerouslyPrivateHosts")
	}
	return o.base.RoundTrip(r)
}

// special are ranges without public hosts (IANA's registries of special
// addresses) for which netip has no method.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("2001::/32"), netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("fec0::/10"), netip.MustParsePrefix("::/96"), netip.MustParsePrefix("100::/64"),
}

// nat64 leads to the IPv4 address in its last four bytes (RFC 6052).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// public reports whether ip may be a public host on the Internet.
func public(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if nat64.Contains(ip) {
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	if !ip.IsValid() || ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
		return false
	}
	return !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// checkPrivateHosts reports entries of DangerouslyPrivateHosts that are no host
// names.
func checkPrivateHosts(hosts []string) (errs []error) {
	for _, h := range hosts {
		if _, err := netip.ParseAddr(h); err != nil && (h == "" || strings.ContainsAny(h, "*:/@?# ")) {
			errs = append(errs, fmt.Errorf("DangerouslyPrivateHosts: %q is not an exact host name", h))
		}
	}
	return errs
}
