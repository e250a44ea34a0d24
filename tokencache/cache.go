package tokencache

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/internal/flight"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
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
	// FetchTimeout is how long callers wait for a token at most, 30 s. One
	// upstream call gets a third of it. Over a Store, take 9 s or more: after
	// the death of a replica that was calling, the next call begins when 2 s
	// and a third of FetchTimeout have passed.
	FetchTimeout time.Duration
	// ForcedFloor is the least time between two forced renewals of a grant,
	// 5 s: a server that refuses every token cannot make us ask without end.
	ForcedFloor time.Duration
	// Grace is how long a replaced refresh token still gets its successor,
	// 60 s.
	Grace time.Duration
	// DefaultLifetime is the lifetime of a token that has no expiry. 0 means
	// 5 minutes for a token that can be refreshed, and that a token without a
	// refresh token is served until it is refused.
	DefaultLifetime time.Duration
	// RefreshLifetime is how long a refresh token without an expiry is
	// remembered after its last use, and how long a sign-out of it is, a year.
	RefreshLifetime time.Duration
	// MaxEntries bounds the records in memory, 10,000, and apart from them as
	// many tokens that were got for an assertion. Without a Store, grants
	// that came by Adopt or Refresh stay and may be three quarters of them;
	// Adopt of one more is [providers.CodeBusy].
	MaxEntries int
	// MaxFlights bounds the upstream calls under way over all grants, 64.
	MaxFlights int
	// Observer gets events, see [Cache.Stats] for their kinds. The
	// context carries the values of the caller that caused the event. It must
	// be fast and safe for concurrent use; a panic in it affects no caller. Nil
	// means none.
	Observer func(context.Context, providers.Event)
	// Logger gets failures at Warn. Nil: slog.Default. slog.DiscardHandler is
	// for silence.
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
	rules     record.Rules
	o         Options
	prefix    []byte        // of all digests: the namespace
	buffers   sync.Pool     // of *[]byte, in which keys are written
	callLimit time.Duration // of one upstream call
	flights   flight.Group[*providers.Token]
	slots     chan struct{} // one for each upstream call under way
	shared    *shared       // nil without a Store

	entries    *bounded[*entry]
	exchanged  *bounded[*entry] // those of tokens that were got for an assertion
	index      *bounded[owner]  // of refresh tokens, without a Store
	tombstones *bounded[tombstone]
	brought    atomic.Int64 // entries of grants that were brought
	// unsavedPurges tells that a sign-out is to be carried on.
	unsavedPurges atomic.Bool

	stats  counters
	deaths deathRate
	jitter func() float64 // in [0, 1)

	ctx     context.Context // the cache's life
	cancel  context.CancelFunc
	life    sync.Mutex
	closed  bool
	running int           // attempts under way
	idle    chan struct{} // made by Close; closed when running is 0
}

