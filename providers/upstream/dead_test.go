package upstream_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

// blackhole is a TCP proxy whose connections can go silent without a word, as
// behind a firewall that has forgotten them.
type blackhole struct {
	net.Listener
	silent *atomic.Pointer[atomic.Bool] // of the connections that begin now
	accept atomic.Int32
}

func (b *blackhole) serve(target string) {
	for {
		down, err := b.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", target)
		if err != nil {
			_ = down.Close()
			continue
		}
		b.accept.Add(1)
		silent := b.silent.Load()
		var ends sync.WaitGroup
		for _, pair := range [][2]net.Conn{{down, up}, {up, down}} {
			ends.Go(func() { copyUntil(silent, pair[0], pair[1]) })
		}
		go func() { ends.Wait(); _ = up.Close(); _ = down.Close() }()
	}
}

// copyUntil copies, and swallows everything once silent is set.
func copyUntil(silent *atomic.Bool, to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			_ = to.Close()
			return
		}
		if !silent.Load() {
			_, _ = to.Write(buf[:n])
		}
	}
}

func TestASilentlyDeadHTTP2ConnectionIsLeftAfterOneTimeout(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	proxy := &blackhole{Listener: listener, silent: &atomic.Pointer[atomic.Bool]{}}
	first, later := &atomic.Bool{}, &atomic.Bool{}
	proxy.silent.Store(first)
	go proxy.serve(server.Listener.Addr().String())
	defer proxy.Close()

	// The kit's own client is made of the process's transport.
	shared := http.DefaultTransport
	defer func() { http.DefaultTransport = shared }()
	own := server.Client().Transport.(*http.Transport).Clone()
	http.DefaultTransport = own
	c := upstream.New("vendor", nil, nil)
	assert.Nil(t, own.HTTP2, "the process's transport is left alone")

	ask := func(limit time.Duration) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		res, err := c.Do(ctx, upstream.Call{Op: "generate", Method: "GET", URL: "https://" + listener.Addr().String()})
		if err != nil {
			return "", err
		}
		return string(res.Body), nil
	}
	const patience = 20 * time.Second
	proto, err := ask(patience)
	require.NoError(t, err)
	require.Equal(t, "HTTP/2.0", proto)

	first.Store(true)
	proxy.silent.Store(later)
	_, err = ask(300 * time.Millisecond)
	assert.Equal(t, providers.CodeTimeout, failure(t, err).Code)
	for range 6 {
		proto, err = ask(patience)
		require.NoError(t, err)
		require.Equal(t, "HTTP/2.0", proto)
	}
	assert.EqualValues(t, 2, proxy.accept.Load(), "one new connection")
}
