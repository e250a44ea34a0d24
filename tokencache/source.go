package tokencache

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

// Source yields the current token of one request. Outbound transports hold one:
// it is small and safe for concurrent use, and a hit costs an atomic load and a
// reading of the clock. [Cache.Source] makes it.
type Source struct {
	c     *Cache
	req   providers.Request
	id    id
	err   error
	entry *atomic.Pointer[entry] // apart, so that a Source may stay on a stack
}

// Source returns the Source of req's grant. If req has no key, the methods of
// the Source return the error. For a single call [Cache.Generate] is cheaper:
// it does not copy req.
//
// The compiler inlines Source. A Source that is used for one hit stays on the
// stack of its caller.
func (c *Cache) Source(req providers.Request) *Source {
	s := new(Source)
	s.bind(c, &req)
	return s
}

// bind makes s the Source of req's grant, with the grant's entry if there is
// one.
func (s *Source) bind(c *Cache, req *providers.Request) {
	s.c, s.req, s.entry = c, cloneRequest(*req), new(atomic.Pointer[entry])
	if s.id, s.err = c.key(req); s.err == nil {
		if e, ok := c.find(&s.id); ok {
			s.entry.Store(e)
		}
	}
}

// Token returns a valid token, from memory if there is one. A caller waits only
// if there is none, and gets ctx.Err() when ctx ends.
func (s *Source) Token(ctx context.Context) (providers.Token, error) {
	if e := s.entry.Load(); e != nil {
		if v := e.view.Load(); v != nil {
			if now := s.c.now(); v.age(now) == record.Fresh && s.c.informed(now) {
				s.c.stats.hits.add()
				return v.Token, nil
			}
		}
	}
	return copyOf(s.lookUp(ctx))
}

// lookUp returns the token of a Source that has no entry or whose entry has no
// fresh token.
func (s *Source) lookUp(ctx context.Context) (*providers.Token, error) {
	if s.err != nil {
		return nil, s.err
	}
	k, req := s.id, s.req // copies, so that s may stay on its caller's stack
	tok, err := s.c.current(ctx, &k, &req, false)
	if err == nil {
		e, _ := s.c.find(&k)
		s.entry.Store(e)
	}
	return tok, err
}

// Renew reports that rejected was refused, and returns a newer token: one that
// is already there, one that is under way, or a new one. See [Cache.Renew].
func (s *Source) Renew(ctx context.Context, rejected providers.Token) (providers.Token, error) {
	if s.err != nil {
		return providers.Token{}, s.err
	}
	k, req := s.id, s.req // copies, so that s may stay on its caller's stack
	return copyOf(s.c.renew(ctx, &k, &req, rejected.Version, false))
}

// Format writes a fixed text for every verb, because Options hold keys.
func (Options) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "tokencache.Options(redacted)") }

// LogValue returns a fixed text.
func (Options) LogValue() slog.Value { return slog.StringValue("tokencache.Options(redacted)") }

// Format writes a fixed text for every verb, because a Cache holds tokens.
func (*Cache) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "tokencache.Cache") }

// Format writes a fixed text for every verb, because a Source names a user.
func (*Source) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "tokencache.Source") }
