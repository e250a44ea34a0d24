package tokencache

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

// Source yields the current token of one request. Outbound transports hold one:
// it is small and safe for concurrent use, and a hit costs an atomic load and a
// reading of the clock. [Cache.Source] makes it.
type Source struct {
	c     *Cache
	req   requestCopy
	id    id
	err   error
	entry *atomic.Pointer[entry] // allocated separately, so that the Source itself can stay on a stack
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
	s.c, s.entry = c, new(atomic.Pointer[entry])
	s.req.set(req)
	if s.id, s.err = c.key(req); s.err == nil {
		if e, ok := c.find(&s.id); ok {
			s.entry.Store(e)
		}
	}
}

// requestCopy is a deep copy of a request. Up to four scopes and four params
// that are neither maps nor slices are copied without an allocation.
type requestCopy struct {
	rest             providers.Request // without the scopes and params that are in the arrays
	scopes           [4]string
	params           [4]param
	nScopes, nParams int // how much of the arrays is used
}

type param struct {
	name  string
	value any
}

func (r *requestCopy) set(req *providers.Request) {
	r.rest = *req
	if len(req.Scopes) <= len(r.scopes) {
		r.nScopes, r.rest.Scopes = copy(r.scopes[:], req.Scopes), nil
	}
	if len(req.Params) <= len(r.params) && r.setParams(req.Params) {
		r.rest.Params = nil
	}
	if r.rest.Scopes != nil || r.rest.Params != nil || r.rest.Identifiers != nil {
		r.rest = cloneRequest(r.rest)
	}
}

// setParams copies params, unless one is a map or a slice.
func (r *requestCopy) setParams(params map[string]any) bool {
	n := 0
	for name, value := range params {
		switch value.(type) {
		case map[string]any, []any:
			return false
		}
		r.params[n] = param{name, value}
		n++
	}
	r.nParams = n
	return true
}

// request returns the request that was copied. It must not be changed.
func (r *requestCopy) request() providers.Request {
	req := r.rest
	if n := r.nScopes; n > 0 {
		req.Scopes = slices.Clone(r.scopes[:n])
	}
	if n := r.nParams; n > 0 {
		req.Params = make(map[string]any, n)
		for _, p := range r.params[:n] {
			req.Params[p.name] = p.value
		}
	}
	return req
}

// Token returns a valid token, from memory if there is one. A caller waits only
// if there is none, and gets ctx.Err() when ctx ends. If a Purge overtakes
// Token, Token asks for another token, which may sign the user in again.
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
	k, req := s.id, s.req.request() // copies, so that s can stay on its caller's stack
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
	k, req := s.id, s.req.request() // copies, so that s can stay on its caller's stack
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

// Format writes a fixed text for every verb, because a Grant names a user.
func (*Grant) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "tokencache.Grant") }