var (
	_ providers.Provider          = (*Cache)(nil)
	_ providers.OptionalRefresher = (*Cache)(nil)
	_ providers.Renewer           = (*Cache)(nil)
	_ providers.Purger            = (*Cache)(nil)
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
	duration("DefaultLifetime", &o.DefaultLifetime, 0)
	duration("RefreshLifetime", &o.RefreshLifetime, 365*24*time.Hour)
	count("MaxEntries", &o.MaxEntries, 10_000)
	count("MaxFlights", &o.MaxFlights, 64)
	if o.Store != nil && o.Namespace == "" {
		faults = append(faults, errors.New("tokencache: Namespace: required with a Store"))
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, faults
}

// New returns a Cache in front of p. The error joins every fault of p and o.
func New(p providers.Provider, o Options) (*Cache, error) {
	c, err := prepare(p, o)
	if err != nil {
		return nil, err
	}
	if c.shared != nil {
		go c.shared.listen()
	}
	return c, nil
}

// prepare makes a Cache that does not listen to other replicas yet.
func prepare(p providers.Provider, o Options) (*Cache, error) {
	o, faults := o.withDefaults()
	if p == nil {
		faults = append(faults, errors.New("tokencache: provider: nil"))
	}
	sealer, err := newSealer(o.Namespace, o.NameKey, o.SealKeys)
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	c := &Cache{
		clocks: clocks{wallClock: o.Now, base: time.Now()},
		p:      p, o: o, callLimit: o.FetchTimeout / 3,
		prefix: appendPart(nil, o.Namespace),
		slots:  make(chan struct{}, o.MaxFlights),
		buffers: sync.Pool{New: func() any {
			b := make([]byte, 0, 512)
			return &b
		}},
		jitter: rand.Float64,
		index:  newBounded(4*o.MaxEntries, owner.evictionRank, func(owner) bool { return true }),
		tombstones: newBounded(4*o.MaxEntries, func(t tombstone) int64 { return t.ends },
			func(tombstone) bool { return true }),
	}
	c.entries = newBounded(o.MaxEntries, c.evictionRank, c.evict)
	c.exchanged = newBounded(o.MaxEntries, c.evictionRank, c.evict)
	c.readWall()
	c.refresher, _ = p.(providers.Refresher)
	if r, ok := p.(providers.OptionalRefresher); ok && !r.CanRefresh() {
		c.refresher = nil
	}
	c.rules = record.Rules{CanRefresh: c.refresher != nil, Grace: o.Grace, ForcedFloor: o.ForcedFloor}
	if m, ok := p.(providers.Moder); ok {
		c.rules.Mode = m.Mode()
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if o.Store != nil {
		c.shared = newShared(c, sealer)
	}
	return c, nil
}

// Generate returns the current token of req's grant while it is valid,
// and otherwise renews it: by its refresh token where there is one, else by
// the provider's Generate. All callers of one grant share one upstream call,
// which goes on when they leave.
//
// A call that began before a [Cache.Purge] of its grant, and did not end before
// it, fails with [providers.CodeNotSignedIn]: it must not sign the user in
// again.
//
// The error is a [*providers.Error], or ctx.Err() as soon as ctx has ended.
// After a failure the grant fails fast with the same error for a while, whose
// rest is in RetryAfter.
func (c *Cache) Generate(ctx context.Context, req providers.Request) (providers.Token, error) {
	k, err := c.key(&req)
	if err != nil {
		return providers.Token{}, err
	}
	if tok := c.fresh(&k); tok != nil {
		return *tok, nil
	}
	return c.generate(ctx, k, req)
}

// Renew says that rejected, a token of req's grant, was refused. Any token
// with a higher version is an answer, one that is on its way too. If the
// rejected one is still current, it is renewed, at most once per ForcedFloor:
// within it, the current token is returned although it was rejected.
func (c *Cache) Renew(ctx context.Context, req providers.Request, rejected providers.Token) (providers.Token, error) {
	k, err := c.key(&req)
	if err != nil {
		return providers.Token{}, err
	}
	return copyOf(c.renew(ctx, &k, &req, rejected.Version, true))
}

// copyOf is the caller's own copy of a token.
func copyOf(token *providers.Token, err error) (providers.Token, error) {
	if err != nil {
		return providers.Token{}, err
	}
	return *token, nil
}

// generate is the way of Generate beyond memory. Apart from it, so that a hit
// leaves its request on the stack.
func (c *Cache) generate(ctx context.Context, k id, req providers.Request) (providers.Token, error) {
	return copyOf(c.current(ctx, &k, &req, true))
}

// fresh returns the token of k if it can be served without a second look.
func (c *Cache) fresh(k *id) *providers.Token {
	if e, ok := c.find(k); ok {
		if v := e.view.Load(); v.age(c.now()) == record.Fresh {
			c.stats.hits.add()
			return &v.Token
		}
	}
	return nil
}

// current returns the current token of k from memory, or waits for it.
func (c *Cache) current(ctx context.Context, k *id, req *providers.Request, failIfPurged bool) (*providers.Token, error) {
	if e, ok := c.find(k); ok {
		if v := e.view.Load(); v != nil {
			switch v.age(c.now()) {
			case record.Fresh:
				c.stats.hits.add()
				return &v.Token, nil
			case record.Stale:
				c.stats.hits.add()
				c.renewAhead(ctx, e, v, req)
				return &v.Token, nil
			}
		}
	}
	return c.do(ctx, k, &want{Want: record.Want{Kind: record.Current}, req: req, failIfPurged: failIfPurged})
}

// renewAhead starts a renewal of v that nobody waits for.
func (c *Cache) renewAhead(ctx context.Context, e *entry, v *view, req *providers.Request) {
	if !e.mu.TryLock() {
		return // somebody else is at it
	}
	defer e.mu.Unlock()
	if e.attempt != nil || e.view.Load() != v || v.Failure.Remaining(c.nowFor(v)) > 0 {
		return
	}
	c.start(ctx, e, &want{Want: record.Want{Kind: record.Current, After: v.Token.Version}, req: req, ahead: true})
}

func (c *Cache) renew(ctx context.Context, k *id, req *providers.Request, rejected uint64, failIfPurged bool) (*providers.Token, error) {
	return c.do(ctx, k, &want{Want: record.Want{Kind: record.Current, After: rejected, Forced: true}, req: req, failIfPurged: failIfPurged})
}

// key names req's record.
func (c *Cache) key(req *providers.Request) (id, error) {
	buf := c.buffers.Get().(*[]byte)
	b := append(append((*buf)[:0], c.prefix...), keyPart...)
	defer func() {
		clear(b) // a key may hold an assertion
		*buf = b
		c.buffers.Put(buf)
	}()
	if p, ok := c.p.(providers.Keyer); ok {
		k, err := p.Key(*req)
		if err != nil {
			return id{}, err
		}
		b = appendPart(b, k)
	} else {
		// The length of the key goes before it, like those of the other parts.
		n := len(b)
		b = append(b, 0, 0, 0, 0)
		var err error
		if b, err = req.AppendKey(b); err != nil {
			return id{}, err
		}
		binary.BigEndian.PutUint32(b[n:], uint32(len(b)-n-4))
	}
	// What is got for an assertion is for its bearer alone.
	for _, a := range []providers.Assertion{req.Assertion, req.Actor} {
		if a.Token != "" {
			b = appendPart(appendPart(appendPart(b, a.Token), a.Type), a.Issuer)
		} else if req.Assertion.Token != "" || req.Actor.Token != "" {
			b = appendPart(b, "")
		}
	}
	k := id(sha256.Sum256(b))
	k[len(k)-1] &^= exchangedBit
	if req.Assertion.Token != "" || req.Actor.Token != "" {
		k[len(k)-1] |= exchangedBit
	}
	return k, nil
}

// keyPart is the part of a digest that tells a record's key from a refresh
// token.
var keyPart = string(appendPart(nil, "key"))

// digest names s, which is of a kind. It is injective over the namespace, kind
// and s: the length of each is written before it.
func (c *Cache) digest(kind, s string) id {
	var buf [512]byte
	b := append(buf[:0], c.prefix...)
	return sha256.Sum256(appendPart(appendPart(b, kind), s))
}

func appendPart(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// Ready reports, from memory alone, that the Cache is open and, over a Store,
// has joined the other replicas. A Store that fails later does not change that,
// for valid tokens are still served. It belongs into /readyz.
func (c *Cache) Ready() bool {
	c.life.Lock()
	closed := c.closed
	c.life.Unlock()
	return !closed && (c.shared == nil || c.shared.joined())
}

// Close stops new work and waits for what is under way, until ctx ends or it
// is past its time. Then it cancels it. The error says how many upstream calls
// did not return even so: their provider ignores its context.
func (c *Cache) Close(ctx context.Context) error {
	c.life.Lock()
	c.closed = true
	if c.idle == nil {
		c.idle = make(chan struct{})
		if c.running == 0 {
			close(c.idle)
		}
	}
	idle := c.idle
	c.life.Unlock()
	defer func() {
		c.cancel()
		if c.shared != nil {
			<-c.shared.left
		}
	}()
	patience, stop := context.WithTimeout(ctx, c.o.FetchTimeout+closeGrace)
	defer stop()
	select {
	case <-idle:
		return nil
	case <-patience.Done():
	}
	c.cancel()
	last, stop := context.WithTimeout(context.Background(), closeGrace)
	defer stop()
	select {
	case <-idle:
		return nil
	case <-last.Done():
	}
	c.life.Lock()
	defer c.life.Unlock()
	if c.running == 0 {
		return nil
	}
	return fmt.Errorf("tokencache: %d calls still under way: the provider ignores its context", c.running)
}

// closeGrace is the time in which cancelled work may return.
const closeGrace = time.Second

func (c *Cache) enter() bool {
	c.life.Lock()
	defer c.life.Unlock()
	if c.closed {
		return false
	}
	c.running++
	return true
}

func (c *Cache) leave() {
	c.life.Lock()
	defer c.life.Unlock()
	c.running--
	if c.running == 0 && c.idle != nil {
		close(c.idle)
	}
}
