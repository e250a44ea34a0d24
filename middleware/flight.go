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
func (s *keySet) start(now time.Time, limited bool) (f *flight, healthy bool, err error) {
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
	go s.run(f, limited)
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

func (s *keySet) run(f *flight, limited bool) {
	defer close(f.done) // also if the fetch panics or calls runtime.Goexit
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	err := errUnavailable
	var got fetched
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: fetching it panicked with a %T", errUnavailable, p)
		}
		s.land(f, limited, got, err)
	}()
	if got, err = s.fetch(ctx); err != nil {
		err = fmt.Errorf("%w: %w", errUnavailable, err)
	}
}

// land puts a fetch's outcome in place.
func (s *keySet) land(f *flight, limited bool, got fetched, err error) {
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
		s.logger.Warn("key set could not be fetched", "failures", s.failures, "retry_in", s.retry.Sub(now), "error", err)
		return
	}
	if s.failures > 0 {
		s.logger.Info("key set is back", "after", now.Sub(s.failed))
	}
	s.failures = 0
	next := &snapshot{keys: got.keys, flight: f.number, fetched: now, due: now.Add(s.interval(got.maxAge))}
	if old := s.current.Load(); old != nil {
		next.generation = old.generation
		if lost(old.keys, next.keys) {
			next.generation++
		}
	}
	s.current.Store(next)
	s.due.Store(next.due.UnixNano())
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
