package handlers

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/bearerkit/bearerkit/providers"
)

// write sends an answer that must not be stored.
func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	for _, k := range []string{"Content-Encoding", "Etag", "Expires", "Last-Modified", "Cdn-Cache-Control", "Surrogate-Control"} {
		h.Del(k) // an application's wrapper may have set it
	}
	h.Set("Cache-Control", "no-store")
	if h.Get("Set-Cookie") != "" {
		h.Set("Cache-Control", "private, no-store")
	}
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	if contentType != "" {
		h.Set("Content-Type", contentType)
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone is no fault of this service
}

// answer sends v as JSON.
func (e *endpoint) answer(w http.ResponseWriter, r *http.Request, v any) {
	e.answerStatus(w, r, http.StatusOK, v)
}

func (e *endpoint) answerStatus(w http.ResponseWriter, r *http.Request, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		e.fail(w, r, &providers.Error{Code: providers.CodeInternal, Class: providers.Permanent, Op: e.op, Err: err})
		return
	}
	write(w, status, "application/json", b)
}

// answerToken sends the token in the vendor's shape, or in a Cookie.
func (e *endpoint) answerToken(w http.ResponseWriter, r *http.Request, req providers.Request, tok providers.Token) {
	body := e.Wire.Encode(req, tok)
	var cookie *http.Cookie
	if e.Cookie != nil {
		var err error
		if body, err = withoutTokens(body, tok); err == nil {
			cookie, err = e.tokenCookie(r, req, tok)
		}
		if err != nil {
			e.fail(w, r, err)
			return
		}
	}
	if c, ok := e.Provider.(PurgeChecker); ok && c.Purged(req, tok) {
		e.fail(w, r, &providers.Error{Code: providers.CodeNotSignedIn, Class: providers.Permanent, Op: e.op, Description: "Signed out meanwhile."})
		return
	}
	if cookie != nil {
		http.SetCookie(w, cookie)
	}
	e.answer(w, r, body)
}
