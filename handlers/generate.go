package handlers

import (
	"net/http"
	"strings"

	"github.com/bearerkit/bearerkit/providers"
)

// Generate returns the handler of POST calls that hand out a token. If the
// Provider is a token cache, a caller gets the subject's current token while it
// is valid. A call with Cache-Control: no-cache gets a new one, as often as the
// cache allows. The error joins every fault of c.
func Generate(c Config) (http.Handler, error) {
	e, err := c.endpoint("generate", http.MethodPost, c.wired())
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(e.generate), nil
}

func (e *endpoint) generate(w http.ResponseWriter, r *http.Request) {
	req, _, err := e.request(w, r)
	if err != nil {
		e.fail(w, r, err)
		return
	}
	start := e.Now()
	tok, err := e.Provider.Generate(r.Context(), req)
	if c, ok := e.Provider.(providers.Renewer); ok && err == nil && noCache(r.Header) && tok.IssuedAt.Before(start) {
		tok, err = c.Renew(r.Context(), req, tok)
	}
	if err != nil {
		e.fail(w, r, err)
		return
	}
	e.answerToken(w, r, req, tok)
}

func noCache(h http.Header) bool {
	for d := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		if strings.EqualFold(strings.TrimSpace(d), "no-cache") {
			return true
		}
	}
	return false
}
