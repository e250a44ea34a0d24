package redisstore_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokencache/internal/soaktest"
	"github.com/bearerkit/bearerkit/tokencache/redisstore"
)

func watchKey(t *testing.T, s *redisstore.Store, ctx context.Context, key string) <-chan struct{} {
	t.Helper()
	ch, err := s.Watch(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func signal(t *testing.T, ch <-chan struct{}, what string) {
	t.Helper()
	select {
	case _, ok := <-ch:
		if !ok {
			t.Fatal("the watch has ended:", what)
		}
	case <-time.After(time.Minute):
		t.Fatal("no signal:", what)
	}
}

// Whoever watched over a lost connection is woken when it is back: what was
// changed meanwhile told nobody.
func TestReconnectWakesEverybody(t *testing.T) {
	t.Parallel()
	server := serve(t)
	s := open(t, server.url(), redisstore.Options{})
	a, b := watchKey(t, s, t.Context(), "a"), watchKey(t, s, t.Context(), "b")
	signal(t, a, "subscribed")
	signal(t, b, "subscribed")
	server.do("CLIENT", "KILL", "TYPE", "pubsub")
	signal(t, a, "connection killed")
	signal(t, b, "connection killed")
	server.kill()
	server.start()
	signal(t, a, "server restarted")
	signal(t, b, "server restarted")
	if rev, err := s.CAS(t.Context(), "a", 0, nil, time.Minute); err != nil || rev == 0 {
		t.Fatal(rev, err)
	}
	signal(t, a, "changed")
}

func TestWatchWithoutServer(t *testing.T) {
	t.Parallel()
	server := serve(t)
	server.kill()
	s := open(t, server.url(), redisstore.Options{})
	begun := time.Now()
	ch := watchKey(t, s, t.Context(), "k")
	if took := time.Since(begun); took > 20*time.Second {
		t.Error("Watch waited for the server:", took)
	}
	server.start()
	signal(t, ch, "server started")
}

// Subscriptions end with their watches: a process watches many keys in its life.
func TestSubscriptionsEnd(t *testing.T) {
	t.Parallel()
	server := serve(t)
	s := open(t, server.url(), redisstore.Options{})
	admin := server.admin()
	subscribed := func() int {
		names, err := admin.PubSubChannels(t.Context(), "*").Result()
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	ctx, cancel := context.WithCancel(t.Context())
	for _, key := range strings.Split("a b c d e a b", " ") {
		signal(t, watchKey(t, s, ctx, key), "subscribed")
		if key == "e" {
			break
		}
	}
	other := watchKey(t, s, t.Context(), "a")
	if n := subscribed(); n != 5 {
		t.Error(n, "subscriptions, want 5")
	}
	cancel()
	soaktest.Eventually(t, "subscriptions to end", func() bool { return subscribed() == 1 })
	if rev, err := s.CAS(t.Context(), "a", 0, nil, time.Minute); err != nil || rev == 0 {
		t.Fatal(rev, err)
	}
	signal(t, other, "the last watch of a key that had two")
}

func TestCloseEndsWatches(t *testing.T) {
	t.Parallel()
	s := open(t, serve(t).url(), redisstore.Options{})
	ch := watchKey(t, s, t.Context(), "k")
	signal(t, ch, "subscribed")
	for range 2 {
		if err := s.Close(); err != nil && !strings.Contains(err.Error(), "closed") {
			t.Error(err)
		}
	}
	for range ch { // a signal may have been waiting
	}
	if _, err := s.Watch(t.Context(), "k"); err == nil {
		t.Error("Watch after Close")
	}
	if _, _, err := s.Load(t.Context(), "k"); err == nil {
		t.Error("Load after Close")
	}
}
