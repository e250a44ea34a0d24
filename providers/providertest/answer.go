package providertest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strings"
)

// object is a JSON object to answer with.
type object map[string]any

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func answerText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

// jsonObject reads a body of type application/json into v. It returns false if
// there is none.
func jsonObject(r *http.Request, v any) bool {
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return mediaType == "application/json" && json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(v) == nil
}

// bearer returns the token of an Authorization header, or "" without one.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// echo answers with what it received: method, path, query, the length and
// SHA-256 of the body, the headers without Authorization, and more.
func echo(w http.ResponseWriter, r *http.Request, more object) {
	digest := sha256.New()
	n, err := io.Copy(digest, r.Body)
	if err != nil {
		drop(w)
		return
	}
	headers := r.Header.Clone()
	headers.Del("Authorization")
	headers.Set("Host", r.Host)
	out := object{
		"method": r.Method, "path": r.URL.Path, "query": r.URL.RawQuery,
		"body_bytes": n, "body_sha256": hex.EncodeToString(digest.Sum(nil)), "headers": headers,
	}
	for k, v := range more {
		out[k] = v
	}
	answer(w, http.StatusOK, out)
}
