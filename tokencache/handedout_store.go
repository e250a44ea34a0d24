package tokencache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

// The kinds of the digests of tokens that pages have.
const (
	handedAccess  = "handed out"
	handedRefresh = "handed out refresh"
)

// handedAgain is the time after which a token that is handed out again is also
// written again, because the Store may have lost it.
const handedAgain = time.Minute

// handedRequest is the form of a [providers.Request] in the Store. It has no
// Assertion: a caller's credential is not kept for later calls.
type handedRequest struct {
	Tenant      string            `json:",omitempty"`
	Subject     string            `json:",omitempty"`
	Audience    string            `json:",omitempty"`
	Identifiers map[string]string `json:",omitempty"`
	Scopes      []string          `json:",omitempty"`
	Params      map[string]any    `json:",omitempty"`
}

func newHandedRequest(req *providers.Request) handedRequest {
	r := cloneRequest(*req)
	return handedRequest{r.Tenant, r.Subject, r.Audience, r.Identifiers, r.Scopes, r.Params}
}

func (r handedRequest) request() providers.Request {
	return providers.Request{
		Tenant: r.Tenant, Subject: r.Subject, Audience: r.Audience,
		Identifiers: r.Identifiers, Scopes: r.Scopes, Params: r.Params,
	}
}

// remember records tok, which is about to be handed out, as a token of k's
// record. If the record no longer has tok, tok was overtaken and is not
// recorded.
func (h *HandedOut) remember(ctx context.Context, k id, req handedRequest, tok providers.Token) {
	r := h.knownRecord(&k)
	if r.Token.Version != tok.Version || r.Token.AccessToken != tok.AccessToken || tok.AccessToken == "" {
		return
	}
	access := h.digest(handedAccess, tok.AccessToken)
	if old, ok := h.tokens.get(&access); ok && old.Version == tok.Version && h.since()-old.written < handedAgain {
		return
	}
	t := handedToken{ID: k, Request: req, Version: tok.Version, Purges: r.Purges, Expiry: tok.Expiry}
	life := h.o.RefreshLifetime
	if !tok.RefreshExpiry.IsZero() {
		life = tok.RefreshExpiry.Sub(h.wallNow())
	}
	g := handedGrant{Version: tok.Version, Purges: r.Purges}
	accessLife := h.o.RefreshLifetime
	if !tok.Expiry.IsZero() {
		accessLife = tok.Expiry.Add(h.window).Sub(h.wallNow())
	}
	if tok.RefreshToken != "" {
		t.Refresh = h.tokenDigest(tok.RefreshToken)
		g.Refresh = h.digest(handedRefresh, tok.RefreshToken)
	}
	err := h.put(ctx, &access, t, accessLife)
	if tok.RefreshToken != "" && err == nil {
		err = h.put(ctx, &g.Refresh, t, life)
	}
	if err == nil {
		err = h.putNewest(ctx, &k, g, life)
	}
	if err != nil {
		h.warn("tokencache: a token that is handed out could not be remembered; a page that shows it must refresh", "look at the store", "error", err)
	}
}

// knownRecord returns what this process knows of k's record.
func (h *HandedOut) knownRecord(k *id) record.Record {
	if e, ok := h.Cache.find(k); ok {
		if v := e.view.Load(); v != nil {
			return v.record()
		}
	}
	if t, ok := h.tombstones.get(k); ok {
		return t.record()
	}
	return record.Record{}
}

// readRecord returns the record of t, and the time for decisions about it. With
// latest it reads the Store. Otherwise it uses what this process knows, while
// that has t's token or a later one that is still valid: a replica reads of
// every sign-out.
func (h *HandedOut) readRecord(ctx context.Context, t *handedToken, latest bool) (record.Record, time.Time, error) {
	if err := h.attend(ctx); err != nil {
		return record.Record{}, time.Time{}, err
	}
	if h.replicas != nil && (latest || !h.knows(t)) {
		req := t.Request.request()
		w := &want{Want: record.Want{Kind: record.Read}, req: &req}
		if _, err := h.do(ctx, &t.ID, w); err != nil {
			return record.Record{}, time.Time{}, err
		}
	}
	now := h.wallNow()
	if e, ok := h.Cache.find(&t.ID); ok {
		now = h.nowFor(e.view.Load())
	}
	return h.knownRecord(&t.ID), now, nil
}

// knows reports whether this process need not read t's record.
func (h *HandedOut) knows(t *handedToken) bool {
	e, ok := h.Cache.find(&t.ID)
	if !ok {
		return false
	}
	v := e.view.Load()
	return v != nil && v.Token.Version >= t.Version && v.Token.Version >= v.overBelow && v.age(h.now()) != record.Over
}

func (h *HandedOut) tokenKey(d *id) string { return h.replicas.sealer.name("ho", *d) }
func (h *HandedOut) grantKey(k *id) string { return h.replicas.sealer.name("hg", *k) }

