package handlers

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
)

// Redirect returns the handler that sends a browser with a token to a vendor's
// page. It generates a token for the caller and answers 303 to the URL that
// Config.Target makes of it, such as Kudo's EditorURL. That URL is a secret, so
// the answer is no-store and no-referrer.
//
// POST takes the members of the call as a form, as a page's <form> sends it, or
// as JSON. Cross-origin calls are refused; Config.CrossOrigin may trust some.
//
// GET takes the members from the query. It is for links within the application:
// the browser must say that the user navigates (Sec-Fetch-Mode) from a page of
// this very origin (Sec-Fetch-Site). Any other GET is 403 cross_origin.
// Otherwise any page, mail or prefetch could create a session at the vendor.
//
// The error joins every fault of c.
func Redirect(c Config) (http.Handler, error) {
	var faults []error
	if c.Target == nil {
		faults = append(faults, fault("Target", "required; it makes the URL"))
	}
	if c.Cookie != nil {
		faults = append(faults, fault("Cookie", "Redirect puts the token into the URL"))
	}
	if c.CrossOrigin == nil {
		c.CrossOrigin = http.NewCrossOriginProtection()
	}
	e, err := c.endpoint("redirect", "GET, POST", append(faults, c.wired())...)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(e.redirect), nil
}

func (e *endpoint) redirect(w http.ResponseWriter, r *http.Request) {
	location, err := e.location(w, r)
	if err != nil {
		e.fail(w, r, err)
		return
	}
	w.Header().Set("Location", location)
	write(w, http.StatusSeeOther, "", nil)
}

func (e *endpoint) location(w http.ResponseWriter, r *http.Request) (string, error) {
	members, err := e.asked(w, r)
	if err != nil {
		return "", err
	}
	// formMembers has read the query of a GET. Decode must not read the same
	// values again as a query.
	query := url.Values{}
	if r.Method == http.MethodPost {
		if query, err = parseQuery(r); err != nil {
			return "", err
		}
	}
	req, err := e.decode(r, query, members)
	if err != nil {
		return "", err
	}
	tok, err := e.Provider.Generate(r.Context(), req)
	if err != nil {
		return "", err
	}
	location, err := e.Target(tok.AccessToken)
	if err != nil || !sendable(location) {
		// The URL and the error may contain the token, so neither is repeated.
		return "", &providers.Error{Code: providers.CodeInternal, Class: providers.Permanent, Op: e.op, Description: "Target: no https URL"}
	}
	return location, nil
}

// asked makes the checks up to that of the body, and reads the members of the
// call.
func (e *endpoint) asked(w http.ResponseWriter, r *http.Request) (wire.Object, error) {
	if e.CrossOrigin.Check(r) != nil {
		return nil, refuse(codeCrossOrigin, "")
	}
	switch {
	case r.Method == http.MethodGet && !navigates(r.Header):
		return nil, refuse(codeCrossOrigin, "")
	case r.Method == http.MethodGet:
		return formMembers(r.URL.RawQuery)
	case r.Method != http.MethodPost:
		return nil, refuse(codeMethod, "")
	}
	form, err := isForm(r.Header)
	if err != nil {
		return nil, err
	}
	if !form {
		return readObject(w, r)
	}
	body, err := readBody(w, r, formType)
	if err != nil {
		return nil, err
	}
	return formMembers(string(body))
}

// navigates reports whether the user follows a link of a page of this origin.
// Only a browser can set these headers (W3C Fetch Metadata).
func navigates(h http.Header) bool {
	is := func(name, want string) bool {
		v := h[name]
		return len(v) == 1 && v[0] == want
	}
	return is("Sec-Fetch-Site", "same-origin") && is("Sec-Fetch-Mode", "navigate") && len(h["Sec-Purpose"]) == 0 && len(h["Purpose"]) == 0
}

// formMembers reads a query or a form as string members.
func formMembers(encoded string) (wire.Object, error) {
	form, err := url.ParseQuery(encoded)
	if err != nil {
		return nil, refuse(providers.CodeInvalidField, "The form is malformed.")
	}
	members := wire.Object{}
	for name, values := range form {
		if len(values) > 1 {
			return nil, refuse(providers.CodeInvalidField, "The form has a member twice.")
		}
		if !utf8.ValidString(name) || !utf8.ValidString(values[0]) {
			return nil, refuse(providers.CodeInvalidField, "The form is not UTF-8.")
		}
		b, err := json.Marshal(values[0])
		if err != nil {
			return nil, err
		}
		members[name] = b
	}
	return members, nil
}

// sendable reports whether a URL may carry a token: https, or loopback.
func sendable(location string) bool {
	u, err := url.Parse(location)
	return err == nil && !strings.ContainsFunc(location, func(c rune) bool { return c <= ' ' || c > '~' }) && u.Hostname() != "" && u.User == nil &&
		(u.Scheme == "https" || u.Scheme == "http" && upstream.Loopback(u.Hostname()))
}
