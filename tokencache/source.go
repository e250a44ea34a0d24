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
	entry atomic.Pointer[entry]
}

// Source returns the Source of req's grant. If req has no key, the methods of
// the Source return the error.
func (c *Cache) Source(req providers.Request) *Source {
	s := &Source{c: c, req: cloneRequest(req)}
	s.id, s.err = c.key(&s.req)
	return s
}

// Token returns a valid token, from memory if there is one. A caller waits only
// if there is none, and gets ctx.Err() when ctx ends.
func (s *Source) Token(ctx context.Context) (providers.Token, error) {
	if e := s.entry.Load(); e != nil {
		if v := e.view.Load(); v != nil && v.age(s.c.now()) == record.Fresh {
			s.c.stats.hits.add()
			return v.Token, nil
		}
	}
	return s.lookUp(ctx)
}

func (s *Source) lookUp(ctx context.Context) (providers.Token, error) {
	if s.err != nil {
		return providers.Token{}, s.err
	}
	tok, err := copyOf(s.c.current(ctx, &s.id, &s.req, false))
	if err == nil {
		e, _ := s.c.find(&s.id)
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
	return copyOf(s.c.renew(ctx, &s.id, &s.req, rejected.Version, false))
}

// Format writes a fixed text for every verb, because Options hold keys.
func (Options) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "tokencache.Options(redacted)") }

// LogValue returns a fixed text.
func (Options) LogValue() slog.Value { return slog.StringValue("tokencache.Options(redacted)") }

// Format writes a fixed text for every verb, because a Cache holds tokens.
func (*Cache) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "tokencache.Cache") }

// Format writes a fixed text for every verb, because a Source names a user.
func (*Source) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "tokencache.Source") }
