package replay_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/replay"
)

type body struct {
	io.Reader
	closes int
}

func (b *body) Close() error { b.closes++; return nil }

func oneShot(t *testing.T, size int) (*http.Request, *body) {
	t.Helper()
	b := &body{Reader: strings.NewReader(strings.Repeat("x", size))}
	req, err := http.NewRequest("POST", "https://api.test/", b)
	require.NoError(t, err)
	return req, b
}

func read(t *testing.T, r io.Reader) int {
	t.Helper()
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	return len(b)
}

func TestBodyIsKeptUpToTheLimit(t *testing.T) {
	for _, c := range []struct {
		limit, size int
		kept        bool
	}{
		{0, 256 << 10, true}, {0, 256<<10 + 1, false}, {10, 10, true}, {10, 11, false}, {-1, 1, false}, {-1, 0, true},
	} {
		req, src := oneShot(t, c.size)
		b := replay.New(req, c.limit)
		first := b.First()
		require.Equal(t, c.size, read(t, first))
		require.True(t, b.Sent())
		second, ok := b.Second()
		require.Equal(t, c.kept, ok, "%d of %d", c.size, c.limit)
		if ok {
			require.Equal(t, c.size, read(t, second))
			_, err := first.Read(make([]byte, 1))
			require.Error(t, err)
			require.NotErrorIs(t, err, io.EOF, "a send that lost its body must not look whole")
			require.NoError(t, second.Close())
		}
		require.NoError(t, first.Close())
		require.Equal(t, 1, src.closes)
	}
}

// An unread body goes to the second send at any size.
func TestBodyUnreadIsSentAtAnySize(t *testing.T) {
	req, src := oneShot(t, 1<<20)
	b := replay.New(req, -1)
	require.False(t, b.Sent())
	require.NoError(t, b.First().Close())
	second, ok := b.Second()
	require.True(t, ok)
	require.Equal(t, 1<<20, read(t, second))
	require.Zero(t, src.closes)
	require.NoError(t, second.Close())
	require.NoError(t, second.Close())
	require.Equal(t, 1, src.closes)
}

// Freeze stops the first send; Settle lets it go on to the end.
func TestFreezeHoldsTheFirstSendUntilSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		req, src := oneShot(t, 100)
		b := replay.New(req, 0)
		b.Freeze()
		n := -1
		go func() { n = read(t, b.First()); _ = b.First().Close() }()
		synctest.Wait()
		require.Equal(t, -1, n, "read while frozen")
		b.Settle()
		synctest.Wait()
		require.Equal(t, 100, n)
		require.Equal(t, 1, src.closes)
	})
}

func TestBodyWithGetBody(t *testing.T) {
	req, src := oneShot(t, 3)
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("again")), nil }
	b := replay.New(req, -1)
	require.False(t, b.Sent())
	_, err := b.First().Read(make([]byte, 1))
	require.NoError(t, err)
	require.False(t, b.Sent(), "a part of it is not all")
	require.Equal(t, 2, read(t, b.First()))
	require.True(t, b.Sent())
	second, ok := b.Second()
	require.True(t, ok)
	require.Equal(t, 5, read(t, second))
	require.NoError(t, b.First().Close())
	require.NoError(t, b.First().Close())
	require.Equal(t, 1, src.closes)
	req.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
	_, ok = replay.New(req, 0).Second()
	require.False(t, ok)
}

// Only readers in memory, which a connection takes whole, count as sent from the
// start; the body then stays as it is, for net/http knows it.
func TestSmallBodiesInMemoryStayAsTheyAre(t *testing.T) {
	for _, c := range []struct {
		body io.Reader
		raw  bool
	}{
		{strings.NewReader("hello"), true},
		{bytes.NewReader([]byte("hello")), true},
		{bytes.NewBufferString("hello"), true},
		{strings.NewReader(strings.Repeat("x", 16<<10+1)), false},
		{io.NopCloser(io.MultiReader(strings.NewReader("hello"))), false},
	} {
		req, err := http.NewRequest("POST", "https://api.test/", c.body)
		require.NoError(t, err)
		if req.GetBody == nil {
			req.ContentLength = 5
			req.GetBody = func() (io.ReadCloser, error) { return http.NoBody, nil }
		}
		b := replay.New(req, 0)
		require.Equal(t, c.raw, b.Sent())
		require.Equal(t, c.raw, b.First() == req.Body)
	}
	req, _ := http.NewRequest("POST", "https://api.test/", strings.NewReader("hello"))
	req.Header.Set("Expect", "100-continue")
	require.False(t, replay.New(req, 0).Sent(), "a body that the server may not want")
}

func TestNoBody(t *testing.T) {
	req, err := http.NewRequest("GET", "https://api.test/", nil)
	require.NoError(t, err)
	b := replay.New(req, 0)
	require.Nil(t, b.First())
	require.True(t, b.Sent())
	b.Freeze()
	second, ok := b.Second()
	require.True(t, ok)
	require.Nil(t, second)
	b.Settle()
}

// What is read is what was there, across the chunks that it is kept in.
func TestBodyIsWholeAcrossChunks(t *testing.T) {
	want := make([]byte, 100_000)
	for i := range want {
		want[i] = byte(i * 7 / 3)
	}
	req, err := http.NewRequest("POST", "https://api.test/", io.MultiReader(strings.NewReader(string(want))))
	require.NoError(t, err)
	b := replay.New(req, 0)
	part, err := io.ReadAll(io.LimitReader(b.First(), 30_001))
	require.NoError(t, err)
	require.Equal(t, want[:30_001], part)
	second, ok := b.Second()
	require.True(t, ok)
	got, err := io.ReadAll(second)
	require.NoError(t, err)
	require.Equal(t, want, got)
}
