package redisstore_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/internal/soaktest"
	"github.com/bearerkit/bearerkit/tokencache/redisstore"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lose cuts the link to the only replica and waits until the master knows.
func (s replicated) lose(t *testing.T) {
	t.Helper()
	s.link.Lead("")
	soaktest.Eventually(t, "the master to see its replica go", func() bool {
		return field(s.master.admin().Info(t.Context(), "replication").Val(), "connected_slaves") == "0"
	})
}

// A refused CAS writes nothing. It does not tell that the replicas have what it
// was refused for.
func TestARefusedWriteDoesNotMakeAnEarlierOneDone(t *testing.T) {
	t.Parallel()
	s := newReplicated(t)
	store := open(t, s.master.url(), redisstore.Options{Replicas: 1})
	rev, err := store.CAS(t.Context(), "k", 0, []byte("v"), time.Minute)
	require.NoError(t, err)
	s.lose(t)
	_, err = store.CAS(t.Context(), "k", rev, []byte("w"), time.Minute)
	require.ErrorContains(t, err, "0 of 1 replicas have the write")
	next, err := store.CAS(t.Context(), "k", rev, []byte("x"), time.Minute)
	require.NoError(t, err)
	require.Zero(t, next, "the key has the revision of the write without replicas")
	_, _, err = store.Load(t.Context(), "k")
	require.ErrorContains(t, err, "0 of 1 replicas have the write")
}

// While the replicas are missing, no refresh token is spent: its successor
// could not be kept safely.
func TestNoRefreshTokenIsSpentWithoutReplicas(t *testing.T) {
	t.Parallel()
	s := newReplicated(t)
	var spent atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := spent.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": fmt.Sprint("access-", n), "token_type": "Bearer", "expires_in": 3600, "refresh_token": fmt.Sprint("refresh-", n),
		})
	}))
	t.Cleanup(upstream.Close)
	p, err := oauth.New(oauth.Config{TokenURL: upstream.URL, ClientID: "a", Secret: "b", Grant: "refresh_token"})
	require.NoError(t, err)
	cache, err := tokencache.New(p, tokencache.Options{
		Store: open(t, s.master.url(), redisstore.Options{Replicas: 1}), Namespace: "n", StoreTimeout: time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = cache.Close(context.Background()) })
	req := providers.Request{Subject: "ada"}
	soaktest.Eventually(t, "Adopt", func() bool {
		return cache.Adopt(t.Context(), req, providers.Token{RefreshToken: "refresh-0"}) == nil
	})
	source := cache.Source(req)
	first, err := source.Token(t.Context())
	require.NoError(t, err)
	calls := spent.Load()

	s.lose(t)
	_, err = source.Renew(t.Context(), first)
	require.Error(t, err)
	assert.Equal(t, calls, spent.Load(), "calls of the token endpoint")
}

// held is a redis.Hook that stops the next call of one kind: before it is sent,
// until send is closed, and after its answer, until tell is closed.
type held struct {
	redis.Hook
	next           atomic.Pointer[string] // the first word of the command
	sending        chan struct{}
	send, answered chan struct{}
	tell           chan struct{}
}

// hold stops the next call that begins with command.
func hold(client *redis.Client, command string) *held {
	h := &held{sending: make(chan struct{}), send: make(chan struct{}), answered: make(chan struct{}), tell: make(chan struct{})}
	h.next.Store(&command)
	client.AddHook(h)
	return h
}

func (h *held) around(cmd redis.Cmder, do func() error) error {
	if name := h.next.Load(); name == nil || cmd.Name() != *name || !h.next.CompareAndSwap(name, nil) {
		return do()
	}
	close(h.sending)
	<-h.send
	err := do()
	close(h.answered)
	<-h.tell
	return err
}

func (h *held) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *held) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return h.around(cmd, func() error { return next(ctx, cmd) })
	}
}

func (h *held) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return h.around(cmds[0], func() error { return next(ctx, cmds) })
	}
}

// Calls of one key overlap. The success of one says nothing of a write that the
// server got later.
func TestOneCallDoesNotMakeAnothersWriteDone(t *testing.T) {
	t.Parallel()
	const missing = "0 of 1 replicas have the write"
	prepare := func(t *testing.T) (replicated, *redis.Client, *redisstore.Store, uint64) {
		t.Parallel()
		s := newReplicated(t)
		client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + s.master.port, ContextTimeoutEnabled: true, MaxRetries: -1})
		t.Cleanup(func() { _ = client.Close() })
		store, err := redisstore.New(client, redisstore.Options{Replicas: 1})
		require.NoError(t, err)
		t.Cleanup(func() { _ = store.Close() })
		rev, err := store.CAS(t.Context(), "k", 0, []byte("v"), time.Minute)
		require.NoError(t, err)
		return s, client, store, rev
	}

	t.Run("a success that is told after a failure", func(t *testing.T) {
		s, client, store, rev := prepare(t)
		h := hold(client, "evalsha")
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := store.CAS(t.Context(), "k", rev, []byte("early"), time.Minute)
			assert.NoError(t, err)
		})
		close(h.send)
		<-h.answered
		_, rev, err := store.Load(t.Context(), "k")
		assert.NoError(t, err)
		s.lose(t)
		_, err = store.CAS(t.Context(), "k", rev, []byte("late"), time.Minute)
		assert.ErrorContains(t, err, missing)
		close(h.tell)
		wg.Wait()
		_, _, err = store.Load(t.Context(), "k")
		require.ErrorContains(t, err, missing)
	})

	t.Run("a success while another write is under way", func(t *testing.T) {
		s, client, store, rev := prepare(t)
		h := hold(client, "evalsha")
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := store.CAS(t.Context(), "k", rev, []byte("late"), time.Minute)
			assert.ErrorContains(t, err, missing)
		})
		<-h.sending
		next, err := store.CAS(t.Context(), "k", 12345, []byte("refused"), time.Minute)
		assert.NoError(t, err)
		assert.Zero(t, next)
		s.lose(t)
		close(h.send)
		<-h.answered
		_, _, err = store.Load(t.Context(), "k")
		assert.ErrorContains(t, err, missing)
		close(h.tell)
		wg.Wait()
	})

	t.Run("a write that comes between a Load's checks and its reading", func(t *testing.T) {
		s, client, store, rev := prepare(t)
		h := hold(client, "get")
		var wg sync.WaitGroup
		wg.Go(func() {
			val, _, err := store.Load(t.Context(), "k")
			assert.ErrorContains(t, err, missing, "%s", val)
		})
		<-h.sending
		s.lose(t)
		_, err := store.CAS(t.Context(), "k", rev, []byte("late"), time.Minute)
		assert.ErrorContains(t, err, missing)
		close(h.send)
		close(h.tell)
		wg.Wait()
	})
}
