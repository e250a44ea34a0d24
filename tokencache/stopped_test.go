package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// A sign-out elsewhere does not wait for a process that is stopped. When such a
// process continues, it serves no token from memory before it has looked at the
// notices, although its Store is slow. A process without its Store serves on.
func TestAReplicaThatWasStoppedLooksAtTheNoticesFirst(t *testing.T) {
	for name, get := range map[string]func(t *testing.T, h *tokencache.HandedOut, s *tokencache.Source, old string) string{
		"Source.Token": func(t *testing.T, _ *tokencache.HandedOut, s *tokencache.Source, _ string) string {
			return must(t)(s.Token(t.Context())).AccessToken
		},
		"Cache.Generate": func(t *testing.T, h *tokencache.HandedOut, _ *tokencache.Source, _ string) string {
			return must(t)(h.Cache.Generate(t.Context(), alice)).AccessToken
		},
		"HandedOut.Generate": func(t *testing.T, h *tokencache.HandedOut, _ *tokencache.Source, _ string) string {
			return must(t)(h.Generate(t.Context(), alice)).AccessToken
		},
		"HandedOut.Grant": func(t *testing.T, h *tokencache.HandedOut, _ *tokencache.Source, old string) string {
			return show(t, h, old)
		},
	} {
		for _, reachable := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, Store reachable %t", name, reachable), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { afterAStop(t, reachable, get) })
			})
		}
	}
}

func afterAStop(t *testing.T, reachable bool, get func(*testing.T, *tokencache.HandedOut, *tokencache.Source, string) string) {
	v, store := newVendor(), newHistory()
	v.mode = providers.Shared
	a := cluster(t, 1, v, tokencache.Options{Store: store})[0]
	slow := &stoppable{deafStore: deafStore{history: store}}
	resume := slow.stop()
	resume()
	b, err := tokencache.NewHandedOut(open(t, v, tokencache.Options{Store: slow, Namespace: "test", Now: func() time.Time {
		slow.wait() // each part of b reads the clock
		return time.Now()
	}}), 0)
	require.NoError(t, err)
	old := must(t)(a.Generate(t.Context(), alice)).AccessToken
	source := b.Source(alice)
	require.Equal(t, old, must(t)(source.Token(t.Context())).AccessToken)
	require.Equal(t, old, must(t)(b.Generate(t.Context(), alice)).AccessToken)
	time.Sleep(10 * time.Second)
	for signed := slow.receipts.Load(); slow.receipts.Load() == signed; {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(500 * time.Millisecond) // between two looks

	resume = slow.stop()
	require.NoError(t, a.Purge(t.Context(), alice))
	time.Sleep(time.Second)
	if !reachable {
		slow.die()
	}
	resume()
	begun := time.Now()
	got := get(t, b, source, old)
	assert.LessOrEqual(t, time.Since(begun), 2*time.Second)
	assert.Equal(t, reachable, got != old)
}

// The same if the process is stopped while it looks, and that look fails.
func TestAReplicaThatWasStoppedWhileItLookedLooksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		v.mode = providers.Shared
		a := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		slow := &stoppable{deafStore: deafStore{history: store}}
		slow.stop()()
		b := open(t, v, tokencache.Options{Store: slow, Namespace: "test", StoreTimeout: time.Minute})
		source := b.Source(alice)
		old := must(t)(source.Token(t.Context()))
		time.Sleep(10 * time.Second)
		for looks := slow.looks.Load(); slow.looks.Load() == looks; {
			time.Sleep(10 * time.Millisecond)
		}
		slow.fails.Store(2) // the read and its second try
		resume := slow.stop()
		require.NoError(t, a.Purge(t.Context(), alice))
		resume()
		time.Sleep(150 * time.Millisecond) // the look has failed
		assert.NotEqual(t, old.AccessToken, must(t)(source.Token(t.Context())).AccessToken)
	})
}

