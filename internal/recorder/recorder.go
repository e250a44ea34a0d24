// Package recorder is an upstream for the tests of the vendor packages: it
// answers every request alike and keeps the last.
package recorder

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
)

// Request is a request that reached the upstream.
type Request struct {
	Method, Path string // Path with the query, as it was sent
	Header       http.Header
	Body         string
}

// Server is a running upstream. It is safe for concurrent use.
type Server struct {
	*httptest.Server
	mu   sync.Mutex
	last Request
	hits int
}

// Serve starts an upstream that t ends. A nil value in header leaves out a
// header that net/http would write, such as Date.
func Serve(t testing.TB, status int, header http.Header, body string) *Server {
	t.Helper()
	s := &Server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.last = Request{r.Method, r.RequestURI, r.Header.Clone(), string(b)}
		s.hits++
		s.mu.Unlock()
		for k, v := range header {
			w.Header()[k] = v
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s
}

// Seen returns the last request and how many there were.
func (s *Server) Seen() (Request, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.hits
}

// ReadJSON reads a file of testdata into v.
func ReadJSON(t testing.TB, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// RoundTrip is a function as http.RoundTripper.
type RoundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f RoundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Golden is a file of testdata/golden: what a caller sends, what goes upstream
// and comes back, and what the caller gets.
type Golden struct {
	Request struct {
		Target  string            `json:"target"`
		Headers map[string]string `json:"headers"`
		Body    json.RawMessage   `json:"body"`
	} `json:"request"`
	Upstream struct {
		Method  string            `json:"method"`
		Path    string            `json:"path"`
		Headers map[string]string `json:"headers"`
		Body    json.RawMessage   `json:"body"`
		Answer  json.RawMessage   `json:"answer"`
	} `json:"upstream"`
	Response json.RawMessage `json:"response"`
}
