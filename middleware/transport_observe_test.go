package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
)

// eventLog keeps events as "kind/op/outcome/n".
type eventLog struct{ seen []string }

func (l *eventLog) observe(_ context.Context, e providers.Event) {
	l.seen = append(l.seen, fmt.Sprintf("%s:%s/%s/%s/%d", e.Source, e.Kind, e.Op, e.Outcome, e.N))
}

func TestTransportEventsTellWhatHappened(t *testing.T) {
	busy := &providers.Error{Code: providers.CodeBusy, Class: providers.Transient}
	dead := &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead}
	refused := func() *answering { return &answering{status: 401, body: strings.NewReader("why")} }
	for name, c := range map[string]struct {
		source middleware.TokenSource
		web    http.RoundTripper
		body   func() io.Reader
		want   []string
	}{
		"accepted": {newGrantSource(), &answering{status: 204, body: strings.NewReader("")}, nil,
			[]string{"transport:sent/first/ok/204"}},
		"renewed and replayed": {newGrantSource(), refused(), nil,
			[]string{"transport:sent/first/ok/401", "transport:refused//rejected/401", "transport:renewed//ok/0", "transport:replayed/replay/ok/200"}},
		"second 401": {newGrantSource(), &web{}, nil,
			[]string{"transport:sent/first/ok/401", "transport:refused//rejected/401", "transport:renewed//ok/0", "transport:replayed/replay/ok/401"}},
		"challenge": {newGrantSource(), &answering{status: 401, challenge: `Bearer error="insufficient_scope"`, body: strings.NewReader("")}, nil,
			[]string{"transport:sent/first/ok/401", "transport:refused//insufficient_scope/401"}},
		"renewal failed": {&grantSource{version: 1, err: busy}, refused(), nil,
			[]string{"transport:sent/first/ok/401", "transport:refused//rejected/401", "transport:renewal_failed//transient/0"}},
		"grant dead": {&grantSource{version: 1, err: fmt.Errorf("cache: %w", dead)}, refused(), nil,
			[]string{"transport:sent/first/ok/401", "transport:refused//rejected/401", "transport:renewal_failed//grant_dead/0"}},
		"unknown error": {&grantSource{version: 1, err: errors.New("token-1 of ada")}, refused(), nil,
			[]string{"transport:sent/first/ok/401", "transport:refused//rejected/401", "transport:renewal_failed//error/0"}},
		"same token": {&grantSource{version: 1, stuck: true}, refused(), nil,
			[]string{"transport:sent/first/ok/401", "transport:refused//rejected/401", "transport:renewal_failed//same_token/0"}},
		"not replayable": {newGrantSource(), refused(), func() io.Reader { return io.MultiReader(strings.NewReader("once")) },
			[]string{"transport:sent/first/ok/401", "transport:refused//rejected/401", "transport:renewed//ok/0", "transport:not_replayable///0"}},
		"no token": {tokenFunc(func() (providers.Token, error) { return providers.Token{}, dead }), refused(), nil,
			[]string{"transport:no_token//grant_dead/0"}},
		"unreachable": {newGrantSource(), roundTripFunc(func(r *http.Request) (*http.Response, error) { return nil, errors.New("refused") }), nil,
			[]string{"transport:sent/first/error/0"}},
	} {
		t.Run(name, func(t *testing.T) {
			log := &eventLog{}
			transport := &middleware.Transport{Source: middleware.Fixed(c.source), Base: c.web, MaxReplayBody: -1, Observer: log.observe}
			var body io.Reader
			if c.body != nil {
				body = c.body()
			}
			req, _ := http.NewRequest("POST", "https://api.test/401", body)
			if res, err := transport.RoundTrip(req); err == nil {
				_ = res.Body.Close()
			}
			require.Equal(t, c.want, log.seen)
		})
	}
}

