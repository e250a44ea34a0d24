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
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/internal/flight"
	"github.com/bearerkit/bearerkit/internal/warnlog"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

// Options are optional: the zero value caches in this process.
type Options struct {
	// Store is where replicas share records. nil means that this process is
	// alone and that its records end with it.
	Store Store
	// Namespace separates this cache's records from those of other caches in
	// the same Store. Name the provider and the account. Required with a Store.
	Namespace string
	// SealKeys encrypt values in the Store (AES-256-GCM, 32 bytes each): the
	// first one encrypts, all decrypt. A sealed value cannot be moved to
	// another record, and a value that is not sealed is refused. Without
	// SealKeys values are stored unencrypted.
	SealKeys [][]byte
	// NameKey is 32 bytes, required with SealKeys. The names in the Store are
	// HMACs under it, so that a guessed subject cannot be searched for. It
	// cannot be rotated: under another NameKey every record is absent.
	NameKey []byte
	// StoreTimeout bounds one call of the Store; 0 means 250 ms.
	StoreTimeout time.Duration
	// FetchTimeout is the longest time that callers wait for a token; 0 means
	// 30 s. One upstream call gets a third of it. Over a Store use 9 s or more:
	// if a replica dies during a call, the next call starts after 2 s and a
	// third of FetchTimeout.
	FetchTimeout time.Duration
	// ForcedFloor is the shortest time between two forced renewals of a grant;
	// 0 means 5 s. It protects the upstream from a server that refuses every
	// token.
	ForcedFloor time.Duration
	// Grace is how long a replaced refresh token still gets its successor; 0
	// means 60 s.
	Grace time.Duration
	// DefaultLifetime is the lifetime of a token that has no expiry. 0 means 5
	// minutes for a token with a refresh token. A token without a refresh token
	// is then served until it is refused.
	DefaultLifetime time.Duration
	// RefreshLifetime is how long a refresh token without an expiry is
	// remembered after its last use, and how long its sign-out is remembered; 0
	// means a year.
	RefreshLifetime time.Duration
	// MaxEntries bounds the records in memory; 0 means 10,000. As many tokens
	// for assertions are kept in addition. Without a Store, grants that came by
	// Adopt or Refresh are not evicted and may be three quarters of the
	// records; Adopt of one more is [providers.CodeBusy].
	MaxEntries int
	// MaxFlights bounds the upstream calls under way over all grants; 0 means
	// 64. Callers of further ones wait, and get [providers.CodeTimeout] after
	// FetchTimeout.
	MaxFlights int
	// Observer gets events; [Stats] lists their kinds. The context has the
	// values of the caller that caused the event. Observer must be fast and
	// safe for concurrent use. A panic in it affects no caller. nil means none.
	Observer func(context.Context, providers.Event)
	// Logger gets failures at Warn and Error, once a minute for each kind.
	// Further ones are at Debug. nil means slog.Default at Warn and above;
	// slog.DiscardHandler is silence.
	Logger *slog.Logger
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

// Cache keeps the current token of every grant, and only the Cache calls the
// provider's token endpoint. It is itself a [providers.Provider] and a
// [providers.Refresher]. [New] makes it. It is safe for concurrent use.
type Cache struct {
	clocks
	p         providers.Provider
	refresher providers.Refresher // nil if p is none
	rules     record.Rules
	o         Options
	keyer     providers.Keyer // nil if p is none
	prefix    []byte          // the namespace, which begins all digests
	keyPrefix []byte          // the start of the bytes whose digest is an id
	buffers   sync.Pool       // of *[]byte, in which keys are written
	callLimit time.Duration   // of one upstream call
	flights   flight.Group[*providers.Token]
	slots     chan struct{} // one for each upstream call under way
	replicas  *replicas     // nil without a Store

	entries    *bounded[*entry]
	exchanged  *bounded[*entry] // entries of tokens for an assertion
	index      *bounded[owner]  // of refresh tokens, without a Store
	tombstones *bounded[tombstone]
	brought    atomic.Int64 // entries of grants that came by Adopt or Refresh
	// unsavedPurges says that a sign-out must be continued.
	unsavedPurges atomic.Bool

	stats  counters
	deaths deathRate
	lines  warnlog.Rare   // of the log
	jitter func() float64 // in [0, 1)

	ctx     context.Context // the cache's lifetime
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
	o.Logger = warnlog.OrDefault(o.Logger)
	return o, faults
}

// New returns a Cache in front of p. The error joins every fault of p and o.
func New(p providers.Provider, o Options) (*Cache, error) {
	c, err := prepare(p, o)
	if err != nil {
		return nil, err
	}
	if c.replicas != nil {
		go c.replicas.listen()
	}
	return c, nil
}

// prepare makes a Cache that does not yet listen to other replicas.
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
		jitter:     rand.Float64,
		index:      newBounded(4*o.MaxEntries, owner.evictionRank, func(owner) bool { return true }),
		tombstones: newBounded(4*o.MaxEntries, tombstone.evictionRank, func(tombstone) bool { return true }),
	}
	c.entries = newBounded(o.MaxEntries, c.evictionRank, c.evict)
	c.exchanged = newBounded(o.MaxEntries, c.evictionRank, c.evict)
	c.readWall()
	c.keyPrefix = appendPart(slices.Clone(c.prefix), "key")
	c.keyer, _ = p.(providers.Keyer)
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
		c.replicas = newReplicas(c, sealer)
	}
	return c, nil
}

