package upstream_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/recorder"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

// untraced is a transport that drops the context's trace, as a wrapper may.
func untraced(r *http.Request) (*http.Response, error) {
	return (&http.Transport{DisableKeepAlives: true}).RoundTrip(r.Clone(context.WithoutCancel(context.Background())))
}

// That nothing was written has to be shown: a transport's silence shows nothing.
func TestALostOneTimeAnswerIsInDoubtUnlessNothingWasWritten(t *testing.T) {
	dropping := raw(t, "")
	ask := func(url string, rt recorder.RoundTrip) *providers.Error {
		c := upstream.New("vendor", &http.Client{Transport: rt}, now)
		_, err := c.Do(t.Context(), upstream.Call{Op: "generate", Method: "POST", URL: url, OneTime: true, Body: map[string]string{"a": "b"}})
		return failure(t, err)
	}
	assert.Equal(t, providers.InDoubt, ask(dropping, untraced).Class, "sent without a trace")
	assert.Equal(t, providers.Transient, ask("http://127.0.0.1:1", untraced).Class, "no connection, without a trace")
	assert.Equal(t, providers.InDoubt, ask(dropping, func(*http.Request) (*http.Response, error) {
		return nil, errors.New("some error of a wrapper")
	}).Class)
	traced := (&http.Transport{DisableKeepAlives: true}).RoundTrip
	assert.Equal(t, providers.InDoubt, ask(dropping, traced).Class)
	assert.Equal(t, providers.Transient, ask("http://127.0.0.1:1", traced).Class)
}

func TestACallThatHasEndedSendsNothing(t *testing.T) {
	c := upstream.New("vendor", &http.Client{Transport: recorder.RoundTrip(func(*http.Request) (*http.Response, error) {
		t.Error("sent")
		return nil, errors.New("sent")
	})}, now)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Do(ctx, upstream.Call{Op: "generate", Method: "GET", URL: "https://api.example.com", OneTime: true})
	e := failure(t, err)
	assert.Equal(t, providers.Transient, e.Class)
	assert.ErrorIs(t, e, context.Canceled)
}

func TestACustomCauseDoesNotHideWhatEndedTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := errors.New("the caller's own cause")
		for name, transport := range map[string]recorder.RoundTrip{
			"cause": func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, context.Cause(r.Context())
			},
			"body": func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: causal{r.Context()}, Request: r}, nil
			},
		} {
			c := upstream.New("vendor", &http.Client{Transport: transport}, nil)
			ask := func(ctx context.Context) *providers.Error {
				_, err := c.Do(ctx, upstream.Call{Op: "generate", Method: "GET", URL: "https://api.example.com"})
				return failure(t, err)
			}
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, own)
			e := ask(ctx)
			cancel()
			assert.Equal(t, providers.CodeTimeout, e.Code, name)
			require.ErrorIs(t, e, context.DeadlineExceeded, name)
			assert.ErrorIs(t, e, own, name)

			ctx, cancelCause := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancelCause(own) })
			e = ask(ctx)
			assert.Equal(t, providers.CodeUnreachable, e.Code, name)
			require.ErrorIs(t, e, context.Canceled, name)
			assert.ErrorIs(t, e, own, name)
		}
	})
}

// causal is a body that ends with its context's cause.
type causal struct{ ctx context.Context }

func (c causal) Read([]byte) (int, error) { <-c.ctx.Done(); return 0, context.Cause(c.ctx) }
func (causal) Close() error               { return nil }

// The clocks are compared when the headers come: a slow body is not a clock
// that is wrong.
func TestASlowBodyDoesNotMoveTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		c := upstream.New("vendor", &http.Client{Transport: recorder.RoundTrip(func(r *http.Request) (*http.Response, error) {
			body, w := io.Pipe()
			go func() {
				time.Sleep(4 * time.Second) // how slow it is, in the bubble's time
				_, _ = io.Copy(w, strings.NewReader("{}"))
				_ = w.Close()
			}()
			return &http.Response{StatusCode: 200, Header: http.Header{"Date": {start.UTC().Format(http.TimeFormat)}}, Body: body, Request: r}, nil
		})}, nil)
		res, err := c.Do(t.Context(), upstream.Call{Op: "generate", Method: "GET", URL: "https://api.example.com"})
		require.NoError(t, err)
		assert.Equal(t, 4*time.Second, time.Since(start))
		assert.Zero(t, res.Skew())
		end, err := res.Expiry("", nil, []byte(`"`+start.Add(time.Minute).UTC().Format(time.RFC3339)+`"`))
		require.NoError(t, err)
		assert.Equal(t, time.Minute, end.Sub(start))
	})
}
