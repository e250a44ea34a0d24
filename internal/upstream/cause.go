package upstream

import (
	"errors"
	"net/textproto"
	"net/url"
	"regexp"
)

// Cause is err, which an http.Client or http.RoundTripper returned, in words
// that may be logged: without the URL, whose query may hold anything, and
// without what net/http quotes of an answer that it cannot read, for an upstream
// may repeat there what it was sent. errors.Is and errors.As see all of err.
func Cause(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	text := quoted.ReplaceAllLiteralString(err.Error(), `"…"`)
	var pe textproto.ProtocolError
	if errors.As(err, &pe) {
		text = "the answer's header is malformed" // this one does not quote
	}
	if text == err.Error() {
		return err
	}
	return &cause{text, err}
}

var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

type cause struct {
	text string
	err  error
}

func (c *cause) Error() string { return c.text }
func (c *cause) Unwrap() error { return c.err }
