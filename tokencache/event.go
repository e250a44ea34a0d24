package tokencache

import (
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// Event is something that happened. Its labels are few and hold neither
// credentials nor users, so that they can be metric labels.
type Event struct {
	// Kind is one of
	//
	//	started        a flight began
	//	flight         a flight ended: Op, Class, Duration, N callers that joined it
	//	fail_fast      a caller was answered from the window after a failure: Class
	//	adopted        a token came from another replica
	//	lease_lost     a lease ended under a flight's hands
	//	store_error    a call of the Store failed
	//	store_lost     the Store had forgotten a record, which was written again
	//	uncoordinated  a Shared flight went on without the Store
	//	unsaved        a token could not be stored yet, and is served meanwhile
	Kind string
	// Op is the upstream call that a flight made: generate, refresh, or
	// none; ahead of it "ahead-" where a valid token was being served.
	Op string
	// Class is "ok" or the class of the error, see [providers.Class].
	Class string
	// Duration is how long a flight took.
	Duration time.Duration
	// N is the number of callers that shared a flight besides the first.
	N int
}

// Stats are counts since the cache began, and two present values.
type Stats struct {
	// Hits is an estimate by sampling, so that a hit stays cheap.
	Hits uint64
	// Flights, Calls: work begun on a record, and upstream calls made.
	Flights, Calls uint64
	// Coalesced counts callers that joined a flight under way.
	Coalesced uint64
	// FailFast counts callers answered from the window after a failure.
	FailFast uint64
	// Failed counts flights that ended in an error.
	Failed uint64
	// Adopted counts tokens taken over from another replica, StoreErrors
	// failed calls of the Store.
	Adopted, StoreErrors uint64
	// Entries is the number of records in memory, InFlight of flights.
	Entries, InFlight int
}

type counters struct {
	hits, flights, calls, coalesced, failFast, failed, adopted, storeErrors atomic.Uint64
}

// Stats returns the counts. It may be called at any time.
func (c *Cache) Stats() Stats {
	c.life.Lock()
	inFlight := c.running
	c.life.Unlock()
	return Stats{
		Hits: c.stats.hits.Load(), Flights: c.stats.flights.Load(), Calls: c.stats.calls.Load(),
		Coalesced: c.stats.coalesced.Load(), FailFast: c.stats.failFast.Load(), Failed: c.stats.failed.Load(),
		Adopted: c.stats.adopted.Load(), StoreErrors: c.stats.storeErrors.Load(),
		Entries: c.table.len(), InFlight: inFlight,
	}
}

func (c *Cache) event(e Event) {
	if c.o.Observer != nil {
		c.o.Observer(e)
	}
}

// failedFast tells that a caller got err without a flight of its own.
func (c *Cache) failedFast(err error) {
	if err != nil {
		c.stats.failFast.Add(1)
		c.event(Event{Kind: "fail_fast", Class: providers.AsError(err).Class.String()})
	}
}

// landed tells of the end of f.
func (c *Cache) landed(f *flight, joined int) {
	e := Event{Kind: "flight", Op: f.op, Class: "ok", Duration: time.Since(f.began), N: joined}
	if e.Op == "" {
		e.Op = "none"
	}
	if f.ahead {
		e.Op = "ahead-" + e.Op
	}
	if f.err != nil {
		pe := providers.AsError(f.err)
		e.Class = pe.Class.String()
		c.stats.failed.Add(1)
		c.o.Logger.Warn("tokencache: no token", "op", e.Op, "error", pe, "took", e.Duration)
	}
	c.event(e)
}
