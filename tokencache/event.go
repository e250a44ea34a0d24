package tokencache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/bearerkit/bearerkit/internal/flight"
	"github.com/bearerkit/bearerkit/providers"
)

// Stats are counts since the cache began, and a few present values.
//
// The Observer gets events of these kinds. Their Source is "tokencache":
//
//	flight_started  work on a record began
//	flight          the work ended: Op, Outcome, Duration, and N callers that
//	                joined it. Op is generate, refresh or none. "ahead-" before
//	                it means that a valid token was being served, "forced-" that
//	                the token was refused
//	fail_fast       a caller got the error of a recent failure: Outcome
//	adopted         a token came from another replica
//	evicted         a record left the full memory; its grant is generated again,
//	                or read from the Store
//	lease_lost      a lease ended during work
//	store_error     a call of the Store failed
//	store_lost      the Store had lost a record, which was written again
//	uncoordinated   work of a Shared provider continued without the Store
//	unsaved         a token could not be stored yet, and is served meanwhile
type Stats struct {
	// Hits counts tokens served from memory.
	Hits uint64
	// Flights counts work begun on a record, Calls the upstream calls.
	Flights, Calls uint64
	// Coalesced counts callers that joined work under way.
	Coalesced uint64
	// FailFast counts callers that got the error of a recent failure.
	FailFast uint64
	// Failed counts work that ended in an error.
	Failed uint64
	// Adopted counts tokens from another replica, StoreErrors failed calls of
	// the Store, and Evicted records that left the full memory.
	Adopted, StoreErrors, Evicted uint64
	// Entries is the number of records in memory. InFlight is how many of them
	// are worked on. Overdue is how many have a provider that has not returned
	// in its time; their grants wait for it.
	Entries, InFlight, Overdue int
	// InDoubt is how many grants have a last upstream call of unknown outcome.
	// Unsaved is how many have a token that the Store does not have yet.
	InDoubt, Unsaved int
}

type counters struct {
	hits                                                               striped
	attempts, calls, coalesced, failFast, failed, adopted, storeErrors atomic.Uint64
	evicted, overdue                                                   atomic.Uint64
	warnedEviction                                                     atomic.Bool
}

// striped is a counter for many writers. A goroutine adds to one of several
// places, so that two processors rarely write to the same place.
type striped [16]struct {
	n atomic.Uint64
	_ [56]byte // each has its own cache line
}

// add counts one. The address of its stack tells a goroutine from the others.
func (s *striped) add() {
	var here byte
	stack := uint64(uintptr(unsafe.Pointer(&here))) >> 11
	s[stack*0x9e3779b97f4a7c15>>60].n.Add(1)
}

func (s *striped) sum() (n uint64) {
	for i := range s {
		n += s[i].n.Load()
	}
	return n
}

// Stats returns the counts. It reads every entry.
func (c *Cache) Stats() Stats {
	c.life.Lock()
	inFlight := c.running
	c.life.Unlock()
	s := Stats{
		Hits: c.stats.hits.sum(), Flights: c.stats.attempts.Load(), Calls: c.stats.calls.Load(),
		Coalesced: c.stats.coalesced.Load(), FailFast: c.stats.failFast.Load(), Failed: c.stats.failed.Load(),
		Adopted: c.stats.adopted.Load(), StoreErrors: c.stats.storeErrors.Load(), Evicted: c.stats.evicted.Load(),
		Entries: c.entries.len() + c.exchanged.len(), InFlight: inFlight, Overdue: int(c.stats.overdue.Load()),
	}
	c.eachEntry(func(_ id, e *entry) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if f := e.record().Failure; f != nil && f.Err.Class == providers.InDoubt {
			s.InDoubt++
		}
		if e.attempt != nil && e.attempt.unsaved {
			s.Unsaved++
		}
	})
	return s
}

// event calls the Observer. A panic of the Observer affects no caller.
func (c *Cache) event(ctx context.Context, e providers.Event) {
	if c.o.Observer == nil {
		return
	}
	e.Source = op
	if err := flight.Guard(func() { c.o.Observer(ctx, e) }); err != nil {
		c.reportPanic(err)
	}
}

// failedFast reports that a caller got err without work.
func (c *Cache) failedFast(ctx context.Context, err error) {
	c.stats.failFast.Add(1)
	c.event(ctx, providers.Event{Kind: "fail_fast", Outcome: providers.AsError(err).Class.String()})
}

// countEviction reports that a record left the full memory.
func (c *Cache) countEviction() {
	c.stats.evicted.Add(1)
	first := !c.stats.warnedEviction.Swap(true)
	if !first && c.o.Observer == nil {
		return
	}
	go func() { // the caller holds locks
		c.event(c.ctx, providers.Event{Kind: "evicted"})
		if first {
			_ = flight.Guard(func() { // the Logger may panic
				c.o.Logger.Warn("tokencache: more grants than MaxEntries; the least recently renewed are evicted and cost a call when they are needed again", "max_entries", c.o.MaxEntries, "do", "raise MaxEntries")
			})
		}
	}()
}

// report reports the end of a.
func (a *attempt) report() {
	a.e.mu.Lock()
	err := a.err
	e := providers.Event{Kind: "flight", Op: a.opName(), Outcome: "ok", Duration: time.Since(a.began), N: a.joined}
	a.e.mu.Unlock()
	if err == nil {
		a.c.event(a.cause, e)
		return
	}
	_ = flight.Guard(func() { a.reportFailure(e, err) }) // the Logger may panic
}

func (a *attempt) reportFailure(e providers.Event, err error) {
	c, pe := a.c, providers.AsError(err)
	e.Outcome = pe.Class.String()
	c.stats.failed.Add(1)
	// A sign-out is not logged, nor is a refresh token that any caller may
	// present.
	if !errors.Is(err, errPurged) && (a.op != "" || pe.Code != providers.CodeRefreshRejected) {
		c.warn("tokencache: no token; callers of this grant get this error for a while", remedy(pe), "op", e.Op, "error", pe, "took", e.Duration)
	}
	c.event(a.cause, e)
}

// opName returns the Op of a's event.
func (a *attempt) opName() string {
	name := a.op
	if name == "" {
		name = "none"
	}
	switch {
	case a.want.ahead:
		return "ahead-" + name
	case a.want.Forced:
		return "forced-" + name
	}
	return name
}

// deathRate notices when so many refresh tokens of one provider are refused
// that the fault is probably ours: a changed client, a wrong endpoint.
type deathRate struct {
	mu     sync.Mutex
	since  time.Duration // when the present minute began
	calls  int
	deaths int
}

// manyDeaths is how many refusals within a minute are suspicious, if they are
// also half of the calls.
const manyDeaths = 20

func (d *deathRate) roll(now time.Duration) {
	if now-d.since >= time.Minute {
		d.since, d.calls, d.deaths = now, 0, 0
	}
}

// asked counts a refresh.
func (d *deathRate) asked(now time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roll(now)
	d.calls++
}

// suspicious counts a refusal, and reports whether there are too many.
func (d *deathRate) suspicious(now time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roll(now)
	d.deaths++
	return d.deaths >= manyDeaths && 2*d.deaths >= d.calls
}
