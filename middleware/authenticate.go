package middleware

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/internal/clocks"
	"github.com/bearerkit/bearerkit/internal/jws"
	"github.com/bearerkit/bearerkit/internal/warnlog"
)

// Authenticator checks the bearer tokens of incoming requests. [New] makes it.
// It is safe for concurrent use and need not be closed.
type Authenticator struct {
	*core
	rules  []*rule
	errors *errorTable
	quiet  bool // its checks are part of another check, which is counted
}

// core is what an Authenticator shares with those that [Authenticator.Require]
// derives from it: everything except the rules. Its cache holds tokens before
// the rules, so all of them can share it.
type core struct {
	cfg       Config
	leeway    time.Duration
	maxBytes  int
	clock     *clocks.Clock
	logger    *slog.Logger
	entries   []*entry
	byIss     map[string][]*entry
	templates []*entry // for many tenants
	unissued  []*entry // for tokens without iss
	sets      []*keySet
	resolver  *resolver
	opaque    []*opaque
	cache     *cache
	renewals  *renewals
	metadata  string
	counters  counters
	lines     warnlog.Rare // of the log
}

// New returns an Authenticator. The error joins every fault of c. New makes no
// call: a key set is fetched when the first token needs it, or when
// [Authenticator.Ready] is called.
func New(c Config) (*Authenticator, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &core{cfg: c, leeway: c.Leeway, maxBytes: c.MaxTokenBytes, clock: clocks.New(c.Now), logger: warnlog.OrDefault(c.Logger), byIss: map[string][]*entry{}}
	switch {
	case c.Leeway == 0:
		s.leeway = defaultLeeway
	case c.Leeway < 0:
		s.leeway = 0
	}
	if s.maxBytes == 0 {
		s.maxBytes = defaultTokenBytes
	}
	if c.CacheSize == 0 {
		c.CacheSize = defaultCacheSize
	}
	s.cache = newCache(c.CacheSize)
	for i := range c.Issuers {
		s.add(c.Issuers[i])
	}
	if err := s.checkShared(); err != nil {
		return nil, err
	}
	if c.Resolve != nil {
		s.resolver = newResolver(&c, s.resolved, s.clock, s.logger)
	}
	for _, o := range c.Opaque {
		s.opaque = append(s.opaque, newOpaque(o, c.Now, s.verdict))
	}
	if c.Renew != nil {
		s.renewals = newRenewals(*c.Renew, s.clock, s.leeway)
	}
	if c.Resource != "" {
		s.metadata, _ = metadataURL(c.Resource) // check has reported the error
	}
	return s.derive([]*rule{newRule(c.Require)}), nil
}

func (c *core) derive(rules []*rule) *Authenticator {
	realm := c.cfg.Realm
	if realm == "" {
		realm = "api"
	}
	return &Authenticator{core: c, rules: rules, errors: newErrorTable(realm, c.metadata, rules)}
}

// add compiles an issuer's configuration and its source of keys.
func (c *core) add(cfg Issuer) {
	e := newEntry(cfg)
	e.keys = c.keysOf(e, e.HTTPClient)
	c.entries = append(c.entries, e)
	if e.keys.fetch != nil {
		c.sets = append(c.sets, e.keys)
	}
	if cfg.template() {
		c.templates = append(c.templates, e)
	} else {
		c.byIss[cfg.Issuer] = append(c.byIss[cfg.Issuer], e)
	}
	if cfg.WithoutIssuer {
		c.unissued = append(c.unissued, e)
	}
}

// resolved compiles an answer of Config.Resolve.
func (c *core) resolved(cfg Issuer) *entry {
	e := newEntry(cfg)
	e.keys = c.keysOf(e, c.resolver.client(&cfg))
	return e
}

func (c *core) keysOf(e *entry, client *http.Client) *keySet {
	var keys []jws.Key
	for kid, public := range e.Keys {
		keys = append(keys, jws.Key{ID: kid, Public: public})
	}
	for _, secret := range e.Secrets {
		keys = append(keys, jws.Key{Public: slices.Clone(secret), Short: e.DangerouslyShortSecrets})
	}
	if len(keys) > 0 {
		return fixedKeys(keys, e.Algorithms)
	}
	logger := c.logger.With("issuer", e.Issuer.Issuer)
	r := newRemote(&e.Issuer, client, c.clock)
	return &keySet{fetch: r.fetch, algs: e.Algorithms, every: e.RefreshEvery, clock: c.clock, logger: logger, observe: c.keysFetched}
}

