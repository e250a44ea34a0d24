package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
)

func TestProxyTellsWhatBecameOfEachCall(t *testing.T) {
	type key struct{}
	busy := &providers.Error{Code: providers.CodeBusy, Class: providers.Transient}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		path      string
		ctx       context.Context
		status    int
		err       error
		authorize handlers.Authorize
		want      string
	}{
		"forwarded":       {status: 204, want: "proxy:forwarded/ok/204"},
		"upstream fails":  {status: 503, want: "proxy:forwarded/ok/503"},
		"token rejected":  {status: 401, want: "proxy:token_rejected/upstream_rejected_token/502"},
		"unsafe path":     {path: "/a//b", want: "proxy:refused/not_found/404"},
		"not listed":      {path: "/other", want: "proxy:refused/not_found/404"},
		"not signed in":   {authorize: refuseWith(providers.CodeNotSignedIn), want: "proxy:refused/not_signed_in/401"},
		"own code":        {authorize: refuseWith("ada@example.com"), want: "proxy:failed/internal/500"},
		"no token":        {err: busy, want: "proxy:failed/upstream_busy/503"},
		"unreachable":     {err: errors.New("refused"), want: "proxy:failed/upstream_unreachable/502"},
		"caller has left": {ctx: canceled, err: context.Canceled, want: "proxy:failed/canceled/0"},
	} {
		t.Run(name, func(t *testing.T) {
			var seen []string
			config := proxyConfig("https://api.test")
			config.Allow = []string{"/api/"}
			if c.authorize != nil {
				config.Authorize = c.authorize
			}
			config.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				if c.err != nil {
					return nil, c.err
				}
				return &http.Response{StatusCode: c.status, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
			})
			config.Observer = func(ctx context.Context, e providers.Event) {
				require.Equal(t, "mine", ctx.Value(key{}))
				seen = append(seen, fmt.Sprintf("%s:%s/%s/%d", e.Source, e.Kind, e.Outcome, e.N))
			}
			h, err := handlers.Proxy(config)
			require.NoError(t, err)
			if c.path == "" {
				c.path = "/api/x"
			}
			if c.ctx == nil {
				c.ctx = t.Context()
			}
			r := httptest.NewRequest("GET", c.path, nil)
			call := func() { h.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithValue(c.ctx, key{}, "mine"))) }
			if c.ctx == canceled {
				require.PanicsWithValue(t, http.ErrAbortHandler, call)
			} else {
				call()
			}
			require.Equal(t, []string{c.want}, seen)
		})
	}
}

func refuseWith(code providers.Code) handlers.Authorize {
	return func(*http.Request, *providers.Request) error { return &providers.Error{Code: code} }
}

func TestProxyTellsHowLongTheUpstreamTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took time.Duration
		config := proxyConfig("https://api.test")
		config.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
		})
		config.Observer = func(_ context.Context, e providers.Event) { took = e.Duration }
		h, err := handlers.Proxy(config)
		require.NoError(t, err)
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/x", nil))
		require.Equal(t, time.Second, took)
	})
}
