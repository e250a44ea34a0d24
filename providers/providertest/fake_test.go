package providertest_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers/providertest"
)

// reply is an answer, read whole.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.body), &v), r.body)
	return v
}

// ask sends one request to a fake without a network. header is name, value, …
func ask(f *providertest.Fake, method, path, body string, header ...string) reply {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return reply{w.Code, w.Header(), w.Body.String()}
}

func newKudo(t *testing.T) *providertest.Fake {
	t.Helper()
	f, err := providertest.NewKudo(providertest.KudoConfig{AccessKey: "k"})
	require.NoError(t, err)
	return f
}

func generateKudo(f *providertest.Fake) reply {
	return ask(f, "POST", "/generate", `{"file":"a.dwg"}`, "X-Api-Key", "k")
}

func TestFaultsReplaceTheAnswer(t *testing.T) {
	f := newKudo(t)
	f.SetFault(providertest.Fault{Status: 429, RetryAfter: "2", Times: 1})
	got := generateKudo(f)
	assert.Equal(t, 429, got.status)
	assert.Equal(t, "2", got.header.Get("Retry-After"))
	assert.Equal(t, 200, generateKudo(f).status, "the fault is over after Times")

	f.SetFault(providertest.Fault{Body: "<html>oops"})
	got = generateKudo(f)
	assert.Equal(t, 200, got.status)
	assert.Equal(t, "text/html", got.header.Get("Content-Type"))

	f.SetFault(providertest.Fault{Status: 500, Path: "/verify"})
	assert.Equal(t, 200, generateKudo(f).status, "another path")
	assert.Equal(t, 500, ask(f, "GET", "/verify", "").status)

	f.SetFault(providertest.Fault{})
	assert.Equal(t, 403, ask(f, "GET", "/verify", "").status)
	assert.Equal(t, providertest.Stats{
		Generates: 4, Verifies: 2, Issued: 2, Unauthorized: 1, Faults: 3, Peak: 1,
	}, f.Stats())
	f.ResetStats()
	assert.Zero(t, f.Stats())
}

func TestFaultAfterTheWork(t *testing.T) {
	f := newKudo(t)
	f.SetFault(providertest.Fault{Status: 502, AfterWork: true})
	assert.Equal(t, 502, generateKudo(f).status)
	assert.Equal(t, 1, f.Stats().Issued)
	f.SetFault(providertest.Fault{Status: 502})
	assert.Equal(t, 502, generateKudo(f).status)
	assert.Equal(t, 1, f.Stats().Issued)
}

// inBubble serves f over pipes inside a synctest bubble.
func inBubble(t *testing.T, f *providertest.Fake) (*http.Client, func()) {
	t.Helper()
	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	srv := &http.Server{Handler: f}
	go func() { _ = srv.Serve(l) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.dial(ctx) }}
	return &http.Client{Transport: transport}, func() {
		transport.CloseIdleConnections()
		_ = srv.Close()
	}
}

type pipeListener struct {
	conns chan net.Conn
	done  chan struct{} // closed by Close; it ends Accept and is no flight
	once  sync.Once
}

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func postKudo(ctx context.Context, c *http.Client) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", "http://kudo.test/generate", strings.NewReader(`{"file":"a"}`))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("X-Api-Key", "k")
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, string(b)}, err
}

func TestLatencyHangAndDrop(t *testing.T) {
	f := newKudo(t)
	synctest.Test(t, func(t *testing.T) {
		client, stop := inBubble(t, f)
		defer stop()

		f.SetLatency(3 * time.Second)
		start := time.Now()
		got, err := postKudo(t.Context(), client)
		require.NoError(t, err)
		assert.Equal(t, 200, got.status)
		assert.Equal(t, 3*time.Second, time.Since(start))
		f.SetLatency(0)

		f.SetFault(providertest.Fault{Hang: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start = time.Now()
		_, err = postKudo(ctx, client)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Minute, time.Since(start))
		synctest.Wait() // until the server has noticed that this caller left

		f.SetFault(providertest.Fault{Drop: true})
		_, err = postKudo(t.Context(), client)
		require.Error(t, err)
		assert.False(t, errors.Is(err, context.DeadlineExceeded))

		f.SetFault(providertest.Fault{})
		f.SetLatency(time.Second)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { _, _ = postKudo(t.Context(), client) })
		}
		wg.Wait()
		assert.Equal(t, 5, f.Stats().Peak)
	})
}

func TestDropOverHTTP2(t *testing.T) {
	f := newKudo(t)
	srv := httptest.NewUnstartedServer(f)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	f.SetFault(providertest.Fault{Drop: true})
	res, err := srv.Client().Post(srv.URL+"/generate", "application/json", strings.NewReader("{}"))
	if err == nil {
		res.Body.Close()
	}
	require.Error(t, err)
}

func TestSkewTells(t *testing.T) {
	f := newKudo(t)
	synctest.Test(t, func(t *testing.T) {
		f.SetSkew(time.Hour)
		got := generateKudo(f)
		assert.Equal(t, time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), got.header.Get("Date"))
		assert.EqualValues(t, time.Now().Add(2*time.Hour).Unix(), got.json(t)["expiration_time"])
	})
}

func TestLifetimesEnd(t *testing.T) {
	f := newKudo(t)
	synctest.Test(t, func(t *testing.T) {
		f.SetLifetimes(2*time.Second, 0)
		token := generateKudo(f).json(t)["token"].(string)
		assert.Equal(t, 200, ask(f, "GET", "/verify", "", "X-Api-Token", token).status)
		time.Sleep(2 * time.Second)
		assert.Equal(t, 403, ask(f, "GET", "/verify", "", "X-Api-Token", token).status)
	})
}

// Every switch may be moved while the fake serves; -race watches.
func TestSwitchesWhileServing(t *testing.T) {
	f := newKudo(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				generateKudo(f)
			}
		})
	}
	for range 50 {
		f.SetLatency(time.Microsecond)
		f.SetFault(providertest.Fault{Status: 503})
		f.SetFault(providertest.Fault{})
		f.SetLifetimes(time.Hour, time.Hour)
		f.SetSkew(time.Second)
		f.RevokeAll()
	}
	wg.Wait()
	s := f.Stats()
	assert.Equal(t, 400, s.Generates)
	assert.Equal(t, 400, s.Issued+s.Faults)
	assert.Equal(t, s.Issued, s.Killed+f.RevokeAll())
}
