package middleware

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/bearerkit/bearerkit/internal/clocks"
	"github.com/bearerkit/bearerkit/internal/flight"
	"github.com/bearerkit/bearerkit/internal/jws"
)

// fetchCall is a fetch under way.
type fetchCall struct {
	began  clocks.Instant
	ticket flight.Ticket[struct{}]
}

// errLimited means that there were too many fetches. The set in memory is then
// younger than limitEvery.
var errLimited = errors.New("too many fetches")

// errOverdue means that a RoundTripper ignores the context of its requests.
var errOverdue = errors.New("the HTTPClient's Transport does not return although its request's context has ended")

// start joins the fetch under way or begins one, for a caller that has found
// the set seen too old, or without its key, or no set at all (nil). If a fetch
// has replaced seen since then, replaced is true and nothing is begun. healthy
// reports whether the last fetch succeeded. limiter, if not nil, limits the
// fetch.
func (s *keySet) start(ctx context.Context, seen *snapshot, limiter *bucket) (f fetchCall, healthy, replaced bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.Load() != seen {
		return fetchCall{}, false, true, nil
	}
	now := s.clock.Now()
	healthy = s.failures == 0
	if s.call != nil {
		f = *s.call
		f.ticket = s.calls.Join("")
		return f, healthy, false, nil
	}
	if !healthy && now.Mono < s.retry.Mono {
		return f, false, false, &waitError{time.Duration(s.retry.Mono - now.Mono), s.last}
	}
	if limiter != nil && !limiter.take(now) {
		return f, healthy, false, errLimited
	}
	number := s.fetches.Add(1)
	f.began = now
	f.ticket = s.calls.Start("", func(call *flight.Call[struct{}]) { s.run(context.WithoutCancel(ctx), call, number, limiter) })
	s.call = &f
	return f, healthy, false, nil
}

func (f *fetchCall) wait(ctx context.Context, limit time.Duration) error {
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err := f.ticket.Wait(within)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		return errUnavailable
	}
	return err
}

func (s *keySet) run(cause context.Context, call *flight.Call[struct{}], number uint64, limiter *bucket) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	began := time.Now()
	next := &snapshot{fetch: number}
	got, err := s.get(ctx)
	if err != nil {
		err = fmt.Errorf("%w: %w", errUnavailable, err)
	} else {
		next.ring, next.interval = got.ring, s.interval(got.maxAge)
	}
	now := s.clock.Now()
	if s.observe != nil {
		n := s.failuresWith(err)
		s.observe(cause, began, err, s.change(next, err), n)
	}
	next.fetched = now
	report := s.end(call, limiter, next, err)
	if got.skipped != "" {
		s.logger.Warn("keys of a key set cannot be used, and tokens that they sign are refused: ask the issuer, unless the keys are for another use", "skipped", got.skipped)
	}
	report()
}

// gotten is the result of a fetch.
type gotten struct {
	ring    *jws.Ring
	maxAge  time.Duration
	skipped string
}

// get calls fetch. It leaves a fetch behind that ignores its deadline, but only
// a few: a RoundTripper that always hangs must not fill the memory.
func (s *keySet) get(ctx context.Context) (gotten, error) {
	if s.overdue.Load() >= maxOverdue {
		return gotten{}, errOverdue
	}
	var got gotten
	var err error
	ended := flight.Go(func() {
		var set fetched
		set, err = s.fetch(ctx)
		got.maxAge, got.skipped = set.maxAge, set.skipped
		if err == nil {
			got.ring = jws.NewRing(set.keys, s.algs)
		}
	})
	timer := time.NewTimer(fetchTimeout + time.Second)
	defer timer.Stop()
	select {
	case crash := <-ended:
		if crash != nil {
			return gotten{}, crash
		}
		return got, err
	case <-timer.C:
		s.overdue.Add(1)
		go func() {
			<-ended
			s.overdue.Add(-1)
		}()
		return gotten{}, errOverdue
	}
}

