package main

import (
	"io"
	"net/http"
	"time"
)

// hurried ends calls whose body has not come in time. http.Server.ReadTimeout
// would end proxied uploads too.
func hurried(within time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		if r.Body == nil || r.Body == http.NoBody || c.SetReadDeadline(time.Now().Add(within)) != nil {
			next.ServeHTTP(w, r)
			return
		}
		r = r.WithContext(r.Context())
		r.Body = &hurriedBody{r.Body, c}
		next.ServeHTTP(w, r)
	})
}

// hurriedBody lifts the bound at its end: net/http goes on reading then, to
// notice a caller that leaves.
type hurriedBody struct {
	io.ReadCloser
	conn *http.ResponseController
}

func (b *hurriedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.conn.SetReadDeadline(time.Time{})
	}
	return n, err
}

// unhurried lifts the bound before next: its callers have passed the checks.
func unhurried(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		next.ServeHTTP(w, r)
	})
}
