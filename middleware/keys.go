package middleware

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/internal/jws"
)

const (
	defaultRefresh = 15 * time.Minute
	minRefresh     = time.Minute // bounds of what Cache-Control may ask for
	maxRefresh     = time.Hour
	maxStale       = 24 * time.Hour // how long a set outlives an issuer that cannot be reached
	fetchTimeout   = 5 * time.Second
	refreshWait    = time.Second // how long a request waits for the refresh of a set that is long overdue
	firstRetry     = 100 * time.Millisecond
	lastRetry      = 10 * time.Second
	limitEvery     = 10 * time.Second // refetches because of unknown kids
	limitBurst     = 5
	maxAbsent      = 256 // unknown kids remembered
	maxTries       = 8   // keys tried for a token without kid
)

var (
	errUnknownKey  = errors.New("no such key")
	errUnavailable = errors.New("key set is not available")
)

// waitError is errUnavailable for as long as wait.
type waitError struct{ wait time.Duration }

func (e *waitError) Error() string { return errUnavailable.Error() + ": the last fetch failed" }
func (e *waitError) Unwrap() error { return errUnavailable }

// keySet holds the keys of one issuer. With fetch nil it never changes.
//
// There is no goroutine but the fetch under way: requests notice that the set
// is due and start one, which runs on its own context and serves everybody who
// waits for it.
type keySet struct {
	fetch  func(context.Context) (fetched, error)
	every  time.Duration // 0: as the answers say
	now    func() time.Time
	logger *slog.Logger
	// observe is told of each fetch, see core.keysFetched.
	observe func(ctx context.Context, began time.Time, err error, inHand bool, n int)

	current atomic.Pointer[snapshot]
	due     atomic.Int64 // Unix ns at which a request has to look closer

	flights atomic.Uint64 // started so far

	mu       sync.Mutex
	flight   *flight
	failures int
	unusable bool      // was logged
	failed   time.Time // first of the failures in a row
	retry    time.Time // no fetch before
	limiter  bucket
	absent   map[string]time.Time // unknown kids and until when they are known to be
}

// fetched is a set as it came, and how long its publisher says it is good for.
type fetched struct {
	keys   []jws.Key
	maxAge time.Duration // 0: unsaid
}

// snapshot is immutable.
type snapshot struct {
	keys       []jws.Key
	fixed      bool   // configured: a key of ID "" serves any kid
	generation uint64 // moves on when a key has gone
	flight     uint64 // the one that brought it
	fetched    time.Time
	due        time.Time
}

func fixedKeys(keys []jws.Key) *keySet {
	s := &keySet{}
	s.current.Store(&snapshot{keys: keys, fixed: true})
	s.due.Store(math.MaxInt64)
	return s
}

// find returns the keys that may verify a token with this header, and the
// generation they are of. offline keeps it from fetching anything. Its errors
// are errUnknownKey, to be believed, and everything else, which means that
// nobody can tell.
func (s *keySet) find(ctx context.Context, t *jws.Token, offline bool) ([]jws.Key, uint64, error) {
	asked := s.flights.Load()
	snap := s.current.Load()
	if !offline {
		var err error
		if snap, err = s.usable(ctx); err != nil {
			return nil, 0, err
		}
	}
	if snap == nil {
		return nil, 0, errUnavailable
	}
	keys, known := snap.match(t)
	if known || s.fetch == nil {
		return keys, snap.generation, nil
	}
	if offline || snap.flight > asked {
		return nil, 0, errUnknownKey
	}
	return s.refetch(ctx, t, asked)
}

// unnamed reports that t and a key that fits it have no kid, so that a bad
// signature may mean a rotation.
func (s *snapshot) unnamed(t *jws.Token) bool {
	return t.KeyID == "" && !s.fixed && slices.ContainsFunc(s.keys, func(k jws.Key) bool { return k.ID == "" && k.Fits(t.Algorithm) })
}

// match selects keys by kid, or by the algorithm alone for a token without
// one. known tells that the header names a key we have, of use or not.
func (s *snapshot) match(t *jws.Token) (keys []jws.Key, known bool) {
	for i := range s.keys {
		k := &s.keys[i]
		if t.KeyID != "" && k.ID != t.KeyID && (k.ID != "" || !s.fixed) {
			continue
		}
		known = true
		switch {
		case !k.Fits(t.Algorithm) || len(keys) == maxTries:
		case keys == nil:
			keys = s.keys[i : i+1 : i+1] // the usual one key needs no copy
		default:
			keys = append(keys, *k)
		}
	}
	return keys, known
}

// fresh reports, at the price of one load, that nothing is to be done.
func (s *keySet) fresh(now time.Time) bool { return now.UnixNano() < s.due.Load() }

// generation changes when a key is removed, so that what it verified can be
// forgotten.
func (s *keySet) generation() uint64 { return s.current.Load().generation }

// ready reports that there is a set that may be used, and otherwise sees to it
// that one is fetched.
func (s *keySet) ready() bool {
	now := s.now()
	if snap := s.current.Load(); snap != nil && now.Sub(snap.fetched) <= maxStale {
		return true
	}
	_, _, _ = s.start(context.Background(), now, false)
	return false
}

// usable returns the set to use now. It waits for the first set and for one
// that has grown too old; a set that is merely due is refreshed behind the
// request's back.
func (s *keySet) usable(ctx context.Context) (*snapshot, error) {
	snap := s.current.Load()
	if s.fetch == nil {
		return snap, nil
	}
	now := s.now()
	if snap != nil && s.fresh(now) {
		return snap, nil
	}
	gone := snap == nil || now.Sub(snap.fetched) > maxStale
	f, healthy, err := s.start(ctx, now, false)
	switch {
	case err != nil && gone:
		return nil, err
	case err != nil:
		return snap, nil
	case gone:
		if err := f.wait(ctx, fetchTimeout); err != nil {
			return nil, err
		}
	case healthy && now.Sub(snap.due) > snap.due.Sub(snap.fetched):
		// Nobody asked for a long time: keys may have been withdrawn since.
		_ = f.wait(ctx, refreshWait-now.Sub(f.began))
	}
	return s.current.Load(), nil
}

// refetch looks for a kid that the set in hand does not have. A flight that
// began before the question, number asked or an earlier one, may have missed
// the key, so that its result is final only if it has it.
func (s *keySet) refetch(ctx context.Context, t *jws.Token, asked uint64) ([]jws.Key, uint64, error) {
	s.mu.Lock()
	absent := t.KeyID != "" && s.now().Before(s.absent[t.KeyID])
	s.mu.Unlock()
	if absent {
		return nil, 0, errUnknownKey
	}
	for {
		f, _, err := s.start(ctx, s.now(), true)
		if err != nil {
			return nil, 0, err
		}
		if err := f.wait(ctx, fetchTimeout); err != nil {
			return nil, 0, err
		}
		snap := s.current.Load()
		if keys, known := snap.match(t); known {
			return keys, snap.generation, nil
		}
		if f.number > asked {
			s.remember(t.KeyID)
			return nil, 0, errUnknownKey
		}
	}
}

func (s *keySet) remember(kid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if len(s.absent) >= maxAbsent {
		clear(s.absent)
	}
	if s.absent == nil {
		s.absent = make(map[string]time.Time)
	}
	s.absent[kid] = now.Add(limitEvery)
}
