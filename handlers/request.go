package handlers

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
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

// admit makes the checks for which the body is not needed.
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
// the call with the members of its body.
func (e *endpoint) request(w http.ResponseWriter, r *http.Request) (providers.Request, wire.Object, error) {
	if err := e.admit(r); err != nil {
		return providers.Request{}, nil, err
	}
	members, err := readObject(w, r)
	if err != nil {
		return providers.Request{}, nil, err
	}
	query, err := parseQuery(r)
	if err != nil {
		return providers.Request{}, nil, err
	}
	req, err := e.decode(r, query, members)
	return req, members, err
}

func readObject(w http.ResponseWriter, r *http.Request) (wire.Object, error) {
	body, err := readBody(w, r, "application/json")
	if err != nil {
		return nil, err
	}
	return wire.Parse(body)
}

// decode makes the checks that follow those of the body.
func (e *endpoint) decode(r *http.Request, query url.Values, members wire.Object) (providers.Request, error) {
	req, err := e.Wire.Decode(query, members)
	if err != nil {
		return providers.Request{}, err
	}
	if err := e.authorize(r, &req); err != nil {
		return providers.Request{}, err
	}
	return req, e.checkIdentifiers(req)
}

func parseQuery(r *http.Request) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, refuse(providers.CodeInvalidField, "The query string is malformed.")
	}
	return query, nil
}

// checkIdentifiers bounds the names of a person in req.
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
		return nil, refuse(codeMediaType, "The body must be "+want+".")
	}
	if got, _, err := mime.ParseMediaType(types[0]); err != nil || got != want {
		return nil, refuse(codeMediaType, "The body must be "+want+".")
	}
	if r.ContentLength > maxBody {
		return nil, refuse(codeTooLarge, "")
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, unread(err)
	}
	// A wrapper may have set a read deadline for the body. The body has ended, so
	// it no longer applies.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return b, nil
}

// unread returns the answer to a body that ended with err.
func unread(err error) error {
	var large *http.MaxBytesError
	var ne net.Error
	switch {
	case errors.As(err, &large):
		return refuse(codeTooLarge, "")
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return refuse(codeTimedOut, "")
	}
	return refuse(codeInvalidJSON, "The body could not be read to its end.")
}
