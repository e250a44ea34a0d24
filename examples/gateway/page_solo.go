package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/middleware/authtest"
)

// soloScenes are the scenes that have no other side: a client of this process
// plays them against servers of this process, over real connections.
var soloScenes = map[string]func(context.Context, *slog.Logger, func(step)) error{
	"protect": playProtect,
	"callout": playCallout,
}

// step is a line of such a scene: what was done, and what came of it. The last
// line has Sum alone.
type step struct {
	Did    string `json:"did,omitempty"`
	Saw    string `json:"saw,omitempty"`
	Sum    string `json:"sum,omitempty"`
	Failed string `json:"failed,omitempty"`
}

// authServer is an OpenID Connect issuer with a token endpoint.
type authServer struct {
	*authtest.Issuer
	clientID, secret string

	mu         sync.Mutex
	refresh    string // the refresh token that is good
	current    string // the access token that was given last
	tokenCalls int
}

// newAuthServer serves one until end is called.
func newAuthServer() (s *authServer, end func() error, err error) {
	issuer, err := authtest.New("ES256")
	if err != nil {
		return nil, nil, err
	}
	s = &authServer{Issuer: issuer, clientID: "demo-client", secret: rand.Text(), refresh: rand.Text()}
	end, err = listen(func(url string) (http.Handler, error) {
		issuer.URL = url
		mux := http.NewServeMux()
		mux.Handle("/", issuer)
		mux.HandleFunc("POST /token", s.token)
		return mux, nil
	})
	return s, end, err
}

// token takes the client's credentials, and each refresh token once.
func (s *authServer) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokenCalls++
	id, secret, _ := r.BasicAuth()
	answer := map[string]any{"token_type": "Bearer", "expires_in": 3600}
	switch {
	case id != s.clientID || subtle.ConstantTimeCompare([]byte(secret), []byte(s.secret)) != 1:
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	case r.FormValue("grant_type") == "client_credentials":
	case r.FormValue("refresh_token") == s.refresh:
		s.refresh = rand.Text()
		answer["refresh_token"] = s.refresh
	default:
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}
	token, err := s.Token(nil)
	if err != nil {
		writeJSON(w, http.StatusInternalServerError, map[string]string{"error": "server_error"})
		return
	}
	s.current, answer["access_token"] = token, token
	writeJSON(w, http.StatusOK, answer)
}

// calls is how many calls the token endpoint got.
func (s *authServer) calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokenCalls
}

func (s *authServer) refreshToken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refresh
}

// accepts reports whether r carries the access token that was given last.
func (s *authServer) accepts(r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current != "" && bearerOf(r) == s.current
}

// revoke ends the access token that was given last.
func (s *authServer) revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = ""
}

// tally counts the answers of a handler by their status.
type tally struct {
	http.Handler
	mu     sync.Mutex
	counts map[int]int
}

func (t *tally) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	t.Handler.ServeHTTP(answer, r)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = map[int]int{}
	}
	t.counts[answer.status]++
}

func (t *tally) of(status int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[status]
}

func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return statuses(t.counts)
}

// statuses says how often each status came, like "9 × 200 OK and 1 × 503 Service Unavailable".
func statuses(counts map[int]int) string {
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(counts)) {
		text := fmt.Sprintf("%d %s", status, http.StatusText(status))
		if n := counts[status]; n > 1 || len(counts) > 1 {
			text = fmt.Sprintf("%d × %s", n, text)
		}
		parts = append(parts, text)
	}
	if last := len(parts) - 1; last > 0 {
		return strings.Join(parts[:last], ", ") + " and " + parts[last]
	}
	return strings.Join(parts, "")
}

func many(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// sleep waits until at, or until ctx ends.
func sleep(ctx context.Context, at time.Time) error {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
