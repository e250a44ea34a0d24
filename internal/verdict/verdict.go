// Package verdict remembers for a short time what an upstream said about an
// opaque token, and asks once however many callers want to know.
package verdict

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// Config sets the bounds. All are required but Now.
type Config struct {
	Positive time.Duration // how long "valid" is believed, never past the token's own end
	Negative time.Duration // how long "not valid" is
	Max      int           // how many verdicts are kept
	Timeout  time.Duration // for one question, whoever waits for it
	Now      func() time.Time
}

// Cache holds verdicts by SHA-256 of the token. It is safe for concurrent use.
type Cache struct {
	cfg Config

	mu sync.Mutex
	// Two generations bound the memory without bookkeeping per hit: when the
	// young one is full it becomes the old one, and the old one is dropped.
	young, old map[key]verdict
	flights    map[key]*flight
}

type key [sha256.Size]byte

type verdict struct {
	verified providers.Verified
	err      error
	until    time.Time
}

type flight struct {
	done chan struct{}
	verdict
}

// New returns an empty Cache.
func New(cfg Config) *Cache {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Cache{cfg: cfg, young: map[key]verdict{}, flights: map[key]*flight{}}
}

// Verify returns the verdict on token, from memory or from ask. ask runs on a
// context of its own, so that a caller who leaves takes nobody along; the
// caller itself leaves when ctx ends. Errors other than "not valid" are shared
// by those who waited and then forgotten.
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
	f := c.flights[k]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		c.flights[k] = f
		go c.fly(context.WithoutCancel(ctx), k, f, ask)
	}
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.verified, f.err
	case <-ctx.Done():
		return providers.Verified{}, ctx.Err()
	}
}

func (c *Cache) lookup(k key) (verdict, bool) {
	v, ok := c.young[k]
	if !ok {
		v, ok = c.old[k]
	}
	return v, ok && c.cfg.Now().Before(v.until)
}

func (c *Cache) fly(ctx context.Context, k key, f *flight, ask func(context.Context) (providers.Verified, error)) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	asked := c.cfg.Now()
	f.err = errors.New("verdict: the question was abandoned") // stands if ask calls runtime.Goexit
	defer func() {
		if p := recover(); p != nil {
			f.err = fmt.Errorf("verdict: the verifier panicked: %T", p)
		}
		c.mu.Lock()
		delete(c.flights, k)
		c.remember(k, f.verdict, asked)
		c.mu.Unlock()
		close(f.done)
	}()
	f.verified, f.err = ask(ctx)
}

func (c *Cache) remember(k key, v verdict, asked time.Time) {
	var e *providers.Error
	switch {
	case v.err == nil:
		v.until = asked.Add(c.cfg.Positive)
		if end := v.verified.Expiry; !end.IsZero() && end.Before(v.until) {
			v.until = end
		}
	case errors.As(v.err, &e) && e.Code == providers.CodeInvalidToken:
		v.until = asked.Add(c.cfg.Negative)
	default:
		return
	}
	if len(c.young) >= max(c.cfg.Max/2, 1) {
		c.old, c.young = c.young, map[key]verdict{}
	}
	c.young[k] = v
}
