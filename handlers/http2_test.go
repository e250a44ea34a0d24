package handlers_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
)

func serveHTTP2(t *testing.T, h http.Handler, change func(*http.Server)) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	if change != nil {
		change(s.Config)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestALateBodyOverHTTP2IsNeverAnEmpty200(t *testing.T) {
	for name, h := range everyHandler(t, &fake{}) {
		t.Run(name, func(t *testing.T) {
			s := serveHTTP2(t, h, func(s *http.Server) { s.ReadTimeout = 300 * time.Millisecond })
			late, end := io.Pipe()
			defer func() { _ = end.Close() }()
			req, err := http.NewRequest(http.MethodPost, s.URL, late)
			require.NoError(t, err)
			req.Header.Set("Content-Type", typeOf(name))
			res, err := s.Client().Do(req)
			if err != nil {
				return // the stream was reset
			}
			defer func() { _ = res.Body.Close() }()
			assert.Equal(t, 2, res.ProtoMajor)
			assert.Equal(t, 408, res.StatusCode)
		})
	}
}

func TestACancelledStreamOverHTTP2GetsNoAnswer(t *testing.T) {
	came, left := make(chan struct{}), make(chan struct{})
	h, err := handlers.Generate(config(&fake{generate: func(ctx context.Context, _ providers.Request) (providers.Token, error) {
		close(came)
		<-ctx.Done()
		close(left)
		return providers.Token{}, ctx.Err()
	}}))
	s := serveHTTP2(t, must(t, h, err), nil)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, strings.NewReader(`{"user":"a"}`))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	go func() {
		<-came
		cancel()
	}()
	_, err = s.Client().Do(req)
	assert.ErrorIs(t, err, context.Canceled)
	<-left
}

func TestStreamsPassTheProxyOverHTTP2(t *testing.T) {
	more := make(chan struct{})
	h := newProxy(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			<-more
		}
	}, nil)
	s := serveHTTP2(t, h, nil)
	res, err := s.Client().Get(s.URL + "/events")
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	assert.Equal(t, 2, res.ProtoMajor)
	lines := bufio.NewReader(res.Body)
	for i := range 3 {
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf("data: %d\n", i), line)
		_, _ = lines.ReadString('\n')
		more <- struct{}{}
	}
}