// change says what a fetch does to the set in memory: "first" if there is none,
// else "same" or "changed".
func (s *keySet) change(next *snapshot, err error) string {
	snap := s.current.Load()
	switch {
	case snap == nil:
		return keysFirst
	case err == nil && (!next.ring.Keeps(snap.ring) || !snap.ring.Keeps(next.ring)):
		return keysChanged
	}
	return keysSame
}

// failuresWith returns how many fetches in a row failed, up to the one that
// ended with err.
func (s *keySet) failuresWith(err error) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		return s.failures + 1
	}
	return s.failures
}

// end installs the result of a fetch and answers the requests that wait. It
// returns a function that writes the log, so that a log handler that hangs does
// not make a request wait.
func (s *keySet) end(call *flight.Call[struct{}], limiter *bucket, next *snapshot, err error) (report func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		report = s.fail(limiter, next.fetched, err)
	} else {
		report = s.install(next)
	}
	s.call = nil
	call.Answer(struct{}{}, err)
	return report
}

// fail records a fetch without result. The caller holds s.mu.
func (s *keySet) fail(limiter *bucket, now clocks.Instant, err error) (report func()) {
	s.last = err
	if s.failures++; s.failures == 1 {
		s.failed = now
	}
	// The pause is a quarter of the outage so far: short after a short outage,
	// and long in a long one.
	// Within these bounds the server may ask for more.
	pause := max(time.Duration(now.Mono-s.failed.Mono)/4, firstRetry)
	var status *statusError
	if errors.As(err, &status) {
		pause = max(pause, status.after)
	}
	pause = min(pause, lastRetry)
	s.retry = now.Add(pause)
	if limiter != nil {
		limiter.giveBack()
	}
	snap := s.current.Load()
	if snap != nil {
		s.setDue(s.retry)
	}
	return s.logFailure(snap, now, pause, err)
}

// logFailure logs once that the set is not refreshed, and once that there is no
// usable set. Further failures are logged at Debug. The caller holds s.mu.
func (s *keySet) logFailure(snap *snapshot, now clocks.Instant, pause time.Duration, err error) (report func()) {
	failures := s.failures
	switch {
	case (snap == nil || now.Since(snap.fetched) > maxStale) && !s.unusable:
		s.unusable = true
		return func() {
			s.logger.Error("no key set can be fetched; tokens of this issuer are answered 503 until one is: check its address, the network and the issuer", "error", err)
		}
	case failures == 1:
		until := time.Unix(0, snap.fetched.Wall).Add(maxStale)
		return func() {
			s.logger.Warn("the key set cannot be refreshed; the last one stays in use and new keys are not known: check the network and the issuer",
				"until", until, "error", err)
		}
	}
	return func() {
		s.logger.Debug("key set could not be fetched", "failures", failures, "retry_in", pause, "error", err)
	}
}

// install makes next the current set. The caller holds s.mu.
func (s *keySet) install(next *snapshot) (report func()) {
	failed, away := s.failures, time.Duration(next.fetched.Mono-s.failed.Mono)
	s.failures, s.unusable, s.last = 0, false, nil
	if old := s.current.Load(); old != nil {
		next.generation = old.generation
		if !next.ring.Keeps(old.ring) {
			next.generation++
		}
	}
	s.current.Store(next)
	s.setDue(next.fetched.Add(next.interval))
	return func() {
		if failed > 0 {
			s.logger.Info("key set is back", "after", away)
		}
	}
}

// interval is the time to the next refresh, ± 10 % so that replicas do not
// fetch at the same time.
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

// bucket is a token bucket whose tokens can be returned. Its zero value is
// full.
type bucket struct {
	used float64
	last clocks.Instant
}

func (b *bucket) take(now clocks.Instant) bool {
	passed := time.Duration(now.Mono - b.last.Mono)
	b.used = max(b.used-passed.Seconds()/limitEvery.Seconds(), 0)
	b.last = now
	if b.used > limitBurst-1 {
		return false
	}
	b.used++
	return true
}

func (b *bucket) giveBack() { b.used = max(b.used-1, 0) }
