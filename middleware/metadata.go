package middleware

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/internal/upstream"
)

// metadataURL inserts RFC 9728's well-known part between the host and the path
// of a resource identifier (section 3.1).
func metadataURL(resource string) (string, error) {
	u, err := url.Parse(resource)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" ||
		u.Scheme != "https" && !(u.Scheme == "http" && upstream.Loopback(u.Hostname())) {
		return "", errors.New("not an https URL without fragment")
	}
	s := u.Scheme + "://" + u.Host + metadataPath(u)
	if u.RawQuery != "" {
		s += "?" + u.RawQuery
	}
	return s, nil
}

func metadataPath(u *url.URL) string {
	return "/.well-known/oauth-protected-resource" + strings.TrimSuffix(u.EscapedPath(), "/")
}

// Metadata returns the protected resource metadata document (RFC 9728) and the
// pattern under which an http.ServeMux serves it:
//
//	mux.Handle(auth.Metadata())
//
// The document lists the issuers that are URLs and the scopes that a demands.
// Without Config.Resource the handler answers 404.
func (a *Authenticator) Metadata() (pattern string, h http.Handler) {
	u, err := url.Parse(a.cfg.Resource)
	if err != nil || a.metadata == "" {
		return "/.well-known/oauth-protected-resource", http.NotFoundHandler()
	}
	doc := struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers,omitempty"`
		Scopes   []string `json:"scopes_supported,omitempty"`
		Methods  []string `json:"bearer_methods_supported"`
	}{Resource: a.cfg.Resource, Methods: []string{"header"}}
	for _, i := range a.cfg.Issuers {
		if !i.template() && checkAddress("", i.Issuer, nil) == nil && !slices.Contains(doc.Servers, i.Issuer) {
			doc.Servers = append(doc.Servers, i.Issuer)
		}
	}
	for i := range a.rules {
		doc.Scopes = append(doc.Scopes, a.rules[i].AllScopes...)
		doc.Scopes = append(doc.Scopes, a.rules[i].AnyScope...)
	}
	slices.Sort(doc.Scopes)
	doc.Scopes = slices.Compact(doc.Scopes)
	if a.cfg.Form != "" {
		doc.Methods = append(doc.Methods, "body")
	}
	if a.cfg.Query != "" {
		doc.Methods = append(doc.Methods, "query")
	}
	body, _ := json.Marshal(doc)
	return "GET " + metadataPath(u), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "max-age=3600")
		_, _ = w.Write(body)
	})
}