// Generate returns the current token of req's grant while it is valid.
// Otherwise it renews it: by its refresh token if there is one, else by the
// provider's Generate. All callers of one grant share one upstream call. The
// call goes on when they leave.
//
// A [Cache.Purge] of the grant during Generate makes Generate fail with
// [providers.CodeNotSignedIn]: it must not sign the user in again.
//
// The error is a [*providers.Error], or ctx.Err() as soon as ctx ends. After a
// failure the grant fails fast with the same error for a while. RetryAfter is
// the rest of that time.
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

// Renew reports that rejected, a token of req's grant, was refused, and returns
// a token with a higher version. That may be a token that is already there or
// that another call is bringing. If rejected is still current it is renewed,
// but at most once per ForcedFloor: within that time Renew returns the current
// token although it was rejected.
func (c *Cache) Renew(ctx context.Context, req providers.Request, rejected providers.Token) (providers.Token, error) {
	k, err := c.key(&req)
	if err != nil {
		return providers.Token{}, err
	}
	return copyOf(c.renew(ctx, &k, &req, rejected.Version, true))
}

// copyOf returns a copy of a token for one caller.
func copyOf(token *providers.Token, err error) (providers.Token, error) {
	if err != nil {
		return providers.Token{}, err
	}
	return *token, nil
}

// generate is Generate for a miss. It is a separate function so that a hit
// leaves its request on the stack.
func (c *Cache) generate(ctx context.Context, k id, req providers.Request) (providers.Token, error) {
	return copyOf(c.current(ctx, &k, &req, true))
}

// fresh returns the token of k if it can be served without further checks.
func (c *Cache) fresh(k *id) *providers.Token {
	if e, ok := c.find(k); ok {
		v := e.view.Load()
		if now := c.now(); v.age(now) == record.Fresh && c.informed(now) {
			c.stats.hits.add()
			return &v.Token
		}
	}
	return nil
}

// current returns the current token of k from memory, or waits for it.
func (c *Cache) current(ctx context.Context, k *id, req *providers.Request, failIfPurged bool) (*providers.Token, error) {
	if e, ok := c.find(k); ok {
		v := e.view.Load()
		if now := c.now(); v != nil && c.informed(now) {
			switch v.age(now) {
			case record.Fresh:
				c.stats.hits.add()
				return &v.Token, nil
			case record.Stale:
				c.stats.hits.add()
				c.renewAhead(ctx, k, e, v, req)
				return &v.Token, nil
			}
		}
	}
	return c.do(ctx, k, &want{Want: record.Want{Kind: record.Current}, req: req, failIfPurged: failIfPurged})
}

