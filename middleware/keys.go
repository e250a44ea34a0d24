package middleware

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/internal/clocks"
	"github.com/bearerkit/bearerkit/internal/flight"
	"github.com/bearerkit/bearerkit/internal/jws"
)

const (
	defaultRefresh = 15 * time.Minute
	minRefresh     = time.Minute // bounds of the time in Cache-Control
	maxRefresh     = time.Hour
	maxStale       = 24 * time.Hour // how long a set is used if its issuer cannot be reached
	fetchTimeout   = 5 * time.Second
	refreshWait    = time.Second // how long a request waits for the refresh of an overdue set
	firstRetry     = 100 * time.Millisecond
	lastRetry      = 10 * time.Second
	limitEvery     = 10 * time.Second // between fetches for unknown kids
	limitBurst     = 5
	maxAbsent      = 256 // unknown kids remembered
	maxTries       = 8   // signature checks of one token
	maxOverdue     = 4   // fetches that ignore their deadline
)

var (
	errUnknownKey  = errors.New("no such key")
	errUnavailable = errors.New("key set is not available")
)

// waitError is the error of the last fetch, until the next one may begin.
type waitError struct {
	wait time.Duration
	last error // wraps errUnavailable
}

func (e *waitError) Error() string { return e.last.Error() + " (the last fetch)" }
func (e *waitError) Unwrap() error { return e.last }

// keySet holds the keys of one entry. If fetch is nil, the keys never change.
//
// The only goroutine is that of the fetch under way. A request notices that the
// set is due and starts a fetch. The fetch has its own context and serves all
// requests that wait for it.
type keySet struct {
	fetch  func(context.Context) (fetched, error)
	algs   []string
	every  time.Duration // 0: as the answer says
	clock  *clocks.Clock
	logger *slog.Logger
	// observe gets the result of each fetch, see core.keysFetched.
	observe func(ctx context.Context, began time.Time, err error, change string, n int)

	current          atomic.Pointer[snapshot]
	dueWall, dueMono atomic.Int64 // when a request must check whether the set is due, on either clock

	fetches atomic.Uint64 // started so far
	overdue atomic.Int32  // fetches that still run after their deadline
	calls   flight.Group[struct{}]

	mu        sync.Mutex
	call      *fetchCall // under way
	failures  int
	last      error          // of the last failure
	unusable  bool           // was logged
	failed    clocks.Instant // the first of the failures in a row
	retry     clocks.Instant // the earliest time of the next fetch
	rotations bucket         // fetches for kids that the set does not have
	unnamed   bucket         // fetches for tokens without kid
	absent    map[string]clocks.Instant
}

// fetched is a set as it came, and how long its publisher allows its use.
type fetched struct {
	keys    []jws.Key
	maxAge  time.Duration // 0: not said
	skipped string        // what to log about keys that cannot be used, also beside an error
}

// snapshot is immutable.
type snapshot struct {
	ring       *jws.Ring
	generation uint64 // changes when a key is removed
	fetch      uint64 // the fetch that returned it
	fetched    clocks.Instant
	interval   time.Duration // to the next refresh
}

func fixedKeys(keys []jws.Key, algs []string) *keySet {
	s := &keySet{}
	s.current.Store(&snapshot{ring: jws.NewRing(keys, algs)})
	s.dueWall.Store(math.MaxInt64)
	s.dueMono.Store(math.MaxInt64)
	return s
}

// search is the search for the key of one token, over all entries that the
// token may belong to.
type search struct {
	token    jws.Token
	iss, tid string
	offline  bool  // neither a first set nor a key that the set does not have is fetched
	named    bool  // a set has the token's kid
	tried    []any // keys whose signature check failed
	left     int   // candidates that were not checked
}

// try checks the signature with candidates. It uses each key once.
func (q *search) try(candidates []jws.Candidate) (jws.Candidate, bool) {
next:
	for _, c := range candidates {
		if !c.For(q.iss, q.tid) {
			continue
		}
		for _, before := range q.tried {
			if samePublic(before, c.Public) {
				continue next
			}
		}
		if len(q.tried) >= maxTries {
			q.left++
			continue
		}
		if q.token.Verify(c.Public) == nil {
			return c, true
		}
		q.tried = append(q.tried, c.Public)
	}
	return jws.Candidate{}, false
}

func samePublic(a, b any) bool {
	return (&jws.Key{Public: a}).Equal(&jws.Key{Public: b})
}

// signature is the error of a search that found no key.
func (q *search) signature(why string) error {
	if q.left > 0 {
		why = fmt.Sprintf("%s; %d more candidates were not tried", why, q.left)
	}
	if len(q.tried) > 1 {
		why = fmt.Sprintf("%s (%d keys tried)", why, len(q.tried))
	}
	return fmt.Errorf("%w: %s", jws.ErrSignature, why)
}

// result is the key that verified a token, and the generation of its set.
type result struct {
	key        jws.Candidate
	generation uint64
}