// checkShared finds configured keys that an entry for tokens without iss shares
// with another entry. Fetched key sets are compared when a token is verified
// with them.
func (c *core) checkShared() error {
	var errs []error
	for i, e := range c.entries {
		for j, other := range c.entries {
			if i == j || !e.WithoutIssuer || e.keys.current.Load() == nil || other.keys.current.Load() == nil {
				continue
			}
			if e.keys.current.Load().ring.Shares(other.keys.current.Load().ring) {
				errs = append(errs, fmt.Errorf("middleware: Issuers[%d] accepts tokens without iss, and Issuers[%d] has one of its keys", i, j))
			}
		}
	}
	return errors.Join(errs...)
}

// Require returns an Authenticator that also demands rules. It shares
// everything else with a: keys, remembered tokens, renewals. It is cheap. The
// error joins every fault of rules.
func (a *Authenticator) Require(rules ...Rule) (*Authenticator, error) {
	var errs []error
	for i := range rules {
		if err := rules[i].check(); err != nil {
			errs = append(errs, fmt.Errorf("middleware: rule %d: %w", i, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	all := slices.Clone(a.rules)
	for _, r := range rules {
		all = append(all, newRule(r))
	}
	return a.derive(all), nil
}

// Verify checks a token that came by any transport. Its error is an [*Error].
// Verify does not renew. To find the token in a request use
// [Authenticator.Check].
func (a *Authenticator) Verify(ctx context.Context, token string) (*Verified, error) {
	v, err := a.verify(ctx, token)
	if err != nil {
		a.refused(ctx, err)
		return nil, err
	}
	return v, nil
}

// Check checks a request and writes no answer. Its error is an [*Error]. For a
// request without credentials it returns nil and nil if Config.Optional is set.
func (a *Authenticator) Check(r *http.Request) (*Verified, error) {
	_, v, err := a.check(r)
	if err != nil {
		a.refused(r.Context(), err)
		return nil, err
	}
	return v, nil
}

// check is Check and also returns the token. With an authentic token that has
// expired it returns the claims beside the error.
func (a *Authenticator) check(r *http.Request) (string, *Verified, *Error) {
	token, err := a.credentials(r)
	switch {
	case err != nil:
		return "", nil, err
	case token == "" && a.cfg.Optional:
		return "", nil, nil
	case token == "":
		return "", nil, a.errors.with(missing, errNoToken)
	}
	v, err := a.verify(r.Context(), token)
	if err != nil && err.Reason == refusals[malformed].Reason && !b64token(token) {
		err = a.errors.with(misformed, errCharacters) // the last check, because good tokens have no such characters
	}
	return token, v, err
}

// Handler calls next for requests with a valid token, with the token in their
// context, and answers all others. It passes the ResponseWriter on unchanged,
// so flushing, hijacking and deadlines work.
func (a *Authenticator) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, v, err := a.check(r)
		if err != nil && v != nil && a.renewals != nil {
			if v, err = a.renew(w, r, token, v, err); err == nil {
				a.accepted(r.Context(), acceptedRenewed)
			}
		}
		if err != nil {
			a.refused(r.Context(), err)
			a.Deny(w, r, err)
			return
		}
		if v != nil {
			r = r.WithContext(NewContext(r.Context(), v))
		}
		if a.cfg.Query != "" {
			r = withoutQuery(r, a.cfg.Query)
		}
		next.ServeHTTP(w, r)
	})
}

// Deny answers a request with err as [Authenticator.Handler] does. err comes
// from [Authenticator.Check] or [Authenticator.Verify]. Any other error is
// answered 503.
func (a *Authenticator) Deny(w http.ResponseWriter, r *http.Request, err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = a.errors.with(unavailable, err)
		a.logRefused(r.Context(), e)
	}
	if a.cfg.ErrorHandler != nil {
		a.cfg.ErrorHandler(w, r, e)
		return
	}
	e.ServeHTTP(w, r)
}

// Ready reports whether every issuer's keys are in memory. It starts the fetch
// of those that are not, so that a later call may return true.
func (a *Authenticator) Ready() bool {
	ready := true
	for _, s := range a.sets {
		ready = s.ready() && ready
	}
	return ready
}
