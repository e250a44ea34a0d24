package main

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/handlers/browser"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css page_try.js page_demo.js page_acts.js page_solo.js page_attacker.js
	pageFiles embed.FS
	//go:embed sample.go page_kit.go page_protect.go page_callout.go
	pageSources embed.FS
)

// pageData is what page.html shows.
type pageData struct {
	Demo                          bool
	User, Organisation, Workspace string
	Scenes, Solo                  []scene

	Routes                     []tryRoute
	Vendors, DemoToken, Bearer bool
}

// mountPage adds the page that shows what is mounted and lets one try it. With a
// demonstration it has the scenes too.
func (g *gateway) mountPage(d *demonstration) error {
	data := pageData{User: demoUser, Bearer: g.auth != nil, DemoToken: g.demo != nil && g.demo.issuer != nil}
	for _, served := range g.served {
		if t, ok := tryOf(served); ok {
			data.Routes = append(data.Routes, t)
			data.Vendors = data.Vendors || !t.own
		}
	}
	if d != nil {
		data.Demo, data.Scenes, data.Solo = true, scenes, solo
		data.Organisation, data.Workspace, _ = strings.Cut(demoTenant, ":")
	}
	t, err := template.New("page").Funcs(template.FuncMap{"source": source}).Parse(pageHTML)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return err
	}
	g.handle("/{$}", "GET", document(b.Bytes(), "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "+
		"frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"))
	g.mux.Handle("GET /page/", http.StripPrefix("/page", assets(pageFiles)))
	g.mux.Handle("GET /page/bearerkit.mjs", browser.Script())
	return nil
}

// source is the Go source of a file, without its imports.
func source(name string) (string, error) {
	text, err := pageSources.ReadFile(name)
	_, code, _ := strings.Cut(string(text), "\n)\n\n")
	return code, err
}

// document serves HTML under a Content-Security-Policy.
func document(html []byte, policy string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", policy)
		h.Set("Cache-Control", "no-cache")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(html)
	})
}

// assets serves what the page loads; unlike http.FileServerFS it lists nothing.
func assets(files embed.FS) http.Handler {
	types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := files.ReadFile(strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			notFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", types[path.Ext(r.URL.Path)])
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(b)
	})
}

// tryRoute is a route of the gateway and a call to try it with.
type tryRoute struct {
	Method, Pattern, Path, Does, Body string
	Bearer                            bool
	own                               bool // no vendor's
}

// tries are the calls to begin with. "(the last one)" stands for the token that
// came last from the same vendor.
var tries = []tryRoute{
	{Pattern: "/api/consent/token", Does: "Redacto: a token pair", Body: `{"org_user_id": "ada"}`},
	{Pattern: "/api/consent/refresh-token", Does: "Redacto: renew it", Body: `{"refresh_token": "(the last one)"}`},
	{Pattern: "/api/consent/create-user", Does: "Redacto: register the caller", Body: `{"name": "Ada"}`, Bearer: true},
	{Pattern: "/api/consent/update-user", Does: "Redacto: change the caller’s record", Body: `{"name": "Ada L."}`, Bearer: true},
	{Pattern: "/api/consent/link-users", Does: "Redacto: link a verified alias", Body: `{}`, Bearer: true},
	{Pattern: "/consent/", Path: "/consent/notices", Does: "Redacto’s API, token attached", Bearer: true},
	{Pattern: "/generate-token", Does: "ContactsManager: a token", Body: `{"userId": "ada"}`},
	{Pattern: "/contactsmanager/session", Does: "ContactsManager’s token, renewed when it has ended"},
	{Pattern: "/kudo/generate", Does: "Kudo: an editor token", Body: `{"file": "test.dwg", "userId": "ada"}`},
	{Pattern: "/kudo/verify", Does: "Kudo: what the last one is for"},
	{Pattern: "/.well-known/jwks.json", Does: "Redox: our public keys"},
	{Pattern: "/fhir/", Path: "/fhir/R4/Patient", Does: "Redox’s FHIR API, token attached", Bearer: true},
	{Pattern: "/endpoint", Does: "Redox’s data model API, token attached", Body: `{"Meta": {}}`, Bearer: true},
	{Pattern: "/obo/", Path: "/obo/orders", Does: "another API as the caller, whose token is exchanged", Bearer: true, own: true},
	{Pattern: "/protected", Does: "the caller’s verified claims", Bearer: true, own: true},
	{Pattern: "/demo/token", Does: "a token of the demo issuer", Body: `{"sub": "ada"}`, own: true},
	{Pattern: "/livez", Does: "health", own: true},
	{Pattern: "/readyz", Does: "health, red while draining", own: true},
}

// tryOf finds the call for a line of gateway.served.
func tryOf(served string) (tryRoute, bool) {
	method, pattern, _ := strings.Cut(served, " ")
	pattern = strings.TrimSpace(pattern)
	i := slices.IndexFunc(tries, func(t tryRoute) bool { return t.Pattern == pattern })
	if i < 0 {
		return tryRoute{}, false
	}
	t := tries[i]
	switch {
	case method != "ANY":
		t.Method = method
	case t.Body != "":
		t.Method = http.MethodPost
	default:
		t.Method = http.MethodGet
	}
	if t.Path == "" {
		t.Path = pattern
	}
	return t, true
}
