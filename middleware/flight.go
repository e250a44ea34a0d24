package middleware

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/bearerkit/bearerkit/internal/jws"
)

// flight is one fetch under way.
type flight struct {
	number uint64
	began  time.Time
	done   chan struct{}
	err    error // set before done is closed
}

// start joins the flight under way or begins one. healthy tells that the last
// fetch succeeded. limited marks a fetch for an unknown kid: when those are
// used up, the set in hand is younger than limitEvery, and the kid is unknown.
func (s *keySet) start(ctx context.Context, now time.Time, limited bool) (f *flight, healthy bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	healthy = s.failures == 0
	if s.flight != nil {
		return s.flight, healthy, nil
	}
	if !healthy && now.Before(s.retry) {
		return nil, false, &waitError{s.retry.Sub(now)}
	}
	if limited && !s.limiter.take(now) {
		return nil, healthy, errUnknownKey
	}
	f = &flight{number: s.flights.Add(1), began: now, done: make(chan struct{}), err: errUnavailable}
	s.flight = f
	go s.run(context.WithoutCancel(ctx), f, limited)
	return f, healthy, nil
}

func (f *flight) wait(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return errUnavailable
	}
}

func (s *keySet) run(cause context.Context, f *flight, limited bool) {
	defer close(f.done) // also if the fetch panics or calls runtime.Goexit
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	began := time.Now()
	err := errUnavailable
	var got fetched
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: fetching it panicked with a %T", errUnavailable, p)
		}
		inHand, n := s.current.Load() != nil, s.land(f, limited, got, err)
		if s.observe != nil {
			s.observe(cause, began, err, inHand, n)
		}
	}()
	if got, err = s.fetch(ctx); err != nil {
		err = fmt.Errorf("%w: %w", errUnavailable, err)
	}
}

// land puts a fetch's outcome in place. It returns how many fetches in a row
// failed, up to this one or before it.
func (s *keySet) land(f *flight, limited bool, got fetched, err error) int {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flight, f.err = nil, err
	if err != nil {
		if s.failures++; s.failures == 1 {
			s.failed = now
		}
		// A quarter of the outage: soon back after a short one, and few
		// attempts in a long one.
		s.retry = now.Add(min(max(now.Sub(s.failed)/4, firstRetry), lastRetry))
		if limited {
			s.limiter.giveBack()
		}
		if s.current.Load() != nil {
			s.due.Store(s.retry.UnixNano())
		}
		s.logFailure(now, err)
		return s.failures
	}
	if s.failures > 0 {
		s.logger.Info("key set is back", "after", now.Sub(s.failed))
	}
	failed := s.failures
	s.failures, s.unusable = 0, false
	next := &snapshot{keys: got.keys, flight: f.number, fetched: now, due: now.Add(s.interval(got.maxAge))}
	if old := s.current.Load(); old != nil {
		next.generation = old.generation
		if lost(old.keys, next.keys) {
			next.generation++
		}
	}
	s.current.Store(next)
	s.due.Store(next.due.UnixNano())
	return failed
}

// logFailure tells once that the set is not refreshed, and once that there is
// none to be used; more of the same is for Debug.
func (s *keySet) logFailure(now time.Time, err error) {
	snap := s.current.Load()
	switch {
	case (snap == nil || now.Sub(snap.fetched) > maxStale) && !s.unusable:
		s.unusable = true
		s.logger.Error("no key set can be fetched; tokens of this issuer are answered 503 until one is: check its address, the network and the issuer", "error", err)
	case s.failures == 1:
		s.logger.Warn("the key set cannot be refreshed; the last one stays in use and new keys are not known: check the network and the issuer",
			"until", snap.fetched.Add(maxStale), "error", err)
	default:
		s.logger.Debug("key set could not be fetched", "failures", s.failures, "retry_in", s.retry.Sub(now), "error", err)
	}
}

// interval is the time to the next refresh, ± 10 % so that replicas spread.
func (s *keySet) interval(maxAge time.Duration) time.Duration {
	d := s.every
	if d == 0 {
		d = defaultRefresh
		if maxAge > 0 {
			d = min(max(maxAge, minRefresh), maxRefresh)
		}
	}
	return d - d/10 + rand.N(d/5)
}

// lost reports that a key of before is not among after.
func lost(before, after []jws.Key) bool {
next:
	for i := range before {
		for j := range after {
			if before[i].Equal(&after[j]) {
				continue next
			}
		}
		return true
	}
	return false
}

// bucket is a token bucket whose tokens can be given back. Its zero value is
// full.
type bucket struct {
	used float64
	last time.Time
}

func (b *bucket) take(now time.Time) bool {
	b.used = max(b.used-now.Sub(b.last).Seconds()/limitEvery.Seconds(), 0)
	b.last = now
	if b.used > limitBurst-1 {
		return false
	}
	b.used++
	return true
}

func (b *bucket) giveBack() { b.used = max(b.used-1, 0) }
