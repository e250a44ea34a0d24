package tokencache

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/bearerkit/bearerkit/providers"
)

// Refresh spends refreshToken and returns the pair that replaces it. A token
// that was replaced within Grace gets its successor without an upstream call,
// so that concurrent and repeated calls agree; one that was replaced earlier,
// signed out or refused is [providers.CodeRefreshRejected] without one.
// Refresh never generates.
//
// req may name nobody: the refresh token finds its grant. If req does name
// somebody, which the caller must have verified, the grant must be theirs.
func (c *Cache) Refresh(ctx context.Context, req providers.Request, refreshToken string) (providers.Token, error) {
	if c.refresher == nil {
		return providers.Token{}, fault(providers.CodeInternal, providers.Permanent, "the provider cannot refresh", nil)
	}
	if refreshToken == "" {
		return providers.Token{}, fault(providers.CodeInvalidField, providers.Permanent, "no refresh token", nil)
	}
	j := &job{kind: refresh, req: req, rt: refreshToken, digest: c.digest("rt", refreshToken)}
	own := ref{tenant: req.Tenant, claimed: true}
	var err error
	if own.id, err = c.key(req); err != nil {
		var pe *providers.Error
		if !errors.As(err, &pe) || pe.Code != providers.CodeIdentityRequired {
			return providers.Token{}, err
		}
		own.id, own.anon = c.digest("anonymous", refreshToken), true
	}
	j.ref = c.index.claim(j.digest, own)
	if !j.ref.admits(own) {
		return providers.Token{}, errRejected
	}
	return c.do(ctx, &j.ref.id, j)
}

// admits reports whether a caller known as own may use r's record. Tenants
// are compared only if both are named: a provider with one accepts "" for it.
func (r ref) admits(own ref) bool {
	if r.tenant != own.tenant && r.tenant != "" && own.tenant != "" {
		return false
	}
	return r.id == own.id || r.anon || own.anon
}

// Adopt makes tok, obtained elsewhere, the current token of req's grant.
func (c *Cache) Adopt(ctx context.Context, req providers.Request, tok providers.Token) error {
	k, err := c.key(req)
	if err != nil {
		return err
	}
	if tok.AccessToken == "" {
		return fault(providers.CodeInvalidField, providers.Permanent, "an empty token cannot be adopted", nil)
	}
	_, err = c.do(ctx, &k, &job{kind: adopt, req: req, tok: tok, ref: ref{tenant: req.Tenant}})
	return err
}

// Purge signs req's grant out. No token issued before is handed out any more,
// also none of a flight that is under way; its refresh tokens are refused. If
// the provider is a [providers.Revoker], the current token is revoked.
func (c *Cache) Purge(ctx context.Context, req providers.Request) error {
	k, err := c.key(req)
	if err != nil {
		return err
	}
	var last providers.Token
	for {
		e := c.table.find(&k)
		if e == nil {
			if e = c.table.add(&k, c.worth); e == nil {
				return fault(providers.CodeBusy, providers.Transient, "every entry has a call under way", nil)
			}
		}
		e.mu.Lock()
		if e.fl == evicted {
			e.mu.Unlock()
			continue
		}
		r := e.snapshot()
		last = r.token
		r.purge(c.now())
		c.install(e, r)
		e.mu.Unlock()
		break
	}
	return c.revoke(ctx, last)
}

func (c *Cache) revoke(ctx context.Context, tok providers.Token) error {
	r, ok := c.p.(providers.Revoker)
	if !ok || tok.AccessToken == "" && tok.RefreshToken == "" {
		return nil
	}
	return r.Revoke(ctx, tok)
}

// key names req's record.
func (c *Cache) key(req providers.Request) (id, error) {
	var k string
	var err error
	if p, ok := c.p.(providers.Keyer); ok {
		k, err = p.Key(req)
	} else {
		k, err = req.Key()
	}
	if err != nil {
		return id{}, err
	}
	return c.digest("key", k), nil
}

// digest is injective over its parts, lengths being written before them.
func (c *Cache) digest(kind, s string) id {
	b := make([]byte, 0, 256)
	for _, part := range []string{kind, s} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return sha256.Sum256(b)
}

// Close stops new flights and waits for those under way, until ctx ends or
// they are past their time. Then it cancels them. The error says how many
// calls did not return even so: their provider ignores its context.
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
	defer c.cancel()
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

// cloneRequest copies req deeply: a flight reads it after its caller has left.
func cloneRequest(req providers.Request) providers.Request {
	req.Scopes = slices.Clone(req.Scopes)
	if req.Params != nil {
		req.Params = cloneJSON(req.Params).(map[string]any)
	}
	return req
}

func cloneJSON(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := maps.Clone(v)
		for k, e := range m {
			m[k] = cloneJSON(e)
		}
		return m
	case []any:
		s := slices.Clone(v)
		for i, e := range s {
			s[i] = cloneJSON(e)
		}
		return s
	}
	return v
}
