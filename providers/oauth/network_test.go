package oauth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
)

// until is a context whose deadline passes when done is closed.
type until struct {
	context.Context
	done <-chan struct{}
}

func (u until) Done() <-chan struct{} { return u.done }

func (u until) Err() error {
	select {
	case <-u.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// TestOverTheNetwork: what only a real connection shows.
func TestOverTheNetwork(t *testing.T) {
	var stolen atomic.Int32
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen.Add(1) }))
	defer thief.Close()
	leave, hanging := make(chan struct{}), make(chan struct{}, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/drop", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte(`{"access_token":"canary"`))
	})
	mux.HandleFunc("/huge", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"access_token":"canary","pad":"%02000000d"}`, 0)
	})
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) {
		hanging <- struct{}{}
		select {
		case <-leave:
		case <-r.Context().Done():
		}
	})
	as := httptest.NewServer(mux)
	defer as.Close()
	defer close(leave)

	for name, tc := range map[string]struct {
		url               string
		code              providers.Code
		generate, refresh providers.Class
	}{
		"nobody listens": {"http://127.0.0.1:1", providers.CodeUnreachable, providers.Transient, providers.Transient},
		"redirect":       {as.URL + "/redirect", providers.CodeBadResponse, providers.Permanent, providers.Permanent},
		"dropped":        {as.URL + "/drop", providers.CodeUnreachable, providers.Transient, providers.InDoubt},
		"cut short":      {as.URL + "/cut", providers.CodeUnreachable, providers.Transient, providers.InDoubt},
		"over a MiB":     {as.URL + "/huge", providers.CodeBadResponse, providers.Transient, providers.InDoubt},
		"hangs":          {as.URL + "/hang", providers.CodeTimeout, providers.Transient, providers.InDoubt},
	} {
		t.Run(name, func(t *testing.T) {
			// The deadline of a call that hangs passes once the server has it.
			deadline := func() context.Context {
				if name != "hangs" {
					return t.Context()
				}
				passed := make(chan struct{})
				go func() {
					<-hanging
					close(passed)
				}()
				return until{context.WithoutCancel(t.Context()), passed}
			}
			c, _ := client(t)
			c.TokenURL, c.HTTPClient = tc.url, as.Client()
			_, err := provider(t, c).Generate(deadline(), providers.Request{})
			e := failure(t, err)
			require.Equal(t, tc.code, e.Code)
			require.Equal(t, tc.generate, e.Class)
			c.Grant = "refresh_token"
			_, err = provider(t, c).Refresh(deadline(), alice, "canary-rt")
			e = failure(t, err)
			require.Equal(t, tc.refresh, e.Class)
		})
	}
	require.Zero(t, stolen.Load())
}
