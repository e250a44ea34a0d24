package tokencache

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/bearerkit/bearerkit/providers"
)

// CanRefresh reports whether the provider is a [providers.Refresher], as which
// a Cache itself always counts.
func (c *Cache) CanRefresh() bool { return c.refresher != nil }

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
	if j.ref, err = c.refOf(ctx, j, own); err != nil {
		return providers.Token{}, err
	}
	if !j.ref.admits(own) {
		return providers.Token{}, errRejected
	}
	return c.do(ctx, &j.ref.id, j)
}

// refOf finds the record of j's refresh token. One never seen is claimed for
// own, so that no two callers present it.
func (c *Cache) refOf(ctx context.Context, j *job, own ref) (ref, error) {
	if e := c.table.find(&own.id); e != nil {
		e.mu.Lock()
		r := e.snapshot()
		e.mu.Unlock()
		if j.rt == r.token.RefreshToken || r.spentWithin(j.digest, c.o.Grace, c.wallNow()) {
			own.claimed = false
			return own, nil
		}
	}
	r, err := c.point(ctx, j.digest, own, true)
	switch {
	case err == nil:
		return r, nil
	case c.mode == providers.Shared:
		return own, nil
	}
	return ref{}, c.down(err)
}

// Adopt makes tok, obtained elsewhere, the current token of req's grant: at a
// login, or at a start from where the application kept it. A token that has
// expired, or a refresh token alone, is renewed by the next call that needs a
// token.
//
// A pair whose refresh token the cache has or had already is older than what is
// there: Adopt then changes nothing, or fails with
// [providers.CodeRefreshRejected] if the grant was signed out or refused. With a
// vendor that rotates refresh tokens the application's own copy is stale after
// the first renewal: only a [Store] outlives the process.
func (c *Cache) Adopt(ctx context.Context, req providers.Request, tok providers.Token) error {
	k, err := c.key(req)
	if err != nil {
		return err
	}
	now := c.wallNow()
	if tok.AccessToken == "" {
		tok.IssuedAt, tok.Expiry = now, now
	}
	if (tok.RefreshToken == "" || c.refresher == nil) && (tok.AccessToken == "" || !tok.Expiry.IsZero() && !now.Before(hardOf(&tok))) {
		return fault(providers.CodeInvalidField, providers.Permanent, "neither a token that has life left nor a refresh token", nil)
	}
	known, err := c.knows(ctx, k, req, tok.RefreshToken)
	if known || err != nil {
		return err
	}
	_, err = c.do(ctx, &k, &job{kind: adopt, req: req, tok: tok})
	return err
}

// knows reports whether rt came with an earlier pair of k's record. It is an
// error if that record has ended.
func (c *Cache) knows(ctx context.Context, k id, req providers.Request, rt string) (bool, error) {
	if rt == "" {
		return false, nil
	}
	r, err := c.point(ctx, c.digest("rt", rt), ref{id: k, tenant: req.Tenant, claimed: true}, true)
	switch {
	case err != nil && c.mode == providers.Shared:
		return false, nil // goes on without the Store
	case err != nil:
		return false, c.down(err)
	case r.dead:
		return false, errRejected
	case r.claimed || r.id != k:
		return false, nil
	}
	if _, err := c.do(ctx, &k, &job{kind: restore, req: req}); err != nil {
		return false, err
	}
	e, err := c.entry(&k)
	if err != nil {
		return false, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch now := e.snapshot(); {
	case now.token.RefreshToken != "":
		return true, nil
	case now.version == 0: // forgotten, as when it fell out of a full cache
		return false, nil
	}
	return false, errRejected
}

// Purge signs req's grant out. No token issued before is handed out any more,
// also none of a flight that is under way; its refresh tokens are refused. If
// the provider is a [providers.Revoker], the current token is revoked.
func (c *Cache) Purge(ctx context.Context, req providers.Request) error {
	k, err := c.key(req)
	if err != nil {
		return err
	}
	last, err := c.purge(ctx, &k)
	return errors.Join(err, c.revoke(ctx, last))
}

func (c *Cache) revoke(ctx context.Context, tok providers.Token) error {
	r, ok := c.p.(providers.Revoker)
	if !ok || tok.AccessToken == "" && tok.RefreshToken == "" {
		return nil
	}
	if err := r.Revoke(ctx, tok); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
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
	for _, part := range []string{c.o.Namespace, kind, s} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return sha256.Sum256(b)
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