// put stores t under d for ttl.
func (h *HandedOut) put(ctx context.Context, d *id, t handedToken, ttl time.Duration) error {
	if ttl <= 0 {
		return nil
	}
	t.until, t.written = h.wallNow().Add(ttl).Unix(), h.since()
	// Memory comes first. While the Store is away, it is then tried once in
	// handedAgain and not for each caller.
	h.tokens.put(d, func(handedToken, bool) (handedToken, bool) { return t, true })
	if h.replicas == nil {
		return nil
	}
	val, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return h.replicas.put(ctx, h.tokenKey(d), ttl, func([]byte) []byte { return val })
}

// find returns the token that is named d under kind.
func (h *HandedOut) find(ctx context.Context, kind, token string) (d id, t handedToken, ok bool, err error) {
	d = h.digest(kind, token)
	t, ok, err = h.findNamed(ctx, &d, kind == handedAccess)
	return d, t, ok, err
}

func (h *HandedOut) findNamed(ctx context.Context, d *id, access bool) (handedToken, bool, error) {
	if t, ok := h.tokens.get(d); ok {
		return t, h.wallNow().Unix() <= t.until, nil
	}
	if h.replicas == nil {
		return handedToken{}, false, nil
	}
	v, err := h.replicas.fetch(ctx, h.tokenKey(d))
	switch {
	case errors.Is(err, record.ErrFormat), err == nil && v.rev == 0:
		return handedToken{}, false, nil
	case err != nil:
		return handedToken{}, false, storeError(err)
	}
	var t handedToken
	dec := json.NewDecoder(bytes.NewReader(v.bytes))
	dec.UseNumber() // numbers go upstream as they came
	if dec.Decode(&t) != nil {
		return handedToken{}, false, nil
	}
	t.until = h.wallNow().Add(h.o.RefreshLifetime).Unix()
	if access && !t.Expiry.IsZero() {
		t.until = t.Expiry.Add(h.window).Unix()
	}
	h.tokens.put(d, func(handedToken, bool) (handedToken, bool) { return t, true })
	return t, true, nil
}

// putNewest makes g the newest pair of k's record that a page has. The previous
// refresh token is dropped after Grace.
func (h *HandedOut) putNewest(ctx context.Context, k *id, g handedGrant, ttl time.Duration) error {
	if ttl <= 0 {
		return nil
	}
	g.At = h.wallNow()
	after := func(old handedGrant) (handedGrant, bool) {
		next := g
		if next.Before = old.Refresh; old.Refresh == g.Refresh {
			next.Before, next.At = old.Before, old.At
		}
		return next, old.Version < g.Version
	}
	var before id
	if h.replicas == nil {
		now, _ := h.grants.put(k, func(old handedGrant, _ bool) (handedGrant, bool) { return after(old) })
		before = now.Before
	} else {
		err := h.replicas.put(ctx, h.grantKey(k), ttl, func(b []byte) []byte {
			var old handedGrant
			_ = json.Unmarshal(b, &old)
			next, newer := after(old)
			if !newer {
				return nil
			}
			before = next.Before
			val, _ := json.Marshal(next) // no field can fail
			return val
		})
		if err != nil {
			return err
		}
	}
	return h.shorten(ctx, &before)
}

// shorten drops the token d after Grace.
func (h *HandedOut) shorten(ctx context.Context, d *id) error {
	if *d == (id{}) {
		return nil
	}
	h.tokens.put(d, func(t handedToken, ok bool) (handedToken, bool) {
		t.until = min(t.until, h.wallNow().Add(h.o.Grace).Unix())
		return t, ok
	})
	if h.replicas == nil {
		return nil
	}
	return h.replicas.put(ctx, h.tokenKey(d), h.o.Grace, func(b []byte) []byte { return b })
}

// newest returns the newest pair of k's record that a page has.
func (h *HandedOut) newest(ctx context.Context, k *id) (g handedGrant, err error) {
	if h.replicas == nil {
		g, _ = h.grants.get(k)
		return g, nil
	}
	v, err := h.replicas.fetch(ctx, h.grantKey(k))
	switch {
	case errors.Is(err, record.ErrFormat):
		return g, nil
	case err != nil:
		return g, storeError(err)
	}
	_ = json.Unmarshal(v.bytes, &g)
	return g, nil
}

// put sets the value under key to the result of change; nil leaves it.
func (h *replicas) put(ctx context.Context, key string, ttl time.Duration, change func(old []byte) []byte) error {
	for range maxRounds {
		v, err := h.fetch(ctx, key)
		if err != nil && !errors.Is(err, record.ErrFormat) {
			return err
		}
		val := change(v.bytes)
		if val == nil {
			return nil
		}
		next, err := h.swap(ctx, key, v.rev, 0, val, ttl, func(v value) bool { return bytes.Equal(v.bytes, val) })
		if next != 0 || err != nil {
			return err
		}
	}
	return fault(providers.CodeInternal, providers.Transient, "the token store refuses every write", nil)
}

// ownerOf returns the owner of a refresh token, if it is known.
func (c *Cache) ownerOf(ctx context.Context, d record.Digest) (owner, bool) {
	k := indexID(d)
	if c.replicas == nil {
		return c.index.get(&k)
	}
	v, _ := c.replicas.fetch(ctx, c.replicas.sealer.name("rt", k)) // no bytes after an error
	o, err := decodeOwner(v.bytes)
	return o, err == nil
}