// renewAhead starts a renewal of v for which no caller waits.
func (c *Cache) renewAhead(ctx context.Context, k *id, e *entry, v *view, req *providers.Request) {
	if !e.mu.TryLock() {
		return // another caller does it
	}
	defer e.mu.Unlock()
	if e.attempt != nil || e.view.Load() != v || v.failure().Remaining(c.nowFor(v)) > 0 {
		return
	}
	c.start(ctx, k, e, &want{Want: record.Want{Kind: record.Current, After: v.Token.Version}, req: req, ahead: true})
}

func (c *Cache) renew(ctx context.Context, k *id, req *providers.Request, rejected uint64, failIfPurged bool) (*providers.Token, error) {
	return c.do(ctx, k, &want{Want: record.Want{Kind: record.Current, After: rejected, Forced: true}, req: req, failIfPurged: failIfPurged})
}

// key names req's record.
func (c *Cache) key(req *providers.Request) (id, error) {
	buf := c.buffers.Get().(*[]byte)
	b, err := c.appendKey((*buf)[:0], req)
	if err != nil {
		return id{}, err
	}
	k := id(sha256.Sum256(b))
	k[len(k)-1] &^= exchangedBit
	if forAssertion(req) {
		k[len(k)-1] |= exchangedBit
	}
	clear(b) // a key may contain an assertion
	*buf = b
	c.buffers.Put(buf)
	return k, nil
}

// forAssertion reports whether a token for req belongs to the bearer of req's
// assertions only.
func forAssertion(req *providers.Request) bool {
	return req.Assertion.Token != "" || req.Actor.Token != ""
}

// appendKey appends to b the bytes whose digest is the id of req's record. The
// length of each part is written before it.
func (c *Cache) appendKey(b []byte, req *providers.Request) ([]byte, error) {
	b = append(b, c.keyPrefix...)
	if c.keyer != nil {
		k, err := c.keyer.Key(*req)
		if err != nil {
			return nil, err
		}
		b = appendPart(b, k)
	} else {
		n := len(b)
		b = append(b, 0, 0, 0, 0)
		var err error
		if b, err = req.AppendKey(b); err != nil {
			return nil, err
		}
		binary.BigEndian.PutUint32(b[n:], uint32(len(b)-n-4))
	}
	if !forAssertion(req) {
		return b, nil
	}
	for _, a := range []*providers.Assertion{&req.Assertion, &req.Actor} {
		if a.Token != "" {
			b = appendPart(appendPart(appendPart(b, a.Token), a.Type), a.Issuer)
		} else {
			b = appendPart(b, "")
		}
	}
	return b, nil
}

// digest names s of a kind. Different namespaces, kinds and strings have
// different encodings: the length of each is written before it.
func (c *Cache) digest(kind, s string) id {
	var buf [512]byte
	b := append(buf[:0], c.prefix...)
	return sha256.Sum256(appendPart(appendPart(b, kind), s))
}

func appendPart(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// Ready reports, from memory alone, whether the Cache is open and, over a
// Store, has joined the other replicas. A Store that fails later does not
// change the answer, because valid tokens are still served. Use it in /readyz.
func (c *Cache) Ready() bool {
	return !c.isClosed() && (c.replicas == nil || c.replicas.joined())
}

func (c *Cache) isClosed() bool {
	c.life.Lock()
	defer c.life.Unlock()
	return c.closed
}

// Close refuses new work and waits for the work and the sign-outs under way until
// ctx ends or their own time is over. Then it cancels the work. The error says
// how many upstream calls did not return even then: their provider ignores its
// context.
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
		if c.replicas != nil {
			<-c.replicas.left
			c.replicas.tasks.Wait()
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

// closeGrace is how long Close waits for cancelled work.
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
