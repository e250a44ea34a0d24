// Package verdict remembers for a short time what an upstream said about an
// opaque token, asks once however many callers want to know, and bounds how
// much is asked at once.
package verdict

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/internal/clocks"
	"github.com/bearerkit/bearerkit/internal/flight"
	"github.com/bearerkit/bearerkit/providers"
)

// ErrBusy: too many questions wait already, or the caller waited too long for a
// turn.
var ErrBusy = errors.New("verdict: too many questions are waiting")

// Config sets the bounds. MaxBytes, AtOnce, Waiting and Now may be left out.
type Config struct {
	Positive time.Duration // how long "valid" is believed, never past the token's own end
	Negative time.Duration // how long "not valid" is
	Max      int           // how many verdicts are kept
	MaxBytes int           // how many bytes they take together, about; 0: 2 KiB for each
	Timeout  time.Duration // for one question, however many wait for it, and about for each caller
	AtOnce   int           // questions under way at one time; 0: 32
	Waiting  int           // further callers that wait for their turn; 0: 32 for each at once
	Now      func() time.Time
}

// Cache holds verdicts by SHA-256 of the token. It is safe for concurrent use.
type Cache struct {
	cfg   Config
	clock *clocks.Clock
	gate  *Gate
	calls flight.Group[providers.Verified]

	mu sync.Mutex
	// Two generations bound the memory without bookkeeping per hit: when the
	// young one is full it becomes the old one, and the old one is dropped.
	young, old map[key]verdict
	bytes      int // of young
	questions  map[key]*question
}

type key [sha256.Size]byte

type verdict struct {
	verified providers.Verified
	err      error
	until    clocks.Instant
}

// question is one token that callers wait for.
type question struct {
	waiting  int           // callers who wait for a turn or for the call
	started  chan struct{} // closed when it has its turn and its call
	answered bool
	verdict
}

// New returns an empty Cache.
func New(cfg Config) *Cache {
	if cfg.AtOnce == 0 {
		cfg.AtOnce = 32
	}
	if cfg.Waiting == 0 {
		cfg.Waiting = 32 * cfg.AtOnce
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = cfg.Max << 11
	}
	clock := clocks.New(cfg.Now)
	return &Cache{cfg: cfg, clock: clock, gate: NewGate(cfg.AtOnce, cfg.Waiting), young: map[key]verdict{}, questions: map[key]*question{}}
}

// Verify returns the verdict on token, from memory or from ask. ask runs on a
// separate context, so that a caller that leaves does not end the call for the
// others. A caller leaves, also the queue, when ctx ends or when it has waited a
// second longer than Timeout: for a turn, for ask, or for both. Errors other
// than "not valid" are shared by those who waited and then forgotten.
// [providers.CodeBusy] over [ErrBusy] means that nothing was asked for this
// caller.
func (c *Cache) Verify(ctx context.Context, token string, ask func(context.Context) (providers.Verified, error)) (providers.Verified, error) {
	if err := ctx.Err(); err != nil {
		return providers.Verified{}, err
	}
	k := key(sha256.Sum256([]byte(token)))
	c.mu.Lock()
	if v, ok := c.lookup(k); ok {
		c.mu.Unlock()
		return v.verified, v.err
	}
	q := c.questions[k]
	if q == nil {
		q = &question{started: make(chan struct{})}
		c.questions[k] = q
	}
	q.waiting++
	c.mu.Unlock()
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout+time.Second)
	defer cancel()
	switch err := c.gate.enter(ctx, q.started); {
	case errors.Is(err, errStarted):
		return c.join(ctx, k, q)
	case err != nil:
		c.leave(k, q)
		if caller.Err() == nil {
			err = ErrBusy // the queue is full, or too slow
		}
		if errors.Is(err, ErrBusy) {
			err = &providers.Error{Code: providers.CodeBusy, Class: providers.Transient, Op: "verdict", RetryAfter: time.Second, Err: err}
		}
		return providers.Verified{}, err
	}
	return c.start(ctx, k, q, ask)
}

// start begins the call for q, or joins it if another caller had its turn at
// the same time. The caller holds a turn.
func (c *Cache) start(ctx context.Context, k key, q *question, ask func(context.Context) (providers.Verified, error)) (providers.Verified, error) {
	c.mu.Lock()
	if isClosed(q.started) {
		c.mu.Unlock()
		c.gate.leave()
		return c.join(ctx, k, q)
	}
	asked := c.clock.Now()
	ticket := c.calls.Start(string(k[:]), func(call *flight.Call[providers.Verified]) {
		defer c.gate.leave()
		ctx, cancel := context.WithTimeout(context.Background(), c.cfg.Timeout)
		defer cancel()
		var v verdict
		if err := flight.Guard(func() { v.verified, v.err = ask(ctx) }); err != nil {
			v = verdict{err: err}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		q.verdict, q.answered = v, true
		delete(c.questions, k)
		c.remember(k, v, asked)
		call.Answer(v.verified, v.err)
	})
	close(q.started)
	c.mu.Unlock()
	return ticket.Wait(ctx)
}

// join waits for the call of q, which has started.
func (c *Cache) join(ctx context.Context, k key, q *question) (providers.Verified, error) {
	c.mu.Lock()
	if q.answered {
		c.mu.Unlock()
		return q.verified, q.err
	}
	ticket := c.calls.Join(string(k[:]))
	c.mu.Unlock()
	return ticket.Wait(ctx)
}

// leave takes a caller out of the queue. A question without callers is
// forgotten.
func (c *Cache) leave(k key, q *question) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if q.waiting--; q.waiting == 0 && !isClosed(q.started) {
		delete(c.questions, k)
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (c *Cache) lookup(k key) (verdict, bool) {
	v, ok := c.young[k]
	if !ok {
		v, ok = c.old[k]
	}
	return v, ok && !c.clock.Now().Reached(v.until)
}

func (c *Cache) remember(k key, v verdict, asked clocks.Instant) {
	var e *providers.Error
	switch {
	case v.err == nil:
		v.until = asked.Add(c.cfg.Positive)
		if end := v.verified.Expiry; !end.IsZero() {
			v.until.Wall = min(v.until.Wall, end.UnixNano())
		}
	case errors.As(v.err, &e) && e.Code == providers.CodeInvalidToken:
		v.until = asked.Add(c.cfg.Negative)
	default:
		return
	}
	size := len(k) + len(v.verified.Claims) + len(v.verified.Subject)
	for _, s := range v.verified.Scopes {
		size += len(s)
	}
	if size > c.cfg.MaxBytes/2 {
		return
	}
	if len(c.young) >= max(c.cfg.Max/2, 1) || c.bytes+size > c.cfg.MaxBytes/2 {
		c.old, c.young, c.bytes = c.young, map[key]verdict{}, 0
	}
	c.young[k] = v
	c.bytes += size
}
