package handlers

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
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
	for segment := range strings.SplitSeq(u.Path, "/") {
		segment, _, _ = strings.Cut(segment, ";") // some servers cut parameters off, or blanks
		if segment = strings.TrimSpace(segment); segment == "." || segment == ".." {
			return true
		}
	}
	return !utf8.ValidString(u.Path) // an overlong dot is one to some
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
	switch strings.ToUpper(r.Method) { // some servers fold it
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
		"forwarded": true, "x-real-ip": true, "true-client-ip": true, "x-client-ip": true, "x-cluster-client-ip": true,
		"x-rewrite-url": true, "x-http-method": true, "x-http-method-override": true, "x-method-override": true,
		"http2-settings": true,
	}
	for name := range set {
		removed[plain(name)] = true
	}
	return removed
}

func (p *proxy) removes(name string) bool {
	folded := plain(name)
	return !strings.EqualFold(folded, name) || p.removed[folded] ||
		strings.HasPrefix(folded, "x-forwarded") || strings.HasPrefix(folded, "x-original-")
}

// upgrade lets a caller change to WebSocket only: h2c would be a tunnel past
// the allow-list.
func upgrade(h http.Header) {
	if v := h["Upgrade"]; len(v) > 0 && (len(v) > 1 || !strings.EqualFold(v[0], "websocket")) {
		h.Del("Upgrade")
		h.Del("Connection")
	}
}

// clean takes out of an answer, and out of the trailers after it, what is
// between us and the upstream or would speak for our own origin.
func clean(res *http.Response, setCookies []string) {
	h := res.Header
	cookies := h["Set-Cookie"]
	drop(h)
	drop(res.Trailer)
	for _, line := range cookies {
		if name, _, ok := strings.Cut(line, "="); ok && slices.Contains(setCookies, strings.TrimSpace(name)) {
			h.Add("Set-Cookie", line)
			h.Set("Cache-Control", "private, no-store")
		}
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return // the body is the connection
	}
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "private") // it was fetched with somebody's token
	}
	res.Body = tail{res.Body, res}
}

// drop removes cookies, CORS grants, what binds our whole origin, and what
// servers before us take for orders.
func drop(h http.Header) {
	for name := range h {
		switch name {
		case "Server", "Www-Authenticate", "Authentication-Info", "Set-Cookie", "Set-Cookie2",
			"Alt-Svc", "Clear-Site-Data", "Strict-Transport-Security", "Service-Worker-Allowed", "Nel", "Report-To",
			"X-Sendfile", "X-Lighttpd-Send-File":
			delete(h, name)
		}
		if strings.HasPrefix(name, "Access-Control-") || strings.HasPrefix(name, "X-Accel-") {
			delete(h, name)
		}
	}
}

// tail is a body whose trailers, known once it is closed, are cleaned.
type tail struct {
	io.ReadCloser
	res *http.Response
}

func (t tail) Close() error {
	err := t.ReadCloser.Close()
	drop(t.res.Trailer)
	return err
}
