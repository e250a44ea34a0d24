package handlers_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
)

// Any caller can send a body that breaks off. The upstream is not to blame, and
// no operator is called.
func TestAProxiedBodyThatBreaksOffIs400(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	t.Cleanup(upstream.Close)
	for name, trip := range map[string]http.RoundTripper{
		"net/http": attach{http.DefaultTransport},
		"the kit's transport": &middleware.Transport{
			Source: middleware.Fixed(fixedToken{AccessToken: "ours"}), Base: http.DefaultTransport, DangerouslyPlainHTTP: []string{strings.TrimPrefix(upstream.URL, "http://")},
		},
		"one that hides the cause": roundTrip(func(r *http.Request) (*http.Response, error) {
			_, err := io.Copy(io.Discard, r.Body)
			return nil, fmt.Errorf("gave up: %v", err)
		}),
	} {
		for how, raw := range map[string]string{
			"no chunk":     "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
			"chunked late": "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\nzz\r\n",
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				var log bytes.Buffer
				var events []providers.Event
				c := proxyConfig(upstream.URL)
				c.Transport, c.Logger = trip, logTo(&log)
				c.Observer = func(_ context.Context, e providers.Event) { events = append(events, e) }
				h, err := handlers.Proxy(c)
				must(t, h, err)
				served := make(chan struct{})
				conn := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer close(served)
					h.ServeHTTP(w, r)
				}), nil)
				go func() {
					_, _ = io.WriteString(conn, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"+raw)
				}()
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				require.NoError(t, err)
				a := read(t, res)
				<-served
				assert.Equal(t, 400, a.status)
				assert.Equal(t, "invalid_field", a.json["code"])
				assert.Equal(t, "The body could not be read to its end.", a.json["detail"])
				assert.NotContains(t, log.String(), "level=WARN")
				assert.NotContains(t, log.String(), "level=ERROR")
				require.Len(t, events, 1)
				assert.Equal(t, "refused invalid_field 400", fmt.Sprint(events[0].Kind, " ", events[0].Outcome, " ", events[0].N))
			})
		}
	}
}

// What the upstream does is not the caller's fault, and neither is a body that
// was read to its end or that a transport closed.
func TestTheUpstreamsFailureUnderABodyIsItsOwn(t *testing.T) {
	for name, tc := range map[string]struct {
		body io.Reader
		trip roundTrip
		want int
	}{
		"read to its end": {strings.NewReader("x"), func(r *http.Request) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, r.Body)
			return nil, errors.New("reset")
		}, 502},
		"closed before it was read": {iotest.ErrReader(http.ErrBodyReadAfterClose), func(r *http.Request) (*http.Response, error) {
			_ = r.Body.Close()
			_, _ = io.Copy(io.Discard, r.Body)
			return nil, errors.New("reset")
		}, 502},
		"a wrapper's bound": {iotest.ErrReader(&http.MaxBytesError{Limit: 1}), func(r *http.Request) (*http.Response, error) {
			_, err := io.Copy(io.Discard, r.Body)
			return nil, err
		}, 413},
	} {
		c := proxyConfig("https://api.example.com")
		c.Transport = tc.trip
		h, err := handlers.Proxy(c)
		a := serve(t, must(t, h, err), httptest.NewRequest("POST", "/x", io.NopCloser(tc.body)))
		assert.Equal(t, tc.want, a.status, name)
	}
}
