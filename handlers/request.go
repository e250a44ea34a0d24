package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
)

// maxBody bounds the bodies of all calls.
const maxBody = 16 << 10

func refuse(code providers.Code, description string) error {
	return &providers.Error{Code: code, Class: providers.Permanent, Description: description}
}

// admit makes the checks that need no body.
func (e *endpoint) admit(r *http.Request) error {
	if e.CrossOrigin != nil && e.CrossOrigin.Check(r) != nil {
		return refuse(codeCrossOrigin, "")
	}
	if r.Method != e.allow {
		return refuse(codeMethod, "")
	}
	return nil
}

// request makes all checks up to Authorize, in their fixed order, and returns
// the call with its body.
func (e *endpoint) request(w http.ResponseWriter, r *http.Request) (providers.Request, []byte, error) {
	fail := func(err error) (providers.Request, []byte, error) { return providers.Request{}, nil, err }
	if err := e.admit(r); err != nil {
		return fail(err)
	}
	body, err := readBody(w, r, "application/json")
	if err != nil {
		return fail(err)
	}
	if err := checkObject(body); err != nil {
		return fail(err)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fail(refuse(providers.CodeInvalidField, "The query string is malformed."))
	}
	req, err := e.Wire.Decode(query, body)
	if err != nil {
		return fail(err)
	}
	if err := e.authorize(r, &req); err != nil {
		return fail(err)
	}
	return req, body, e.checkIdentifiers(req)
}

// checkIdentifiers bounds what names a person in req.
func (e *endpoint) checkIdentifiers(req providers.Request) error {
	names := []string{req.Subject}
	for _, s := range req.Identifiers {
		names = append(names, s)
	}
	for _, s := range names {
		if len(s) > e.MaxSubject {
			return refuse(providers.CodeInvalidField, fmt.Sprintf("A user identifier is longer than %d bytes.", e.MaxSubject))
		}
		if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
			return refuse(providers.CodeInvalidField, "A user identifier has characters that are not allowed.")
		}
	}
	return nil
}

// readBody reads a body of the given media type, with any parameters.
func readBody(w http.ResponseWriter, r *http.Request, want string) ([]byte, error) {
	types := r.Header.Values("Content-Type")
	if len(types) != 1 {
		return nil, refuse(codeMediaType, "")
	}
	if got, _, err := mime.ParseMediaType(types[0]); err != nil || got != want {
		return nil, refuse(codeMediaType, "The body must be "+want+".")
	}
	if r.ContentLength > maxBody {
		return nil, refuse(codeTooLarge, "")
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, refuse(codeTooLarge, "")
	case err != nil:
		return nil, refuse(codeInvalidJSON, "The body could not be read.")
	}
	return b, nil
}

// checkObject reports whether b is one JSON object in which no object has a
// member twice: parsers differ on which one counts.
func checkObject(b []byte) error {
	if !utf8.Valid(b) || !json.Valid(b) || !bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{")) {
		return refuse(codeInvalidJSON, "")
	}
	if repeats(json.NewDecoder(bytes.NewReader(b))) {
		return refuse(codeInvalidJSON, "The body has a member twice.")
	}
	return nil
}

// repeats reads one valid JSON value and reports a repeated member in it.
func repeats(d *json.Decoder) bool {
	t, err := d.Token()
	if err != nil {
		return true
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return false
	}
	names := map[json.Token]bool{}
	for d.More() {
		if delim == '{' {
			name, err := d.Token()
			if err != nil || names[name] {
				return true
			}
			names[name] = true
		}
		if repeats(d) {
			return true
		}
	}
	_, err = d.Token()
	return err != nil
}

// member reads a string member of an object that checkObject has passed; null
// and "" are absent.
func member(body []byte, name string) (string, error) {
	o, err := wire.Parse(body)
	if err != nil {
		return "", err
	}
	return o.String(name)
}
