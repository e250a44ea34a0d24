package tokencache

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

// CanRefresh implements [providers.OptionalRefresher]. It reports whether the
// provider is a [providers.Refresher]. A Cache always has the method Refresh.
func (c *Cache) CanRefresh() bool { return c.refresher != nil }

// Refresh spends refreshToken and returns the pair that replaces it. It never
// generates. A refresh token that was replaced within Grace gets its successor
// without an upstream call, so that concurrent and repeated calls agree. A
// refresh token that was replaced earlier, signed out or refused is
// [providers.CodeRefreshRejected], also without an upstream call.
//
// A replaced refresh token is remembered for a day, but at most for the last
// 360 renewals of its grant. For tokens that live a minute, that is six hours.
//
// req need not name a user: the refresh token finds its grant. If req names a
// user, the caller must have verified the user, and the grant must belong to
// that user.
func (c *Cache) Refresh(ctx context.Context, req providers.Request, refreshToken string) (providers.Token, error) {
	if c.refresher == nil {
		return providers.Token{}, fault(providers.CodeInternal, providers.Permanent, "the provider cannot refresh", nil)
	}
	if refreshToken == "" {
		return providers.Token{}, fault(providers.CodeInvalidField, providers.Permanent, "no refresh token", nil)
	}
	w := &want{Want: record.Want{Kind: record.Refresh, RefreshToken: refreshToken, Digest: c.tokenDigest(refreshToken)}, req: &req}
	own := owner{tenant: req.Tenant, claimed: true}
	var err error
	if own.id, err = c.key(&req); err != nil {
		var pe *providers.Error
		if !errors.As(err, &pe) || pe.Code != providers.CodeIdentityRequired {
			return providers.Token{}, err
		}
		own.id, own.anonymous = c.digest("anonymous", refreshToken), true
		own.id[len(own.id)-1] &^= exchangedBit
	}
	if w.owner, err = c.findOwner(ctx, w, own); err != nil {
		return providers.Token{}, err
	}
	if !w.owner.admits(own) {
		return providers.Token{}, errRejected
	}
	if w.owner.claimed && !c.roomToPin() {
		return providers.Token{}, errFull
	}
	return copyOf(c.do(ctx, &w.owner.id, w))
}

var errFull error = &providers.Error{Code: providers.CodeBusy, Class: providers.Transient, Op: op, Description: "the cache is full of grants that must stay: raise MaxEntries, or give it a Store"}

// Adopt makes tok, which was obtained elsewhere, the current token of req's
// grant. Call it at a login, or at the start for tokens that the application
// has kept. If tok has expired, or is a refresh token alone, the next call that
// needs a token renews it.
//
// Requests that differ in any field have different grants, unless the provider
// is a [providers.Keyer]. For example, a pair adopted for a Subject is not
// found by a Source whose request also has Scopes.
//
// If the cache already has or had the refresh token of tok, its own pair is
// newer. Adopt then changes nothing. It fails with
// [providers.CodeRefreshRejected] if the grant was signed out or refused. If a
// vendor rotates refresh tokens, the application's own copy is outdated after
// the first renewal: only a [Store] keeps grants over a restart. Without a
// Store, Adopt is [providers.CodeBusy] once adopted grants are three quarters
// of MaxEntries.
func (c *Cache) Adopt(ctx context.Context, req providers.Request, tok providers.Token) error {
	k, err := c.key(&req)
	if err != nil {
		return err
	}
	now := c.wallNow()
	if tok.AccessToken == "" {
		tok.IssuedAt, tok.Expiry = now, now
	}
	refreshable := tok.RefreshToken != "" && c.refresher != nil && (tok.RefreshExpiry.IsZero() || now.Before(tok.RefreshExpiry))
	if !refreshable && (tok.AccessToken == "" || !tok.Expiry.IsZero() && !now.Before(record.ServeUntil(&tok))) {
		return fault(providers.CodeInvalidField, providers.Permanent, "neither a token that has life left nor a refresh token", nil)
	}
	known, err := c.knows(ctx, k, &req, tok.RefreshToken)
	if known || err != nil {
		return err
	}
	if e, ok := c.find(&k); !(ok && broughtBy(e.view.Load()) > 0) && !c.roomToPin() {
		return errFull
	}
	_, err = c.do(ctx, &k, &want{Want: record.Want{Kind: record.Adopt}, req: &req, token: &tok})
	return err
}

// knows reports whether refreshToken came with an earlier pair of k's record.
// If that record has ended, it returns an error.
func (c *Cache) knows(ctx context.Context, k id, req *providers.Request, refreshToken string) (bool, error) {
	if refreshToken == "" {
		return false, nil
	}
	o, err := c.claim(ctx, c.tokenDigest(refreshToken), owner{id: k, tenant: req.Tenant, claimed: true})
	switch {
	case err != nil && c.rules.Mode == providers.Shared:
		return false, nil // continues without the Store
	case err != nil:
		return false, storeError(err)
	case o.dead:
		return false, errRejected
	case o.claimed || o.id != k:
		return false, nil
	}
	if _, err := c.do(ctx, &k, &want{Want: record.Want{Kind: record.Read}, req: req}); err != nil {
		return false, err
	}
	e, err := c.entry(&k)
	if err != nil {
		return false, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch r := e.record(); {
	case r.Token.RefreshToken != "":
		return true, nil
	case r.Version == 0: // forgotten, for example evicted from a full cache
		return false, nil
	}
	return false, errRejected
}

// cloneRequest copies req deeply, because an attempt reads it after its caller
// has left.
func cloneRequest(req providers.Request) providers.Request {
	req.Scopes = slices.Clone(req.Scopes)
	req.Identifiers = maps.Clone(req.Identifiers)
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
			switch e.(type) {
			case map[string]any, []any:
				m[k] = cloneJSON(e)
			}
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
