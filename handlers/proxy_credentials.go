package handlers

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/internal/plainhttp"
	"github.com/bearerkit/bearerkit/providers"
)

// maxForm is the size up to which a form is searched for tokens.
const maxForm = 1 << 20

const formType = "application/x-www-form-urlencoded"

// credentialNames returns the names of members that carry tokens, folded by
// plain.
func credentialNames(more []string) map[string]bool {
	names := map[string]bool{"access-token": true} // RFC 6750 sections 2.2 and 2.3
	for _, name := range more {
		names[plain(name)] = true
	}
	return names
}

// withoutCredentials returns r without the tokens in its query, its form and
// its WebSocket subprotocols. rewrite removes headers.
func (p *proxy) withoutCredentials(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
	query, err := p.withoutMembers(r.URL.RawQuery)
	if err != nil {
		return nil, refuse(providers.CodeInvalidField, "The query string is malformed.")
	}
	out := r.Clone(r.Context())
	out.URL.RawQuery = query
	p.withoutSubprotocols(out.Header)
	p.cleanReferer(out.Header)
	form, err := isForm(r.Header)
	if err != nil || !form || r.Body == nil {
		return out, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		err = unread(err)
		var pe *providers.Error
		if errors.As(err, &pe) && pe.Code == codeTooLarge {
			pe.Description = "The form is larger than 1 MiB."
		}
		return nil, err
	}
	kept, err := p.withoutMembers(string(body))
	if err != nil {
		return nil, refuse(providers.CodeInvalidField, "The form is malformed.")
	}
	out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(kept)), nil }
	out.Body, _ = out.GetBody()
	out.ContentLength = int64(len(kept))
	out.TransferEncoding = nil
	out.Header.Del("Content-Length")
	return out, nil
}

// cleanReferer removes the tokens in the query of the page that makes the call.
func (p *proxy) cleanReferer(h http.Header) {
	pages := h["Referer"]
	if len(pages) == 0 {
		return
	}
	u, err := url.Parse(pages[0])
	if err == nil {
		u.User, u.Fragment = nil, ""
		u.RawQuery, err = p.withoutMembers(u.RawQuery)
	}
	if err != nil || len(pages) > 1 {
		h.Del("Referer")
		return
	}
	h.Set("Referer", u.String())
}