// verify looks for the key in memory. If another fetch may find the key, seen is
// the set that did not have it, else nil. asked is the number of fetches that
// had begun at that time.
//
// The errors errUnknownKey and jws.ErrSignature are final. Every other error
// means that the answer is not known.
func (s *keySet) verify(ctx context.Context, q *search) (r result, seen *snapshot, asked uint64, err error) {
	asked = s.fetches.Load()
	snap := s.current.Load()
	if !q.offline || snap != nil {
		if snap, err = s.usable(ctx); err != nil {
			return result{}, nil, asked, err
		}
	}
	if snap == nil {
		return result{}, nil, asked, errUnavailable
	}
	candidates, match := snap.ring.Candidates(&q.token)
	if key, ok := q.try(candidates); ok {
		return result{key, snap.generation}, nil, asked, nil
	}
	q.named = q.named || match == jws.Named
	final := q.offline || snap.fetch > asked
	switch {
	case match == jws.Named && len(candidates) == 0:
		return result{}, nil, asked, q.signature("the key of kid " + quoted(q.token.KeyID) + " is not for " + quoted(q.token.Algorithm))
	case match == jws.Named && len(q.tried) == 0:
		return result{}, nil, asked, q.signature("the key of kid " + quoted(q.token.KeyID) + " is another issuer's")
	case match == jws.Named:
		return result{}, nil, asked, q.signature("the key of kid " + quoted(q.token.KeyID) + " does not verify it")
	case s.fetch == nil && match == jws.Hinted:
		return result{}, nil, asked, q.signature("no key has kid " + quoted(q.token.KeyID))
	case s.fetch == nil:
		return result{}, nil, asked, q.signature("no key verifies it")
	case match == jws.Hinted && final:
		return result{}, nil, asked, s.unknown(q)
	case final:
		return result{}, nil, asked, q.signature("no key verifies it")
	}
	return result{}, snap, asked, nil
}

func (s *keySet) unknown(q *search) error {
	err := fmt.Errorf("%w: kid %s", errUnknownKey, quoted(q.token.KeyID))
	if q.left > 0 {
		err = fmt.Errorf("%w; %d more keys without kid were not tried", err, q.left)
	}
	return err
}

// refetch looks for the key of a token that the set seen does not have. asked
// is the number of fetches that had begun when the token came. The result of
// one of these may be older than the key: it is used if it has the key, and
// otherwise one more fetch is made. Tokens without kid
// have a separate limit, because forgeries of that kind must not use up the
// limit for rotations.
func (s *keySet) refetch(ctx context.Context, q *search, seen *snapshot, asked uint64) (result, error) {
	hinted := q.token.KeyID != ""
	missing := func() error {
		if hinted {
			return s.unknown(q)
		}
		return q.signature("no key verifies it")
	}
	if hinted && s.knownAbsent(q.token.KeyID) {
		return result{}, missing()
	}
	limiter := &s.unnamed
	if hinted {
		limiter = &s.rotations
	}
	for {
		f, _, replaced, err := s.start(ctx, seen, limiter)
		if errors.Is(err, errLimited) {
			return result{}, missing()
		}
		if err != nil {
			return result{}, err
		}
		if !replaced {
			if err := f.wait(ctx, fetchTimeout); err != nil {
				return result{}, err
			}
		}
		snap := s.current.Load()
		candidates, match := snap.ring.Candidates(&q.token)
		if key, ok := q.try(candidates); ok {
			return result{key, snap.generation}, nil
		}
		if match == jws.Named {
			return result{}, q.signature("the key of kid " + quoted(q.token.KeyID) + " does not verify it")
		}
		if snap.fetch > asked {
			if hinted {
				s.remember(q.token.KeyID)
			}
			return result{}, missing()
		}
		seen = snap
	}
}

// fresh reports, with two atomic loads, whether there is nothing to do.
func (s *keySet) fresh(now clocks.Instant) bool {
	return now.Wall < s.dueWall.Load() && now.Mono < s.dueMono.Load()
}

func (s *keySet) setDue(at clocks.Instant) {
	s.dueWall.Store(at.Wall)
	s.dueMono.Store(at.Mono)
}

// generation changes when a key is removed. Tokens that the key verified are
// then forgotten.
func (s *keySet) generation() uint64 { return s.current.Load().generation }

// has reports whether the set in memory has a key with that thumbprint.
func (s *keySet) has(thumbprint [32]byte) bool {
	snap := s.current.Load()
	return snap != nil && snap.ring.Has(thumbprint)
}

// loaded reports whether there is a set in memory that may be used.
func (s *keySet) loaded() bool {
	if s.fetch == nil {
		return true
	}
	snap := s.current.Load()
	return snap != nil && s.clock.Now().Since(snap.fetched) <= maxStale
}

// ready is loaded, and starts a fetch if there is no such set.
func (s *keySet) ready() bool {
	snap := s.current.Load()
	if s.loaded() {
		return true
	}
	_, _, replaced, _ := s.start(context.Background(), snap, nil)
	return replaced
}

// usable returns the set to use now. It waits for the first set, and for a new
// set if the old one is too old. A set that is only due is refreshed in the
// background.
func (s *keySet) usable(ctx context.Context) (*snapshot, error) {
	snap := s.current.Load()
	if s.fetch == nil {
		return snap, nil
	}
	now := s.clock.Now()
	if snap != nil && s.fresh(now) {
		return snap, nil
	}
	gone := snap == nil || now.Since(snap.fetched) > maxStale
	f, healthy, replaced, err := s.start(ctx, snap, nil)
	switch {
	case replaced:
	case err != nil && gone:
		return nil, err
	case err != nil:
		return snap, nil
	case gone:
		if err := f.wait(ctx, fetchTimeout); err != nil {
			return nil, err
		}
	case healthy && (now.Since(snap.fetched) > 2*snap.interval || now.Suspended(snap.fetched) > snap.interval):
		// Without requests, or while the machine was suspended, no set was
		// fetched for a long time. Keys may have been withdrawn since then.
		_ = f.wait(ctx, refreshWait-now.Since(f.began))
	}
	return s.current.Load(), nil
}

func (s *keySet) knownAbsent(kid string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, found := s.absent[kid]
	return found && s.clock.Now().Mono < until.Mono
}

func (s *keySet) remember(kid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.absent) >= maxAbsent {
		clear(s.absent)
	}
	if s.absent == nil {
		s.absent = make(map[string]clocks.Instant)
	}
	s.absent[kid] = s.clock.Now().Add(limitEvery)
}
