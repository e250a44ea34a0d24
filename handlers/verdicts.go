package handlers

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

const (
	goodFor = 30 * time.Second
	badFor  = 5 * time.Second
	// maxVerdicts bounds one of the two generations.
	maxVerdicts = 8192
)

// verdicts remembers what a Verifier said, under the token's digest. When the
// young generation is full it becomes the old one, and the old one goes.
type verdicts struct {
	verifier providers.Verifier
	now      func() time.Time

	mu         sync.Mutex
	young, old map[[sha256.Size]byte]verdict
}

type verdict struct {
	verified providers.Verified
	err      error
	until    time.Time
}

func newVerdicts(v providers.Verifier, now func() time.Time) *verdicts {
	return &verdicts{verifier: v, now: now, young: map[[sha256.Size]byte]verdict{}}
}

func (c *verdicts) of(ctx context.Context, token string) (providers.Verified, error) {
	key := sha256.Sum256([]byte(token))
	if v, ok := c.load(key); ok {
		return v.verified, v.err
	}
	asked := c.now()
	verified, err := c.verifier.Verify(ctx, token)
	v := verdict{verified: verified, err: err, until: asked.Add(goodFor)}
	var pe *providers.Error
	switch {
	case err == nil:
		if !verified.Expiry.IsZero() && verified.Expiry.Before(v.until) {
			v.until = verified.Expiry
		}
	case errors.As(err, &pe) && pe.Code == providers.CodeInvalidToken:
		v.until = asked.Add(badFor)
	default:
		return verified, err // an outage is no verdict
	}
	c.store(key, v)
	return verified, err
}

func (c *verdicts) load(key [sha256.Size]byte) (verdict, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.young[key]
	if !ok {
		v, ok = c.old[key]
	}
	return v, ok && c.now().Before(v.until)
}

func (c *verdicts) store(key [sha256.Size]byte, v verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= maxVerdicts {
		c.young, c.old = map[[sha256.Size]byte]verdict{}, c.young
	}
	c.young[key] = v
}
