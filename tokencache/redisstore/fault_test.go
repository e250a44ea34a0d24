package redisstore_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokencache/internal/soaktest"
	"github.com/bearerkit/bearerkit/tokencache/redisstore"
	"github.com/redis/go-redis/v9"
)

// A client that repeats a command whose reply was lost finds that the first
// one has done the work.
func TestRepeatedCAS(t *testing.T) {
	t.Parallel()
	p := soaktest.NewProxy(t, "127.0.0.1:"+serve(t).port)
	client := redis.NewClient(&redis.Options{Addr: p.Addr().String(), ContextTimeoutEnabled: true, MaxRetries: 3})
	t.Cleanup(func() { _ = client.Close() })
	s, err := redisstore.New(client, redisstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rev := uint64(0)
	for i := range 5 {
		if i > 0 { // the first one loads the script
			p.Swallow("evalsha")
		}
		next, err := s.CAS(t.Context(), "k", rev, []byte("v"), time.Minute)
		if err != nil || next == 0 {
			t.Fatalf("write %d: %d, %v", i, next, err)
		}
		rev = next
		if !p.Swallowed() {
			t.Fatal("no reply was lost")
		}
	}
	if _, at, err := s.Load(t.Context(), "k"); err != nil || at != rev {
		t.Error("revision", at, "want", rev, err)
	}
}

// Open itself repeats nothing: an error says that the outcome is unknown.
func TestLostReplyIsAnError(t *testing.T) {
	t.Parallel()
	p := soaktest.NewProxy(t, "127.0.0.1:"+serve(t).port)
	s := open(t, via(p), redisstore.Options{})
	first, err := s.CAS(t.Context(), "k", 0, []byte("v"), time.Minute)
	if err != nil || first == 0 {
		t.Fatal(first, err)
	}
	p.Swallow("evalsha")
	if next, err := s.CAS(t.Context(), "k", first, []byte("w"), time.Minute); err == nil {
		t.Fatal("no error:", next)
	}
	if val, rev, err := s.Load(t.Context(), "k"); err != nil || rev == 0 || rev == first || string(val) != "w" {
		t.Errorf("reading back: %q, %d, %v", val, rev, err)
	}
}

func TestUsableWhenTheServerIs(t *testing.T) {
	t.Parallel()
	server := serve(t)
	server.kill()
	s := open(t, server.url(), redisstore.Options{})
	begun := time.Now()
	_, _, err := s.Load(t.Context(), "k")
	if err == nil || !strings.Contains(err.Error(), "refused") || time.Since(begun) > 20*time.Second {
		t.Errorf("after %v: %v", time.Since(begun), err)
	}
	server.start()
	soaktest.Eventually(t, "the store to come back", func() bool {
		_, _, err := s.Load(t.Context(), "k")
		return err == nil
	})
}

// A server that accepts and says nothing holds nobody beyond their context.
func TestFrozenServer(t *testing.T) {
	t.Parallel()
	server := serve(t)
	s := open(t, server.url()+"&read_timeout=5m&write_timeout=5m", redisstore.Options{})
	if _, _, err := s.Load(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if err := soaktest.Freeze(server.cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		begun := time.Now()
		_, err := s.CAS(ctx, "k", 0, nil, time.Minute)
		if took := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || took > time.Minute {
			t.Errorf("after %v: %v", took, err)
		}
		cancel()
	}
	soaktest.Thaw(server.cmd.Process.Pid)
	soaktest.Eventually(t, "the store to come back", func() bool {
		_, _, err := s.Load(t.Context(), "k")
		return err == nil
	})
}

// Fences rise over a restart that lost everything, and scripts are sent again.
func TestRestartedEmpty(t *testing.T) {
	t.Parallel()
	server := serve(t)
	s := open(t, server.url(), redisstore.Options{})
	last := uint64(0)
	for range 3 {
		for range 3 {
			var fence uint64
			soaktest.Eventually(t, "a lease", func() bool {
				var err error
				fence, err = s.Lock(t.Context(), "k", "me", time.Minute)
				return err == nil && fence != 0
			})
			if fence <= last {
				t.Fatalf("fence %d after %d", fence, last)
			}
			last = fence
		}
		server.kill()
		server.start()
	}
}

// A server quotes a call that it does not know, here to the value.
func TestServersQuotes(t *testing.T) {
	t.Parallel()
	server := serve(t, "--rename-command", "EVALSHA", "", "--rename-command", "GET", "")
	s := open(t, server.url(), redisstore.Options{})
	_, err1 := s.CAS(t.Context(), "canary", 0, []byte("canary"), time.Minute)
	_, _, err2 := s.Load(t.Context(), "canary")
	for _, err := range []error{err1, err2} {
		if err == nil || strings.Contains(err.Error(), "canary") || !strings.HasSuffix(err.Error(), "the server answered ERR") {
			t.Error(err)
		}
	}
}

func TestForeignValues(t *testing.T) {
	t.Parallel()
	server := serve(t)
	s := open(t, server.url(), redisstore.Options{})
	server.do("SET", "bearerkit:{short}", "x")
	server.do("SET", "bearerkit:{zero}", strings.Repeat("\x00", 40))
	server.do("LPUSH", "bearerkit:{list}", "canary")
	for _, key := range []string{"short", "zero", "list"} {
		if val, rev, err := s.Load(t.Context(), key); err == nil {
			t.Errorf("%s: %q, %d", key, val, rev)
		} else if strings.Contains(err.Error(), "canary") {
			t.Error(err)
		}
	}
	for _, ttl := range []time.Duration{0, -1} {
		if _, err := s.CAS(t.Context(), "k", 0, nil, ttl); err == nil {
			t.Error("CAS with a ttl of", ttl)
		}
		if _, err := s.Lock(t.Context(), "k", "a", ttl); err == nil {
			t.Error("Lock with a ttl of", ttl)
		}
		if _, err := s.Extend(t.Context(), "k", "a", ttl); err == nil {
			t.Error("Extend with a ttl of", ttl)
		}
	}
}

// A server whose clock is set back by an hour blocks a lease that its holder
// has left for one more ttl, not for the hour.
func TestServersClockSetBack(t *testing.T) {
	t.Parallel()
	server := serve(t)
	s, admin := open(t, server.url(), redisstore.Options{}), server.admin()
	first, err := s.Lock(t.Context(), "k", "dead", 300*time.Millisecond)
	if err != nil || first == 0 {
		t.Fatal(first, err)
	}
	for _, field := range []string{"at", "until", "fence"} { // all the server's times lie an hour ahead of its clock now
		if err := admin.HIncrBy(t.Context(), "bearerkit:{k}:lease", field, time.Hour.Microseconds()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	var second uint64
	soaktest.Eventually(t, "the lease", func() bool {
		second, err = s.Lock(t.Context(), "k", "next", time.Minute)
		return err == nil && second != 0
	})
	if took := time.Since(begun); took < 250*time.Millisecond {
		t.Errorf("the lease was given after %v, want its ttl of 300ms", took)
	}
	if second <= first+uint64(time.Hour.Microseconds()) {
		t.Errorf("fence %d after %d", second, first)
	}
}

// A holder at work keeps its lease when the server's clock is set back.
func TestServersClockSetBackUnderAHolder(t *testing.T) {
	t.Parallel()
	server := serve(t)
	s, admin := open(t, server.url(), redisstore.Options{}), server.admin()
	if fence, err := s.Lock(t.Context(), "k", "holder", time.Minute); err != nil || fence == 0 {
		t.Fatal(fence, err)
	}
	for _, field := range []string{"at", "until"} {
		if err := admin.HIncrBy(t.Context(), "bearerkit:{k}:lease", field, time.Hour.Microseconds()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if fence, err := s.Lock(t.Context(), "k", "other", time.Minute); err != nil || fence != 0 {
			t.Fatal("taken from its holder:", fence, err)
		}
		if ok, err := s.Extend(t.Context(), "k", "holder", time.Minute); err != nil || !ok {
			t.Fatal("not extended:", ok, err)
		}
	}
	until, err := admin.HGet(t.Context(), "bearerkit:{k}:lease", "until").Int64()
	if now := admin.Time(t.Context()).Val().UnixMicro(); err != nil || until > now+time.Minute.Microseconds() {
		t.Error("the lease ends", time.Duration(until-now)*time.Microsecond, "from now, want a minute at most", err)
	}
}
