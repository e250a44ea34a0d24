package tokencache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// Options have defaults in all fields: the zero value caches in this process.
type Options struct {
	// Store is where replicas share records. Nil: this process is alone, and
	// what it forgets is forgotten.
	Store Store
	// Namespace tells this cache's records from those of other caches over
	// the same Store: name the provider and the account. Required with a Store.
	Namespace string
	// SealKeys encrypt values in the Store (AES-256-GCM, 32 bytes each): the
	// first encrypts, all decrypt. A value cannot be moved to another record,
	// and one that is not sealed is refused. None: values are stored as they
	// are.
	SealKeys [][]byte
	// NameKey is 32 bytes, required with SealKeys. What a Store keeps is named
	// by HMACs under it, so that a guessed subject cannot be looked for. It is
	// not rotated: under another one, every record is absent.
	NameKey []byte
	// StoreTimeout bounds a call of the Store, 250 ms.
	StoreTimeout time.Duration
	// FetchTimeout bounds a flight, 30 s; one upstream call gets a third.
	FetchTimeout time.Duration
	// ForcedFloor is the least time between two forced renewals of a grant,
	// 5 s: a server that refuses every token cannot make us ask without end.
	ForcedFloor time.Duration
	// Grace is how long a replaced refresh token still gets its successor,
	// 60 s.
	Grace time.Duration
	// DefaultLifetime is the lifetime of a token without an expiry, 5 min.
	DefaultLifetime time.Duration
	// MaxEntries bounds the records in memory, 10,000.
	MaxEntries int
	// MaxFlights bounds the upstream calls under way over all grants, 64.
	MaxFlights int
	// Observer is told of events. It must be fast and safe for concurrent
	// use. Nil: nobody is told.
	Observer func(Event)
	// Logger gets failures at Warn. Nil: nothing is logged.
	Logger *slog.Logger
	// Now is the wall clock. Nil: time.Now.
	Now func() time.Time
}

// Cache keeps the current token of every grant and is the only place that
// calls the provider's token endpoint. It is a [providers.Provider] and a
// [providers.Refresher] itself. Make one with [New]; it is safe for concurrent
// use.
type Cache struct {
	clocks
	p         providers.Provider
	refresher providers.Refresher // nil if p is none
	mode      providers.Mode
	o         Options
	attempt   time.Duration
	table     *table
	index     localIndex
	slots     chan struct{} // one token per upstream call
	sealer    *sealer
	locker    Locker  // nil if the Store is none
	watcher   Watcher // nil if the Store is none
	// storeFailed is when a call of the Store failed last, since base.
	storeFailed atomic.Int64
	ablate      struct{ noLease, noIntent bool } // for the simulation alone
	stats       counters

	ctx     context.Context // the cache's life
	cancel  context.CancelFunc
	life    sync.Mutex
	closed  bool
	running int
	deaf    chan struct{} // closed when nobody listens for notices any more
	idle    chan struct{} // made by Close; closed when running is 0
}

var (
	_ providers.Provider  = (*Cache)(nil)
	_ providers.Refresher = (*Cache)(nil)
)

