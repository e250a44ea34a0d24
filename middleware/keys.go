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
	maxTries       = 8   // signature checks of one token
)

var (
	errUnknownKey  = errors.New("no such key")
	errUnavailable = errors.New("key set is not available")
)

// waitError is errUnavailable for as long as wait.
type waitError struct{ wait time.Duration }

func (e *waitError) Error() string { return errUnavailable.Error() + ": the last fetch failed" }
func (e *waitError) Unwrap() error { return errUnavailable }

// keySet holds the keys of one entry. With fetch nil it never changes.
//
// There is no goroutine but the fetch under way: requests notice that the set
// is due and start one, which runs on its own context and serves all who wait
// for it.
type keySet struct {
	fetch  func(context.Context) (fetched, error)
	algs   []string
	every  time.Duration // 0: as the answers say
	clock  *clocks.Clock
	logger *slog.Logger
	// observe gets the outcome of each fetch, see core.keysFetched.
	observe func(ctx context.Context, began time.Time, err error, change string, n int)

	current          atomic.Pointer[snapshot]
	dueWall, dueMono atomic.Int64 // when a request has to look closer, on either clock

	fetches atomic.Uint64 // started so far
	calls   flight.Group[struct{}]

	mu        sync.Mutex
	call      *fetchCall // under way
	failures  int
	unusable  bool           // was logged
	failed    clocks.Instant // first of the failures in a row
	retry     clocks.Instant // no fetch before
	rotations bucket         // fetches for kids that the set does not have
	unnamed   bucket         // fetches for tokens without kid
	absent    map[string]clocks.Instant
}

// fetched is a set as it came, and how long its publisher says it is good for.
type fetched struct {
	keys   []jws.Key
	maxAge time.Duration // 0: unsaid
}

// snapshot is immutable.
type snapshot struct {
	ring       *jws.Ring
	generation uint64 // moves on when a key has gone
	fetch      uint64 // the one that brought it
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
// token may be of.
type search struct {
	token    jws.Token
	iss, tid string
	offline  bool  // nothing is fetched
	named    bool  // a set has the token's kid
	tried    []any // keys whose signature check failed
	left     int   // candidates that there was no check left for
}

// try checks the signature with candidates, each key once.
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

// signature is the error of a search without result.
func (q *search) signature(why string) error {
	if q.left > 0 {
		why = fmt.Sprintf("%s; %d more candidates were not tried", why, q.left)
	}
	if len(q.tried) > 1 {
		why = fmt.Sprintf("%s (%d keys tried)", why, len(q.tried))
	}
	return fmt.Errorf("%w: %s", jws.ErrSignature, why)
}

// result is the key that verified a token, of the generation of its set.
type result struct {
	key        jws.Candidate
	generation uint64
}

// verify looks among the keys in memory. Without a result it says whether
// another fetch may bring the key; asked is the number of fetches that had
// begun when it looked.
//
// Its errors are errUnknownKey and jws.ErrSignature, to be believed, and
// everything else, which means that it is not known.
func (s *keySet) verify(ctx context.Context, q *search) (r result, refetch bool, asked uint64, err error) {
	asked = s.fetches.Load()
	snap := s.current.Load()
	if !q.offline {
		if snap, err = s.usable(ctx); err != nil {
			return result{}, false, asked, err
		}
	}
	if snap == nil {
		return result{}, false, asked, errUnavailable
	}
	candidates, match := snap.ring.Candidates(&q.token)
	if key, ok := q.try(candidates); ok {
		return result{key, snap.generation}, false, asked, nil
	}
	q.named = q.named || match == jws.Named
	final := q.offline || snap.fetch > asked
	switch {
	case match == jws.Named && len(candidates) == 0:
		return result{}, false, asked, q.signature("the key of kid " + quoted(q.token.KeyID) + " is not for " + quoted(q.token.Algorithm))
	case match == jws.Named && len(q.tried) == 0:
		return result{}, false, asked, q.signature("the key of kid " + quoted(q.token.KeyID) + " is another issuer's")
	case match == jws.Named:
		return result{}, false, asked, q.signature("the key of kid " + quoted(q.token.KeyID) + " does not verify it")
	case s.fetch == nil && match == jws.Hinted:
		return result{}, false, asked, q.signature("no key has kid " + quoted(q.token.KeyID))
	case s.fetch == nil:
		return result{}, false, asked, q.signature("no key verifies it")
	case match == jws.Hinted && final:
		return result{}, false, asked, s.unknown(q)
	case final:
		return result{}, false, asked, q.signature("no key verifies it")
	}
	return result{}, true, asked, nil
}

func (s *keySet) unknown(q *search) error {
	err := fmt.Errorf("%w: kid %s", errUnknownKey, quoted(q.token.KeyID))
	if q.left > 0 {
		err = fmt.Errorf("%w; %d more keys without kid were not tried", err, q.left)
	}
	return err
}

// refetch looks for the key of a token that the set in memory does not have. A
// fetch that began before the question, number asked or an earlier one, may
// have missed the key, so that its result is final only if it has it. A token
// without kid has a budget of its own: forgeries of that kind must not use up
// the one for rotations.
func (s *keySet) refetch(ctx context.Context, q *search, asked uint64) (result, error) {
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
		f, _, err := s.start(ctx, limiter)
		if errors.Is(err, errLimited) {
			return result{}, missing()
		}
		if err != nil {
			return result{}, err
		}
		if err := f.wait(ctx, fetchTimeout); err != nil {
			return result{}, err
		}
		snap := s.current.Load()
		candidates, match := snap.ring.Candidates(&q.token)
		if key, ok := q.try(candidates); ok {
			return result{key, snap.generation}, nil
		}
		if match == jws.Named {
			return result{}, q.signature("the key of kid " + quoted(q.token.KeyID) + " does not verify it")
		}
		if f.number > asked {
			if hinted {
				s.remember(q.token.KeyID)
			}
			return result{}, missing()
		}
	}
}

// fresh reports, at the price of two loads, that nothing is to be done.
func (s *keySet) fresh(now clocks.Instant) bool {
	return now.Wall < s.dueWall.Load() && now.Mono < s.dueMono.Load()
}

func (s *keySet) setDue(at clocks.Instant) {
	s.dueWall.Store(at.Wall)
	s.dueMono.Store(at.Mono)
}

// generation changes when a key is removed, so that what it verified can be
// forgotten.
func (s *keySet) generation() uint64 { return s.current.Load().generation }

// has reports that the set in memory has a key with that thumbprint.
func (s *keySet) has(thumbprint [32]byte) bool {
	snap := s.current.Load()
	return snap != nil && snap.ring.Has(thumbprint)
}

// ready reports that there is a set that may be used, and otherwise starts a
// fetch.
func (s *keySet) ready() bool {
	if snap := s.current.Load(); snap != nil && s.clock.Now().Since(snap.fetched) <= maxStale {
		return true
	}
	_, _, _ = s.start(context.Background(), nil)
	return false
}

// usable returns the set to use now. It waits for the first set and for one
// that has grown too old; a set that is merely due is refreshed in the
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
	f, healthy, err := s.start(ctx, nil)
	switch {
	case err != nil && gone:
		return nil, err
	case err != nil:
		return snap, nil
	case gone:
		if err := f.wait(ctx, fetchTimeout); err != nil {
			return nil, err
		}
	case healthy && (now.Since(snap.fetched) > 2*snap.interval || now.Suspended(snap.fetched) > snap.interval):
		// Without requests, or while the machine was suspended, nothing was
		// fetched for a long time: keys may have been withdrawn since.
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
