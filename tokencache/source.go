package tokencache

import (
	"context"
	"sync/atomic"

	"github.com/bearerkit/bearerkit/providers"
)

// Source yields the current token of one request. It is what an outbound
// transport holds: cheap to keep, safe for concurrent use, and a hit costs an
// atomic load and a look at the clock. Make one with [Cache.Source].
type Source struct {
	c   *Cache
	req providers.Request
	id  id
	err error
	e   atomic.Pointer[entry]
}

// Token returns a valid token, from memory where there is one. A caller waits
// only if there is none, and leaves with ctx.Err() when ctx ends.
func (s *Source) Token(ctx context.Context) (providers.Token, error) {
	if e := s.e.Load(); e != nil {
		if st := e.cur.Load(); st != nil && s.c.hit(st) {
			return st.tok, nil
		}
	}
	return s.miss(ctx)
}

func (s *Source) miss(ctx context.Context) (providers.Token, error) {
	if s.err != nil {
		return providers.Token{}, s.err
	}
	tok, err := s.c.token(ctx, &s.id, s.req)
	if err == nil {
		s.e.Store(s.c.table.find(&s.id))
	}
	return tok, err
}

// Renew says that rejected was refused, and returns a newer token: one that
// is there already, one that is under way, or a new one. See [Cache.Renew].
func (s *Source) Renew(ctx context.Context, rejected providers.Token) (providers.Token, error) {
	if s.err != nil {
		return providers.Token{}, s.err
	}
	return s.c.renew(ctx, &s.id, s.req, rejected)
}
