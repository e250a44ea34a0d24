package middleware

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/providers"
)

// refused reports whether the answer may be a success with a newer token.
func (t *Transport) refused(req *http.Request, res *http.Response) bool {
	refused := false
	switch {
	case res.StatusCode == http.StatusUnauthorized:
		if c := ChallengeFrom(res); c != nil {
			t.observe(req, providers.Event{Kind: kindRefused, Outcome: c.Code, N: res.StatusCode})
			return false
		}
		refused = true
	case t.asks(req, res):
		refused = t.Rejected(res, peek(res))
	}
	if refused {
		t.observe(req, providers.Event{Kind: kindRefused, Outcome: "rejected", N: res.StatusCode})
	}
	return refused
}

// asks reports whether Rejected is called for res.
func (t *Transport) asks(req *http.Request, res *http.Response) bool {
	switch {
	case t.Rejected == nil || res.StatusCode < 200 || req.Method == http.MethodHead:
		return false
	case res.StatusCode != http.StatusForbidden && !(slices.Contains(t.RejectedStatuses, res.StatusCode) && t.repeatable(req.Method)):
		return false
	}
	return !streaming(res.Header.Get("Content-Type")) && challengeIn(res.Header) == nil
}

// repeatable reports whether a request may be sent again if its answer does not
// show whether it had an effect.
func (t *Transport) repeatable(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return slices.Contains(t.RejectedMethods, method)
}

// streaming reports whether bodies of a media type come in small parts. Reading
// the start of such a body would delay the answer.
func streaming(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	switch kind {
	case "text/event-stream", "multipart/x-mixed-replace", "application/x-ndjson", "application/ndjson",
		"application/jsonl", "application/json-seq", "application/stream+json":
		return true
	}
	return strings.HasPrefix(kind, "application/grpc") || strings.HasPrefix(kind, "application/connect+")
}

// peek returns the start of the body. The body can still be read in full.
func peek(res *http.Response) []byte {
	start, err := io.ReadAll(io.LimitReader(res.Body, maxPeek))
	rest := io.Reader(res.Body)
	if err != nil {
		rest = failing{err}
	}
	res.Body = readCloser{io.MultiReader(bytes.NewReader(start), rest), res.Body}
	return start
}

type readCloser struct {
	io.Reader
	io.Closer
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
