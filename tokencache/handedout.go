package tokencache

import (
	"context"
	"errors"
	"time"

	"github.com/bearerkit/bearerkit/internal/subject"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

// HandedOut is a [Cache] that recognizes the access tokens that it has handed
// out. Use it as the Provider of the endpoints that give tokens to pages. A
// page can then show its token to a proxy of the same vendor: HandedOut finds
// the grant of the token, and the proxy sends the grant's current token. That
// needs no upstream call. It works for tokens that only the vendor can verify.
//
// # What such a token proves
//
// The token proves what Authorize proved when the token was handed out. If any
// caller may name any person, it proves nothing about a person. A HandedOut is
// therefore no [providers.Verifier] and cannot be a source of an Authenticator:
// use a [Grant] for calls of its vendor, and for no route of the application.
//
// # How long it is recognized
//
// A token is recognized until it expires or its grant is signed out. In a cache
// whose mode is not Shared, a replaced token is recognized for Grace more.
// Tokens are remembered by digest, in the Store if there is one. In memory
// their number is bounded by four times MaxEntries.
//
// A HandedOut is safe for concurrent use. [NewHandedOut] makes it.
type HandedOut struct {
	*Cache
	window time.Duration
	tokens *bounded[handedToken] // by digest, of access tokens and of refresh tokens
	grants *bounded[handedGrant] // by record; only without a Store
}

// handedToken is a token that a page has. It is immutable.
type handedToken struct {
	ID      id
	Request handedRequest
	Version uint64
	Purges  uint64        // those of the record when it had the token
	Refresh record.Digest // of the refresh token that came with it
	Expiry  time.Time     // of the access token

	until   int64         // Unix seconds, when it is dropped
	written time.Duration // when it was last written or read, on the monotonic clock
}

// handedGrant is the newest pair of a record that a page has.
type handedGrant struct {
	Version uint64
	Purges  uint64
	Refresh id // the id of the handedToken of its refresh token
	Before  id // the same, of the pair before
	At      time.Time
}

// NewHandedOut returns a HandedOut over c. An access token that has expired is
// recognized for window longer, and its grant is then renewed. 0 means that the
// page must refresh.
func NewHandedOut(c *Cache, window time.Duration) (*HandedOut, error) {
	var faults []error
	if c == nil {
		faults = append(faults, errors.New("tokencache: handed out: no cache"))
	}
	if window < 0 {
		faults = append(faults, errors.New("tokencache: handed out: window: negative"))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	drop := func(handedToken) bool { return true }
	// What was handed out first is dropped first: pages have the later ones.
	return &HandedOut{
		Cache: c, window: window,
		tokens: newBounded(4*c.o.MaxEntries, func(t handedToken) int64 { return int64(t.Version) }, drop),
		grants: newBounded(c.o.MaxEntries, func(g handedGrant) int64 { return int64(g.Version) }, func(handedGrant) bool { return true }),
	}, nil
}

// Generate is [Cache.Generate] and remembers the token.
func (h *HandedOut) Generate(ctx context.Context, req providers.Request) (providers.Token, error) {
	tok, err := h.Cache.Generate(ctx, req)
	return h.named(ctx, req, tok, err)
}

// Renew is [Cache.Renew] and remembers the token.
func (h *HandedOut) Renew(ctx context.Context, req providers.Request, rejected providers.Token) (providers.Token, error) {
	tok, err := h.Cache.Renew(ctx, req, rejected)
	return h.named(ctx, req, tok, err)
}

func (h *HandedOut) named(ctx context.Context, req providers.Request, tok providers.Token, err error) (providers.Token, error) {
	if err != nil || req.Assertion.Token != "" || req.Actor.Token != "" {
		return tok, err
	}
	k, err := h.key(&req)
	if err == nil {
		h.remember(ctx, k, newHandedRequest(&req), tok)
	}
	return tok, err
}

// Refresh is [Cache.Refresh] and remembers the token. The newest refresh token
// of a page stays valid: if a proxy has renewed the grant since then, the page
// gets the newer pair.
func (h *HandedOut) Refresh(ctx context.Context, req providers.Request, refreshToken string) (providers.Token, error) {
	was, present := refreshToken, newHandedRequest(&req)
	known, cur, err := h.behind(ctx, &req, refreshToken)
	if err != nil && h.rules.Mode != providers.Shared { // a Shared cache continues without the Store
		return providers.Token{}, err
	}
	if known.Version != 0 {
		present = known.Request
	}
	tok := cur
	if tok.AccessToken == "" {
		if cur.RefreshToken != "" {
			was = cur.RefreshToken
		}
		if tok, err = h.Cache.Refresh(ctx, req, was); err != nil {
			return tok, err
		}
	}
	if k, ok := h.recordOf(ctx, known, tok); ok {
		h.remember(ctx, k, present, tok)
	}
	return tok, nil
}

// behind finds the page's refresh token. If it is the newest of a page, or was
// so within Grace, and its record has a newer pair, cur is that pair. The
// access token is left out of cur if it has ended.
func (h *HandedOut) behind(ctx context.Context, req *providers.Request, refreshToken string) (t handedToken, cur providers.Token, err error) {
	d, t, ok, err := h.find(ctx, handedRefresh, refreshToken)
	if !ok || err != nil {
		return handedToken{}, cur, err
	}
	if !t.admits(h.Cache, req) {
		return handedToken{}, cur, nil // the cache reports the error
	}
	newest, err := h.newest(ctx, &t.ID)
	if err != nil || newest.Refresh != d && (newest.Before != d || h.wallNow().Sub(newest.At).Abs() >= h.o.Grace) {
		return t, cur, err
	}
	r, now, err := h.readRecord(ctx, &t, true)
	if err != nil || r.Purges != t.Purges || r.Token.RefreshToken == "" || r.Token.RefreshToken == refreshToken || r.Token.Version < t.Version {
		return t, cur, err
	}
	cur = r.Token
	if !r.Usable(now) {
		cur.AccessToken = ""
	}
	return t, cur, nil
}

// admits reports whether a caller with req may use the refresh token t.
func (t *handedToken) admits(c *Cache, req *providers.Request) bool {
	if req.Tenant != "" && t.Request.Tenant != "" && req.Tenant != t.Request.Tenant {
		return false
	}
	if req.Subject == "" && len(req.Identifiers) == 0 {
		return true
	}
	k, err := c.key(req)
	return err == nil && k == t.ID
}

// recordOf returns the record of tok, the result of a Refresh.
func (h *HandedOut) recordOf(ctx context.Context, known handedToken, tok providers.Token) (id, bool) {
	if known.Version != 0 {
		return known.ID, true
	}
	o, ok := h.ownerOf(ctx, h.tokenDigest(tok.RefreshToken))
	return o.id, ok && !o.dead
}

// Grant is the grant of an access token that a page has shown. Like a [Source]
// it yields the grant's current token, for calls of the same vendor. After a
// sign-out of the grant both methods fail with [providers.CodeNotSignedIn].
type Grant struct {
	h     *HandedOut
	token handedToken
}

// Grant returns the grant of an access token that was handed out. ok is false
// for any other text. An error means that the Store cannot be read.
func (h *HandedOut) Grant(ctx context.Context, accessToken string) (g *Grant, ok bool, err error) {
	if accessToken == "" {
		return nil, false, nil
	}
	_, t, ok, err := h.find(ctx, handedAccess, accessToken)
	if !ok || err != nil {
		return nil, false, err
	}
	if !t.Expiry.IsZero() && !h.wallNow().Before(t.Expiry.Add(h.window)) {
		return nil, false, nil
	}
	r, now, err := h.readRecord(ctx, &t, false)
	switch {
	case err != nil:
		return nil, false, err
	case r.Empty() || r.Purges != t.Purges:
		return nil, false, nil
	case h.rules.Mode == providers.Shared || r.Token.AccessToken == accessToken:
	case t.Refresh == record.Digest{} || !r.SpentWithin(t.Refresh, h.o.Grace, now):
		return nil, false, nil
	}
	return &Grant{h, t}, true, nil
}

// Tenant is the tenant of the grant.
func (g *Grant) Tenant() string { return g.token.Request.Tenant }

// Subject names the grant, as in logs and limits. It is no user: no user of the
// application and no subject of another source has its form, and vendors refuse
// it.
func (g *Grant) Subject() string {
	return subject.Qualify("handed out by "+g.h.o.Namespace, g.token.Request.Subject)
}

// Token returns a valid token of the grant.
func (g *Grant) Token(ctx context.Context) (providers.Token, error) {
	return g.do(ctx, record.Want{Kind: record.Current})
}

// Renew reports that rejected was refused, as [Cache.Renew] does.
func (g *Grant) Renew(ctx context.Context, rejected providers.Token) (providers.Token, error) {
	return g.do(ctx, record.Want{Kind: record.Current, After: rejected.Version, Forced: true})
}

func (g *Grant) do(ctx context.Context, w record.Want) (providers.Token, error) {
	if _, _, err := g.h.readRecord(ctx, &g.token, false); err != nil {
		return providers.Token{}, err
	}
	req := g.token.Request.request()
	return copyOf(g.h.do(ctx, &g.token.ID, &want{Want: w, req: &req, since: &g.token.Purges}))
}