// withDefaults returns o with its defaults, and its faults.
func (o Options) withDefaults() (_ Options, faults []error) {
	check := func(name string, negative bool) {
		if negative {
			faults = append(faults, fmt.Errorf("tokencache: %s: negative", name))
		}
	}
	duration := func(name string, d *time.Duration, def time.Duration) {
		check(name, *d < 0)
		*d = cmp.Or(*d, def)
	}
	count := func(name string, n *int, def int) {
		check(name, *n < 0)
		*n = cmp.Or(*n, def)
	}
	duration("StoreTimeout", &o.StoreTimeout, 250*time.Millisecond)
	duration("FetchTimeout", &o.FetchTimeout, 30*time.Second)
	duration("ForcedFloor", &o.ForcedFloor, 5*time.Second)
	duration("Grace", &o.Grace, time.Minute)
	duration("DefaultLifetime", &o.DefaultLifetime, 5*time.Minute)
	count("MaxEntries", &o.MaxEntries, 10_000)
	count("MaxFlights", &o.MaxFlights, 64)
	if o.Store != nil && o.Namespace == "" {
		faults = append(faults, errors.New("tokencache: Namespace: required with a Store"))
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, faults
}

// New returns a Cache in front of p. The error joins every fault of p and o.
func New(p providers.Provider, o Options) (*Cache, error) {
	o, faults := o.withDefaults()
	if p == nil {
		faults = append(faults, errors.New("tokencache: provider: nil"))
	}
	sealer, err := newSealer(o.Namespace, o.NameKey, o.SealKeys)
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	c := &Cache{
		p: p, o: o, sealer: sealer, attempt: o.FetchTimeout / 3, clocks: clocks{now: o.Now, base: time.Now()},
		table: newTable(o.MaxEntries),
		index: localIndex{max: 4 * o.MaxEntries, m: map[id]ref{}},
		slots: make(chan struct{}, o.MaxFlights),
		deaf:  make(chan struct{}),
	}
	c.look()
	c.locker, _ = o.Store.(Locker)
	c.watcher, _ = o.Store.(Watcher)
	c.refresher, _ = p.(providers.Refresher)
	if m, ok := p.(providers.Moder); ok {
		c.mode = m.Mode()
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if o.Store == nil {
		close(c.deaf)
	} else {
		go c.listen()
	}
	return c, nil
}

// Generate returns the current token of req's grant while it has life left,
// and otherwise renews it: by its refresh token where there is one, else by
// the provider's Generate. All callers of one grant share one upstream call,
// which goes on when they leave.
//
// The error is a [*providers.Error], or ctx.Err() as soon as ctx has ended.
// After a failure the grant fails fast with the same error for a while, whose
// rest is in RetryAfter.
func (c *Cache) Generate(ctx context.Context, req providers.Request) (providers.Token, error) {
	k, err := c.key(req)
	if err != nil {
		return providers.Token{}, err
	}
	return c.token(ctx, &k, req)
}

// Renew says that rejected, a token of req's grant, was refused. Any token
// with a higher version is an answer, one that is on its way too. If the
// rejected one is still current, it is renewed, at most once per ForcedFloor:
// within it, the current token is returned although it was rejected.
func (c *Cache) Renew(ctx context.Context, req providers.Request, rejected providers.Token) (providers.Token, error) {
	k, err := c.key(req)
	if err != nil {
		return providers.Token{}, err
	}
	return c.renew(ctx, &k, req, rejected)
}

// Source returns the Source of req's grant. A request that cannot be keyed is
// an error of the Source's methods.
func (c *Cache) Source(req providers.Request) *Source {
	s := &Source{c: c, req: cloneRequest(req)}
	s.id, s.err = c.key(s.req)
	return s
}

func (c *Cache) token(ctx context.Context, k *id, req providers.Request) (providers.Token, error) {
	if e := c.table.find(k); e != nil {
		if st := e.cur.Load(); st != nil {
			if c.hit(st) {
				return st.tok, nil
			}
			if c.usable(st) {
				c.renewAhead(e, st, req)
				return st.tok, nil
			}
		}
	}
	return c.do(ctx, k, &job{req: req})
}

// renewAhead starts a renewal of st that nobody waits for.
func (c *Cache) renewAhead(e *entry, st *state, req providers.Request) {
	if !e.mu.TryLock() {
		return // somebody else is at it
	}
	defer e.mu.Unlock()
	if e.fl != nil || e.cur.Load() != st {
		return
	}
	if e.led == nil || e.led.fail.left(c.wallNow()) == 0 {
		c.start(e, job{req: req, min: st.tok.Version}, true)
	}
}

func (c *Cache) renew(ctx context.Context, k *id, req providers.Request, rejected providers.Token) (providers.Token, error) {
	return c.do(ctx, k, &job{req: req, min: rejected.Version, forced: true})
}
