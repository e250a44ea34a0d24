package handlers

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// plain returns name as a lax server may read it: X_Api-Key becomes x-api-key.
func plain(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			return c
		}
		return '-'
	}, name)
}

// checkHeader reports headers that net/http would not send, or not as they are.
// Its error has no value, because that may be a key.
func checkHeader(set http.Header) (err error) {
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if len(set[name]) == 0 {
			continue
		}
		switch strings.ToLower(name) {
		case "host", "content-length", "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade":
			err = errors.Join(err, fault("Header", name+" cannot be set"))
			continue
		}
		control := func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }
		switch {
		case !isToken(name):
			err = errors.Join(err, fault("Header", fmt.Sprintf("%q is not the name of a header", name)))
		case slices.ContainsFunc(set[name], func(v string) bool { return strings.ContainsFunc(v, control) }):
			err = errors.Join(err, fault("Header", name+" has a value with control characters"))
		}
	}
	return err
}

// isToken reports whether s is a token of RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// removedHeaders returns the headers that do not go upstream, folded by plain.
func removedHeaders(set http.Header, credentials map[string]bool) map[string]bool {
	removed := map[string]bool{}
	for _, name := range []string{
		// The caller's own credentials.
		"authorization", "proxy-authorization", "cookie", "cookie2", "dpop", "http2-settings",
		"x-api-key", "x-api-token", "x-auth-token", "x-access-token", "x-id-token", "x-amz-security-token",
		// These tell about the client and its certificate; proxies set them.
		"forwarded", "client-ip", "true-client-ip", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "x-originating-ip",
		"x-remote-ip", "x-remote-addr", "x-remote-user", "remote-user", "remote-addr", "x-proxyuser-ip", "x-azure-clientip",
		"x-azure-socketip", "fastly-client-ip", "x-custom-ip-authorization", "x-arr-clientcert", "x-client-cert", "x-ssl-client-cert",
		"client-cert", "client-cert-chain", "x-authenticated-user", "x-appengine-user-ip", "x-forward-for", "forwarded-for",
		"fly-client-ip", "do-connecting-ip", "x-nf-client-connection-ip", "incap-client-ip", "x-sucuri-clientip", "x-client-dn",
		// These replace the host, the path or the method at some servers.
		"x-host", "x-http-host-override", "x-host-override", "x-forwarder-for", "x-rewrite-url", "x-override-url",
		"x-http-method", "x-http-method-override", "x-method-override", "x-http-destinationurl", "x-proxy-url", "destination",
	} {
		removed[name] = true
	}
	for name := range credentials {
		removed[name] = true
	}
	for name := range set {
		removed[plain(name)] = true
	}
	return removed
}

func (p *proxy) removes(name string) bool {
	folded := plain(name)
	if !strings.EqualFold(folded, name) || p.removed[folded] {
		return true
	}
	for _, prefix := range []string{"x-forwarded", "x-original-", "x-envoy-", "cf-", "x-ms-client-principal", "x-ssl-client-", "ssl-client-",
		"x-amzn-oidc-", "x-goog-iap-", "x-goog-authenticated-user-", "x-ms-token-", "x-auth-request-", "x-webauth-", "x-vercel-", "tailscale-"} {
		if strings.HasPrefix(folded, prefix) {
			return true
		}
	}
	return false
}

// clean removes headers from an answer and from its trailers: those between us
// and the upstream, and those that would speak for our own origin. It also
// decides who may store the answer.
func (p *proxy) clean(res *http.Response, r *http.Request) {
	h := res.Header
	cookies := h["Set-Cookie"]
	public := p.mayBeStored(res, r)
	drop(h)
	drop(res.Trailer)
	for _, line := range cookies {
		if name, _, ok := strings.Cut(line, "="); ok && slices.Contains(p.SetCookies, strings.TrimSpace(name)) {
			h.Add("Set-Cookie", line)
			public = false
		}
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		p.selectSubprotocol(h, r)
		return // the body is the connection
	}
	h.Set("X-Content-Type-Options", "nosniff")
	if public {
		h.Add("Vary", "Authorization, Cookie")
	} else {
		h.Set("Cache-Control", "private, no-store")
		for _, name := range []string{"Expires", "Pragma", "Age", "No-Vary-Search", "Use-As-Dictionary"} {
			h.Del(name)
		}
	}
	res.Body = tail{res.Body, res}
}

// mayBeStored reports whether the call is public and the upstream says how its
// answer may be stored. If the upstream says nothing, nothing is stored: a
// browser would guess from Last-Modified (RFC 9111 section 4.2.2).
func (p *proxy) mayBeStored(res *http.Response, r *http.Request) bool {
	if p.public == nil || !matches(p.public, r) || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	spoken := res.Header.Get("Cache-Control") != "" || res.Header.Get("Expires") != ""
	return spoken && (res.StatusCode < 300 || res.StatusCode == http.StatusNotModified)
}

// drop removes cookies, CORS grants, headers about our whole origin, and
// headers that servers and caches before us obey.
func drop(h http.Header) {
	for name := range h {
		if strings.HasSuffix(name, "-Cache-Control") || dropped(name) { // RFC 9213
			delete(h, name)
			continue
		}
		for _, prefix := range []string{"Access-Control-", "X-Accel-", "X-Litespeed-", "Secure-Session-", "Sec-Session-", "Surrogate-", "Attribution-Reporting-", "Proxy-Auth"} {
			if strings.HasPrefix(name, prefix) {
				delete(h, name)
			}
		}
	}
}

func dropped(name string) bool {
	switch name {
	case "Server", "Www-Authenticate", "Authentication-Info", "Set-Cookie", "Set-Cookie2",
		// These tell the browser lasting rules for our origin.
		"Alt-Svc", "Clear-Site-Data", "Strict-Transport-Security", "Public-Key-Pins", "Expect-Ct", "Service-Worker-Allowed", "Nel",
		"Report-To", "Reporting-Endpoints", "Set-Login", "Idp-Signin-Status", "Accept-Ch", "Critical-Ch", "Origin-Agent-Cluster",
		"Origin-Trial", "Speculation-Rules", "Supports-Loading-Mode", "Observe-Browsing-Topics", "Activate-Storage-Access",
		"Set-Txt", "Refresh",
		// These grant access to other origins.
		"Timing-Allow-Origin", "Cross-Origin-Resource-Policy",
		// Servers and caches before us obey these.
		"X-Sendfile", "X-Lighttpd-Send-File", "X-Reproxy-Url", "Edge-Control", "Cache-Tag", "Cache-Tags", "Xkey",
		"Cache-Groups", "Cache-Group-Invalidation", "Netlify-Cache-Tag", "Netlify-Vary", "Vercel-Cache-Tag":
		return true
	}
	return false
}

// tail is a body that cleans its trailers when it is closed.
type tail struct {
	io.ReadCloser
	res *http.Response
}

func (t tail) Close() error {
	err := t.ReadCloser.Close()
	drop(t.res.Trailer)
	return err
}