// A replica that can read the notices and cannot write its receipt is waited for
// no longer. It reads them for each caller.
func TestAReplicaThatCannotWriteAReceiptReadsTheNoticesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, store := newVendor(), newHistory()
		v.mode = providers.Shared
		a := cluster(t, 1, v, tokencache.Options{Store: store})[0]
		mute := &stoppable{deafStore: deafStore{history: store}}
		mute.stop()()
		source := open(t, v, tokencache.Options{Store: mute, Namespace: "test"}).Source(alice)
		old := must(t)(source.Token(t.Context()))
		time.Sleep(time.Second)
		mute.mute.Store(true)
		for range 100 {
			begun := time.Now()
			require.Equal(t, old.AccessToken, must(t)(source.Token(t.Context())).AccessToken)
			require.LessOrEqual(t, time.Since(begun), 300*time.Millisecond)
			time.Sleep(100 * time.Millisecond)
		}
		require.NoError(t, a.Purge(t.Context(), alice))
		assert.NotEqual(t, old.AccessToken, must(t)(source.Token(t.Context())).AccessToken)
	})
}

// A Store that no longer answers delays no caller whose token is in memory.
func TestAStoreThatHangsDelaysNoHit(t *testing.T) {
	for _, timeout := range []time.Duration{0, time.Second} { // 0 means the default
		synctest.Test(t, func(t *testing.T) {
			v := newVendor()
			store := &stoppable{deafStore: deafStore{history: newHistory()}}
			store.stop()()
			c := open(t, v, tokencache.Options{Store: store, Namespace: "test", StoreTimeout: timeout})
			source := c.Source(alice)
			must(t)(source.Token(t.Context()))
			time.Sleep(10 * time.Second)
			defer store.stop()()
			for range 600 {
				begun := time.Now()
				must(t)(source.Token(t.Context()))
				require.Zero(t, time.Since(begun), "%v", timeout)
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
}

// If the limit of one call is longer than the cache waits for a look, one caller
// in a while waits, and no longer than a second.
func TestAStoreThatHangsForLongDelaysFewHits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &stoppable{deafStore: deafStore{history: newHistory()}}
		store.stop()()
		c := open(t, newVendor(), tokencache.Options{Store: store, Namespace: "test", StoreTimeout: 20 * time.Second})
		source := c.Source(alice)
		must(t)(source.Token(t.Context()))
		time.Sleep(10 * time.Second)
		defer store.stop()()
		waited := 0
		for range 600 {
			begun := time.Now()
			must(t)(source.Token(t.Context()))
			if took := time.Since(begun); took > 0 {
				waited++
				require.LessOrEqual(t, took, time.Second)
			}
			time.Sleep(100 * time.Millisecond)
		}
		assert.LessOrEqual(t, waited, 11, "once in six seconds")
	})
}

// stoppable is the Store of a replica whose process can be stopped. Its reads
// take a tenth of a second.
type stoppable struct {
	deafStore
	running  atomic.Pointer[chan struct{}] // closed while the process runs
	receipts atomic.Int64                  // written
	looks    atomic.Int64                  // begun, at the notices
	fails    atomic.Int64                  // looks to come that fail
	mute     atomic.Bool                   // no receipt can be written
}

// stop stops the process until resume is called.
func (s *stoppable) stop() (resume func()) {
	running := make(chan struct{})
	s.running.Store(&running)
	return func() { close(running) }
}

// wait returns when the process runs.
func (s *stoppable) wait() { <-*s.running.Load() }

func (s *stoppable) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	notices := strings.HasPrefix(key, "n")
	if notices {
		s.looks.Add(1)
	}
	if err := pause(ctx, 100*time.Millisecond); err != nil {
		return nil, 0, err
	}
	s.wait()
	if notices && s.fails.Add(-1) >= 0 {
		return nil, 0, errors.New("connection reset")
	}
	return s.deafStore.Load(ctx, key)
}

func (s *stoppable) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (uint64, error) {
	s.wait()
	if s.mute.Load() && strings.HasPrefix(key, "m") {
		return 0, errors.New("READONLY")
	}
	next, err := s.deafStore.CAS(ctx, key, rev, val, ttl)
	if next != 0 && strings.HasPrefix(key, "m") {
		s.receipts.Add(1)
	}
	return next, err
}
