package handlers

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// unsafePath reports a path that two servers could read as different ones.
func unsafePath(u *url.URL) bool {
	path := u.EscapedPath()
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "//") || strings.Contains(path, `\`) {
		return true
	}
	for i := range len(path) {
		if path[i] != '%' {
			continue
		}
		c, err := url.PathUnescape(path[i:min(i+3, len(path))])
		if err != nil || strings.ContainsAny(c, `./\%`) || c < " " || c == "\x7f" {
			return true
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		segment, _, _ = strings.Cut(segment, ";") // some servers cut parameters off
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// allowed is the handler behind every pattern of the allow-list.
type allowed struct{}

func (allowed) ServeHTTP(http.ResponseWriter, *http.Request) {}

func allowList(patterns []string) (mux *http.ServeMux, err error) {
	if len(patterns) == 0 {
		return nil, fault("Allow", "required")
	}
	mux = http.NewServeMux()
	for _, pattern := range patterns {
		err = errors.Join(err, register(mux, pattern))
	}
	return mux, err
}

// register turns ServeMux's panic about a pattern into an error.
func register(mux *http.ServeMux, pattern string) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fault("Allow", fmt.Sprint(v))
		}
	}()
	mux.Handle(pattern, allowed{})
	return nil
}

// allowed looks r up in the allow-list. For a method that is not listed it sets
// Allow.
func (p *proxy) allowed(h http.Header, r *http.Request) error {
	switch r.Method {
	case http.MethodTrace, "TRACK", http.MethodConnect:
		h.Set("Allow", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
		return refuse(codeMethod, "")
	}
	found, _ := p.mux.Handler(r)
	if _, ok := found.(allowed); ok {
		return nil
	}
	probe := &headerOnly{header: http.Header{}}
	found.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		h.Set("Allow", probe.header.Get("Allow"))
		return refuse(codeMethod, "")
	}
	return refuse(codeNotFound, "") // also where ServeMux would redirect
}

type headerOnly struct {
	header http.Header
	status int
}

func (h *headerOnly) Header() http.Header         { return h.header }
func (h *headerOnly) Write(b []byte) (int, error) { return len(b), nil }
func (h *headerOnly) WriteHeader(status int)      { h.status = status }

// plain is a header's name as a sloppy server may fold it: X_Api-Key is
// x-api-key.
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

func removedHeaders(set http.Header) map[string]bool {
	removed := map[string]bool{
		"authorization": true, "proxy-authorization": true, "cookie": true, "cookie2": true,
		"forwarded": true, "x-real-ip": true, "true-client-ip": true,
		"x-original-url": true, "x-rewrite-url": true, "x-original-method": true,
		"x-http-method": true, "x-http-method-override": true, "x-method-override": true,
	}
	for name := range set {
		removed[plain(name)] = true
	}
	return removed
}

func (p *proxy) removes(name string) bool {
	name = plain(name)
	return p.removed[name] || strings.HasPrefix(name, "x-forwarded-")
}

// clean takes out of an answer what is between us and the upstream, and what
// would speak for our own origin: its cookies, CORS grants and HSTS.
func clean(res *http.Response, setCookies []string) {
	h := res.Header
	for _, name := range []string{"Server", "Www-Authenticate", "Set-Cookie2", "Alt-Svc", "Clear-Site-Data", "Strict-Transport-Security"} {
		h.Del(name)
	}
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			delete(h, name)
		}
	}
	cookies := h["Set-Cookie"]
	h.Del("Set-Cookie")
	for _, line := range cookies {
		if name, _, ok := strings.Cut(line, "="); ok && slices.Contains(setCookies, strings.TrimSpace(name)) {
			h.Add("Set-Cookie", line)
			h.Set("Cache-Control", "private, no-store")
		}
	}
	if h.Get("Cache-Control") == "" && res.StatusCode != http.StatusSwitchingProtocols {
		h.Set("Cache-Control", "private") // it was fetched with somebody's token
	}
}