func TestTransportEventOfABareSend(t *testing.T) {
	log := &eventLog{}
	client := http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(newGrantSource()), Base: &web{}, Observer: log.observe}}
	res, err := client.Get("https://a.test/307/https://b.test/x")
	require.NoError(t, err)
	_ = res.Body.Close()
	require.Equal(t, []string{"transport:sent/first/ok/307", "transport:sent/bare/ok/200"}, log.seen)
}

// Durations are those of the send and of the renewal, and the context is the
// request's.
func TestTransportEventsHaveDurationAndContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		took := map[string]time.Duration{}
		web := &answering{status: 401, body: strings.NewReader("why")}
		transport := &middleware.Transport{
			Source: middleware.Fixed(&hookedSource{grantSource: newGrantSource(), onRenew: func() { time.Sleep(3 * time.Second) }}),
			Base: roundTripFunc(func(r *http.Request) (*http.Response, error) {
				time.Sleep(time.Duration(1+web.sends) * time.Second)
				return web.RoundTrip(r)
			}),
			Observer: func(ctx context.Context, e providers.Event) {
				require.Equal(t, "mine", ctx.Value(key{}))
				took[e.Kind] = e.Duration
			},
		}
		req, _ := http.NewRequestWithContext(context.WithValue(t.Context(), key{}, "mine"), "GET", "https://api.test/", nil)
		res, err := transport.RoundTrip(req)
		require.NoError(t, err)
		_ = res.Body.Close()
		require.Equal(t, map[string]time.Duration{"sent": time.Second, "refused": 0, "renewed": 3 * time.Second, "replayed": 2 * time.Second}, took)
	})
}

// A caller that asks for errors gets the cause in place of the 401. The body of the
// answer is closed then, and so is the request's.
func TestTransportRenewalErrors(t *testing.T) {
	busy := &providers.Error{Code: providers.CodeBusy, Class: providers.Transient, RetryAfter: time.Minute}
	for name, c := range map[string]struct {
		source *grantSource
		is     error
	}{
		"renewal failed": {&grantSource{version: 1, err: fmt.Errorf("cache: %w", busy)}, busy},
		"same token":     {&grantSource{version: 1, stuck: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			answer := &closeCounter{Reader: strings.NewReader("why")}
			base := roundTripFunc(func(r *http.Request) (*http.Response, error) {
				_ = r.Body.Close()
				return &http.Response{StatusCode: 401, Header: http.Header{}, Body: answer}, nil
			})
			body := &closeCounter{Reader: strings.NewReader("x")}
			client := http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(c.source), Base: base, RenewalErrors: true}}
			_, err := client.Post("https://api.test/", "text/plain", body)
			var renewal *middleware.RenewalError
			require.ErrorAs(t, err, &renewal)
			require.Equal(t, 401, renewal.Status)
			if c.is != nil {
				var pe *providers.Error
				require.ErrorAs(t, err, &pe)
				require.Same(t, c.is, pe)
			}
			require.NotContains(t, err.Error(), "token-1")
			require.EqualValues(t, 1, answer.closes.Load())
			require.EqualValues(t, 1, body.closes.Load())
		})
	}
}

// The option changes nothing where no renewal failed: a challenge, a body that
// is gone and a second 401 are answers.
func TestTransportRenewalErrorsLeaveAnswersAlone(t *testing.T) {
	var sends atomic.Int64
	srv := httptest.NewServer(echoUnless("never", &sends))
	defer srv.Close()
	client := http.Client{Transport: &middleware.Transport{Source: middleware.Fixed(newGrantSource()), RenewalErrors: true, MaxReplayBody: -1}}
	res, err := client.Get(srv.URL)
	require.NoError(t, err)
	require.Equal(t, "refused", readAndClose(t, res))
	res, err = client.Post(srv.URL, "text/plain", io.MultiReader(strings.NewReader("once")))
	require.NoError(t, err)
	require.Equal(t, "refused", readAndClose(t, res))
	require.EqualValues(t, 3, sends.Load())
}