// withoutMembers returns a query or a form without the members that hold
// tokens. All other members stay byte for byte.
func (p *proxy) withoutMembers(encoded string) (string, error) {
	if _, err := url.ParseQuery(encoded); err != nil { // also an error for a semicolon, which some servers read as &
		return "", err
	}
	var kept []string
	for pair := range strings.SplitSeq(encoded, "&") {
		name, _, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return "", err
		}
		name, _, _ = strings.Cut(name, "[") // PHP reads access_token[] as access_token
		if !p.credentials[plain(strings.TrimSpace(name))] {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&"), nil
}

// isForm reports whether h announces a form that can be read. It is an error if
// servers disagree on whether this is a form.
func isForm(h http.Header) (bool, error) {
	types := h["Content-Type"]
	form := slices.ContainsFunc(types, func(v string) bool { return strings.Contains(strings.ToLower(v), formType) })
	switch {
	case !form:
		return false, nil
	case len(types) > 1:
		return false, refuse(codeMediaType, "The request has two media types.")
	case len(h["Content-Encoding"]) > 0 && !strings.EqualFold(h.Get("Content-Encoding"), "identity"):
		return false, refuse(codeMediaType, "A form must not be compressed.")
	}
	return true, nil
}

// withoutSubprotocols removes tokens from Sec-WebSocket-Protocol. Pages cannot
// set headers, so they send tokens there: "bearer, <token>",
// "access_token.<token>" and the like.
func (p *proxy) withoutSubprotocols(h http.Header) {
	offered := h["Sec-Websocket-Protocol"]
	if len(offered) == 0 {
		return
	}
	var kept []string
	token := false // the next subprotocol is a token
	for name := range strings.SplitSeq(strings.Join(offered, ","), ",") {
		name = strings.TrimSpace(name)
		switch marker, alone := p.marks(name); {
		case token && !marker:
			token = false
		case marker:
			token = alone
		case name != "" && !strings.HasPrefix(name, "eyJ"): // a JWT
			kept = append(kept, name)
		}
	}
	h.Del("Sec-Websocket-Protocol")
	if len(kept) > 0 {
		h.Set("Sec-Websocket-Protocol", strings.Join(kept, ", "))
	}
}

// selectSubprotocol answers a page that offered nothing but a token. A browser
// closes a WebSocket if no offered subprotocol is selected.
func (p *proxy) selectSubprotocol(answer http.Header, r *http.Request) {
	offered := r.Header["Sec-Websocket-Protocol"]
	if len(offered) == 0 || answer.Get("Sec-Websocket-Protocol") != "" {
		return
	}
	for name := range strings.SplitSeq(strings.Join(offered, ","), ",") {
		name = strings.TrimSpace(name)
		if _, alone := p.marks(name); alone {
			answer.Set("Sec-Websocket-Protocol", name)
			return
		}
	}
}

// marks reports whether a subprotocol announces a token. If alone, the token is
// the next subprotocol; otherwise it is within this one.
func (p *proxy) marks(name string) (marker, alone bool) {
	folded := plain(name)
	if p.credentials[folded] {
		return true, true
	}
	for _, mark := range []string{"bearer", "authorization", "access-token", "jwt", "token", "auth"} {
		if folded == mark {
			return true, true
		}
		if strings.HasPrefix(folded, mark+"-") {
			return true, false
		}
	}
	for mark := range p.credentials {
		if strings.HasPrefix(folded, mark+"-") {
			return true, false
		}
	}
	return strings.Contains(folded, "bearer-"), false
}

// webSocket reports whether h is a handshake that is forwarded as one. It looks
// at the first value, as httputil.ReverseProxy does.
func webSocket(h http.Header) bool { return strings.EqualFold(h.Get("Upgrade"), "websocket") }

// mayUpgrade reports whether the page that opens a WebSocket may have it (RFC
// 6455 section 10.2). A client that is no browser sends no Origin. It must show
// a token, which a page cannot make a browser do.
func (p *proxy) mayUpgrade(r *http.Request) bool {
	switch origin := r.Header["Origin"]; len(origin) {
	case 0:
		auth := r.Header["Authorization"]
		if len(auth) != 1 {
			return false
		}
		scheme, token, _ := strings.Cut(auth[0], " ")
		return strings.EqualFold(scheme, "Bearer") && strings.TrimSpace(token) != ""
	case 1:
		u, ok := parseOrigin(origin[0])
		return ok && (p.origins[originOf(u)] || sameOrigin(r, u))
	}
	return false
}

// sameOrigin reports whether r was sent to the origin u. If r came without TLS, a
// server before us may have ended TLS, and the scheme is not known.
func sameOrigin(r *http.Request, u *url.URL) bool {
	if r.TLS != nil && u.Scheme != "https" {
		return false
	}
	here, err := url.Parse(u.Scheme + "://" + r.Host)
	return err == nil && here.Host != "" && hostPort(here) == hostPort(u)
}

func parseOrigin(origin string) (*url.URL, bool) {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || plainhttp.Lower(origin) != plainhttp.Lower(u.Scheme+"://"+u.Host) || strings.Contains(origin, "*") {
		return nil, false
	}
	return u, true
}

// originOf returns the origin u in the one form by which origins are compared.
func originOf(u *url.URL) string { return u.Scheme + " " + hostPort(u) }

// hostPort returns u's host and port. The default port is that of the scheme.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return plainhttp.Lower(u.Hostname()) + " " + port
}

func origins(list []string) (map[string]bool, error) {
	known := map[string]bool{}
	var err error
	for _, origin := range list {
		u, ok := parseOrigin(origin)
		if !ok {
			err = errors.Join(err, fault("Origins", "each must be an exact origin such as https://app.example.com"))
			continue
		}
		known[originOf(u)] = true
	}
	return known, err
}
