// Package tokencachetest proves that a [tokencache.Store] keeps what the
// interface promises:
//
//	func TestStore(t *testing.T) {
//		tokencachetest.Run(t, func(t *testing.T) tokencache.Store { return open(t) })
//	}
//
// It tests with real time, in milliseconds, and needs no empty Store: its keys
// are drawn at random.
package tokencachetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
)

// Run tests the Stores that open returns, one for each check; they may be the
// same. A Store that is a [tokencache.Locker] or a [tokencache.Watcher] is
// tested as such.
func Run(t *testing.T, open func(t *testing.T) tokencache.Store) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := c.run(ctx, open(t)); errors.Is(err, errMissing) {
				t.Log(err)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

const (
	patience = 20 * time.Second
	long     = time.Minute
	short    = 50 * time.Millisecond
)

// errMissing is the outcome of a check of something optional.
var errMissing = errors.New("the Store does not have this capability")

var checks = []struct {
	name string
	run  func(context.Context, tokencache.Store) error
}{
	{"Values", checkValues},
	{"Revisions", checkRevisions},
	{"AnyKeyAndValue", checkBytes},
	{"Expiry", checkExpiry},
	{"CASIsLinearizable", checkLinearizable},
	{"LostReply", checkLostReply},
	{"Context", checkContext},
	{"Lease", checkLease},
	{"LeaseOfNonOwner", checkNonOwner},
	{"FenceRises", checkFence},
	{"OneHolder", checkOneHolder},
	{"Watch", checkWatch},
}

func newKey() string { return "test " + rand.Text() }

func checkValues(ctx context.Context, s tokencache.Store) error {
	key := newKey()
	if val, rev, err := s.Load(ctx, key); err != nil || rev != 0 || len(val) != 0 {
		return fmt.Errorf("store: Load of an absent key: %q, revision %d, %v", val, rev, err)
	}
	if err := s.Delete(ctx, key); err != nil {
		return fmt.Errorf("store: Delete of an absent key: %w", err)
	}
	val := []byte("one")
	if ok, err := s.CAS(ctx, key, 0, val, long); err != nil || !ok {
		return fmt.Errorf("store: CAS of an absent key: %v, %v", ok, err)
	}
	val[0] = 'X' // the Store must not keep the caller's slice
	got, rev, err := s.Load(ctx, key)
	if err != nil || string(got) != "one" || rev != 1 {
		return fmt.Errorf("store: Load after the first CAS: %q, revision %d, %v; want \"one\", 1", got, rev, err)
	}
	if len(got) > 0 {
		got[0] = 'X'
	}
	if again, _, _ := s.Load(ctx, key); string(again) != "one" {
		return fmt.Errorf("a loaded value is shared with its caller: %q", again)
	}
	if err := s.Delete(ctx, key); err != nil {
		return fmt.Errorf("store: Delete: %w", err)
	}
	if val, rev, err := s.Load(ctx, key); err != nil || rev != 0 || len(val) != 0 {
		return fmt.Errorf("store: Load after Delete: %q, revision %d, %v", val, rev, err)
	}
	return nil
}

func checkRevisions(ctx context.Context, s tokencache.Store) error {
	key := newKey()
	for rev := range uint64(5) {
		for _, wrong := range []uint64{rev + 1, rev - 1, rev + 1<<60} {
			if wrong == rev {
				continue
			}
			if ok, err := s.CAS(ctx, key, wrong, []byte("wrong"), long); err != nil || ok {
				return fmt.Errorf("store: CAS over revision %d of a key at revision %d: %v, %v", wrong, rev, ok, err)
			}
		}
		want := fmt.Sprint("value ", rev)
		if ok, err := s.CAS(ctx, key, rev, []byte(want), long); err != nil || !ok {
			return fmt.Errorf("store: CAS over revision %d: %v, %v", rev, ok, err)
		}
		if val, got, err := s.Load(ctx, key); err != nil || got != rev+1 || string(val) != want {
			return fmt.Errorf("store: Load: %q, revision %d, %v; want %q, %d", val, got, err, want, rev+1)
		}
	}
	return nil
}

func checkBytes(ctx context.Context, s tokencache.Store) error {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, c := range []struct {
		what, key string
		val       []byte
	}{
		{"an empty value", "", nil},
		{"all bytes", "", all},
		{"64 KiB", "", bytes.Repeat(all, 256)},
		{"braces, blanks and line ends in the key", "}{ \r\n{}%7D:v", []byte("x")},
		{"all bytes in the key", string(all), []byte("x")},
	} {
		key := newKey() + c.key
		if ok, err := s.CAS(ctx, key, 0, c.val, long); err != nil || !ok {
			return fmt.Errorf("%s: CAS: %v, %v", c.what, ok, err)
		}
		if val, rev, err := s.Load(ctx, key); err != nil || rev != 1 || !bytes.Equal(val, c.val) {
			return fmt.Errorf("%s: Load: %d bytes, revision %d, %v", c.what, len(val), rev, err)
		}
		if other, rev, err := s.Load(ctx, key+" "); err != nil || rev != 0 {
			return fmt.Errorf("%s: another key has the value too: %d bytes, %v", c.what, len(other), err)
		}
	}
	return nil
}

func checkExpiry(ctx context.Context, s tokencache.Store) error {
	key := newKey()
	if ok, err := s.CAS(ctx, key, 0, []byte("brief"), short); err != nil || !ok {
		return fmt.Errorf("store: CAS: %v, %v", ok, err)
	}
	if err := eventually(ctx, func() (bool, error) {
		_, rev, err := s.Load(ctx, key)
		return rev == 0, err
	}); err != nil {
		return fmt.Errorf("a value outlives its ttl of %v: %w", short, err)
	}
	// A write takes its own ttl, not what was left of the last.
	if ok, err := s.CAS(ctx, key, 0, []byte("brief"), short); err != nil || !ok {
		return fmt.Errorf("store: CAS of an expired key: %v, %v", ok, err)
	}
	if ok, err := s.CAS(ctx, key, 1, []byte("long"), long); err != nil || !ok {
		return nil // the machine was too slow for this part
	}
	time.Sleep(2 * short)
	if val, rev, err := s.Load(ctx, key); err != nil || rev != 2 {
		return fmt.Errorf("a value did not live for its ttl: %q, revision %d, %v", val, rev, err)
	}
	return nil
}

// checkLinearizable has writers count up one value: no count may be lost.
func checkLinearizable(ctx context.Context, s tokencache.Store) error {
	const writers, each = 8, 25
	key := newKey()
	var wg sync.WaitGroup
	errs := make(chan error, writers)
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				val, rev, err := s.Load(ctx, key)
				if err == nil {
					var n int
					_, _ = fmt.Sscan(string(val), &n)
					if uint64(n) != rev {
						err = fmt.Errorf("revision %d holds %q", rev, val)
					}
				}
				var ok bool
				if err == nil {
					ok, err = s.CAS(ctx, key, rev, fmt.Append(nil, rev+1), long)
				}
				if err != nil {
					errs <- err
					return
				}
				if ok {
					done++
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	if err := <-errs; err != nil {
		return err
	}
	if val, rev, err := s.Load(ctx, key); err != nil || rev != writers*each || string(val) != fmt.Sprint(writers*each) {
		return fmt.Errorf("%d writes came to %q, revision %d, %v", writers*each, val, rev, err)
	}
	return nil
}

// checkLostReply repeats a write as one whose reply was lost would: it must not
// happen twice, and reading back must show that it happened.
func checkLostReply(ctx context.Context, s tokencache.Store) error {
	key := newKey()
	if ok, err := s.CAS(ctx, key, 0, []byte("nonce"), long); err != nil || !ok {
		return fmt.Errorf("store: CAS: %v, %v", ok, err)
	}
	if ok, err := s.CAS(ctx, key, 0, []byte("nonce"), long); err != nil || ok {
		return fmt.Errorf("the same CAS again: %v, %v", ok, err)
	}
	if val, rev, err := s.Load(ctx, key); err != nil || rev != 1 || string(val) != "nonce" {
		return fmt.Errorf("reading back: %q, revision %d, %v", val, rev, err)
	}
	return nil
}

func checkContext(ctx context.Context, s tokencache.Store) error {
	over, cancel := context.WithCancel(ctx)
	cancel()
	key := newKey()
	if _, _, err := s.Load(over, key); err == nil {
		return errors.New("store: Load ignores a context that is over")
	}
	if _, err := s.CAS(over, key, 0, nil, long); err == nil {
		return errors.New("store: CAS ignores a context that is over")
	}
	if err := s.Delete(over, key); err == nil {
		return errors.New("store: Delete ignores a context that is over")
	}
	return nil
}

func eventually(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// holders counts those who are inside a lease at once.
type holders struct{ now, most atomic.Int64 }

func (h *holders) enter() {
	n := h.now.Add(1)
	for m := h.most.Load(); n > m && !h.most.CompareAndSwap(m, n); m = h.most.Load() {
	}
}
