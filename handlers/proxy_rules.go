package handlers

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// listed is the handler behind every pattern of a list.
type listed struct{}

func (listed) ServeHTTP(http.ResponseWriter, *http.Request) {}

// patterns makes a list of patterns one ServeMux, nil if it is empty.
func patterns(field string, list []string) (mux *http.ServeMux, err error) {
	if len(list) == 0 {
		return nil, nil
	}
	mux = http.NewServeMux()
	for _, pattern := range list {
		err = errors.Join(err, register(mux, field, pattern, listed{}))
	}
	return mux, err
}

// register changes ServeMux's panic about a pattern to an error.
func register(mux *http.ServeMux, field, pattern string, h http.Handler) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fault(field, fmt.Sprint(v))
		}
	}()
	mux.Handle(pattern, h)
	return nil
}

func matches(mux *http.ServeMux, r *http.Request) bool {
	found, _ := mux.Handler(r)
	_, ok := found.(listed)
	return ok
}

// allowed looks r up in the allow-list. It sets Allow if only the method is not
// listed.
func (p *proxy) allowed(h http.Header, r *http.Request) error {
	switch strings.ToUpper(r.Method) { // some servers ignore its case
	case http.MethodTrace, "TRACK", http.MethodConnect:
		h.Set("Allow", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
		return refuse(codeMethod, "")
	}
	found, _ := p.allow.Handler(r)
	if _, ok := found.(listed); ok {
		return nil
	}
	probe := &headerOnly{header: http.Header{}}
	found.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		h.Set("Allow", probe.header.Get("Allow"))
		return refuse(codeMethod, "")
	}
	return refuse(codeNotFound, "") // also for a path that ServeMux would redirect
}

type headerOnly struct {
	header http.Header
	status int
}

func (h *headerOnly) Header() http.Header         { return h.header }
func (h *headerOnly) Write(b []byte) (int, error) { return len(b), nil }
func (h *headerOnly) WriteHeader(status int)      { h.status = status }
