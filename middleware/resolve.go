package middleware

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/internal/clocks"
	"github.com/bearerkit/bearerkit/internal/flight"
	"github.com/bearerkit/bearerkit/internal/verdict"
	"github.com/bearerkit/bearerkit/internal/warnlog"
)

const (
	resolveFor     = 5 * time.Minute  // how long an Issuer is used before Resolve is asked again
	resolveStale   = 15 * time.Minute // how long it is used while Resolve fails
	resolveRefused = 30 * time.Second // how long a refusal is used
	resolveFailed  = time.Second      // how long after a failed call Resolve is not called again
	resolveTimeout = 5 * time.Second
	resolveAtOnce  = 32
	resolveWaiting = 1024
	maxResolved    = 4096 // accepted issuers
	maxRefused     = 4096 // refused issuers, which do not remove accepted ones
	maxIssuerBytes = 1024 // of an iss that Resolve is asked for
)

// errRefusedIssuer means that Resolve does not accept the issuer.
var errRefusedIssuer = errors.New("Resolve does not accept the issuer")

// resolver remembers the answers of Config.Resolve.
type resolver struct {
	resolve func(context.Context, string) (*Issuer, error)
	build   func(Issuer) *entry
	clock   *clocks.Clock
	logger  *slog.Logger
	lines   warnlog.Rare
	own     bool         // Own subjects are allowed
	private []string     // hosts that may have private addresses
	shared  *http.Client // for issuers without an HTTPClient
	calls   flight.Group[*entry]
	known   *verdict.Gate // for issuers that were accepted before
	unknown *verdict.Gate // for all others, which may be very many

	mu      sync.RWMutex
	entries map[string]resolved
	refused map[string]refusal
}

type resolved struct {
	entry *entry
	until clocks.Instant // when Resolve is called again
	end   clocks.Instant // when the use of the entry ends
}

type refusal struct {
	err   error
	until clocks.Instant
}

func newResolver(c *Config, build func(Issuer) *entry, clock *clocks.Clock, logger *slog.Logger) *resolver {
	return &resolver{
		resolve: c.Resolve, build: build, clock: clock, logger: logger, own: c.DangerouslySharedSubjects,
		private: c.DangerouslyPrivateHosts, shared: guard(nil, c.DangerouslyPrivateHosts),
		known: verdict.NewGate(resolveAtOnce, maxResolved), unknown: verdict.NewGate(resolveAtOnce, resolveWaiting),
		entries: map[string]resolved{}, refused: map[string]refusal{},
	}
}

// current returns the entry for iss that is valid now, or nil if Resolve must
// be called.
func (r *resolver) current(iss string) *entry {
	r.mu.RLock()
	found, ok := r.entries[iss]
	r.mu.RUnlock()
	if !ok || r.clock.Now().Reached(found.until) {
		return nil
	}
	return found.entry
}

// knows reports whether Resolve accepted iss not long ago.
func (r *resolver) knows(iss string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	found, ok := r.entries[iss]
	return ok && !r.clock.Now().Reached(found.end)
}

// entry returns the entry for iss, from memory or from Resolve.
func (r *resolver) entry(ctx context.Context, iss string) (*entry, error) {
	if len(iss) > maxIssuerBytes {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", errRefusedIssuer, maxIssuerBytes)
	}
	if e := r.current(iss); e != nil {
		return e, nil
	}
	if err := r.remembered(iss); err != nil {
		return nil, err
	}
	e, err := r.calls.Do(ctx, iss, resolveTimeout, func(ctx context.Context) (*entry, error) {
		// A call that has just ended may have answered this.
		if e := r.current(iss); e != nil {
			return e, nil
		}
		if err := r.remembered(iss); err != nil {
			return nil, err
		}
		r.mu.RLock()
		gate := r.unknown
		if _, ok := r.entries[iss]; ok {
			gate = r.known
		}
		r.mu.RUnlock()
		var e *entry
		err := gate.Do(ctx, func() (err error) {
			e, err = r.ask(ctx, iss)
			return err
		})
		return e, err
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return r.failed(ctx, iss, err) // Resolve ignores its context
	}
	return e, err
}

func (r *resolver) remembered(iss string) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if no, ok := r.refused[iss]; ok && !r.clock.Now().Reached(no.until) {
		return no.err
	}
	return nil
}

// ask calls Resolve and remembers its answer.
func (r *resolver) ask(ctx context.Context, iss string) (*entry, error) {
	asked := r.clock.Now()
	cfg, err := r.resolve(ctx, iss)
	if err == nil && cfg != nil {
		err = r.check(cfg, iss)
	}
	if err != nil {
		return r.failed(ctx, iss, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if cfg == nil {
		delete(r.entries, iss)
		err := fmt.Errorf("%w %s", errRefusedIssuer, quoted(iss))
		r.refuse(iss, err, asked.Add(resolveRefused))
		return nil, err
	}
	e := r.entries[iss].entry
	if e == nil || !sameIssuer(e.Issuer, *cfg) {
		next := r.build(*cfg)
		if e != nil && sameKeys(&e.Issuer, cfg) {
			next.keys = e.keys
		}
		e = next
	}
	delete(r.refused, iss)
	r.makeRoom()
	r.entries[iss] = resolved{e, asked.Add(resolveFor), asked.Add(resolveStale)}
	return e, nil
}

// failed handles the error of a call of Resolve: the last answer stays in use,
// if there is one. Resolve is not called again for resolveFailed, which begins
// now: the call may have taken long.
func (r *resolver) failed(ctx context.Context, iss string, err error) (*entry, error) {
	now := r.clock.Now()
	r.mu.Lock()
	old, ok := r.entries[iss]
	if !ok || now.Reached(old.end) {
		defer r.mu.Unlock()
		r.refuse(iss, err, now.Add(resolveFailed))
		return nil, err
	}
	old.until = now.Add(resolveFailed)
	r.entries[iss] = old
	r.mu.Unlock()
	level := r.lines.Level(slog.LevelWarn, "", time.Now())
	r.logger.Log(ctx, level, "Resolve failed for an issuer that is in use; its last answer stays in use for a quarter of an hour, and further failures are logged at Debug for a minute: look at what Config.Resolve asks",
		"issuer", iss, "error", err)
	return old.entry, nil
}

// refuse remembers err. The caller holds r.mu.
func (r *resolver) refuse(iss string, err error, until clocks.Instant) {
	if len(r.refused) >= maxRefused {
		clear(r.refused)
	}
	r.refused[iss] = refusal{err, until}
}

// makeRoom removes entries that have ended, or else the one that ends first.
// The caller holds r.mu.
func (r *resolver) makeRoom() {
	if len(r.entries) < maxResolved {
		return
	}
	now, first := r.clock.Now(), ""
	for iss, e := range r.entries {
		switch {
		case now.Reached(e.end):
			delete(r.entries, iss)
		case first == "" || e.end.Mono < r.entries[first].end.Mono:
			first = iss
		}
	}
	if len(r.entries) >= maxResolved {
		delete(r.entries, first)
	}
}

// check checks an answer of Resolve. Clients get 503 for its error, because the
// fault is in our configuration and not in the token.
func (r *resolver) check(cfg *Issuer, iss string) error {
	errs := cfg.check()
	if cfg.Issuer != iss {
		errs = append(errs, fmt.Errorf("Issuer is %s and not the iss that was asked for", quoted(cfg.Issuer)))
	}
	if cfg.Subjects != Qualified && !r.own {
		errs = append(errs, errors.New("Subjects must be Qualified"))
	}
	if cfg.WithoutIssuer || cfg.template() {
		errs = append(errs, errors.New("WithoutIssuer and templates are for Config.Issuers alone"))
	}
	if len(cfg.DangerouslyPlainHTTP) > 0 {
		errs = append(errs, errors.New("DangerouslyPlainHTTP is for Config.Issuers alone"))
	}
	if cfg.JWKSURL != "" || cfg.Discover {
		if err := r.checkReach(cfg); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("middleware: Resolve's answer for %s: %w", quoted(iss), errors.Join(errs...))
	}
	return nil
}

// sameIssuer reports whether two answers are the same. Clients are compared by
// address, because the content of one may be in use.
func sameIssuer(a, b Issuer) bool {
	if a.HTTPClient != b.HTTPClient {
		return false
	}
	a.HTTPClient, b.HTTPClient = nil, nil
	return reflect.DeepEqual(a, b)
}

// sameKeys reports whether two configurations of one issuer have one key set.
func sameKeys(a, b *Issuer) bool {
	keys := func(i *Issuer) Issuer {
		return Issuer{
			JWKSURL: i.JWKSURL, Discover: i.Discover, Algorithms: i.Algorithms, KeyUses: i.KeyUses,
			RefreshEvery: i.RefreshEvery, HTTPClient: i.HTTPClient,
		}
	}
	return (a.JWKSURL != "" || a.Discover) && sameIssuer(keys(a), keys(b))
}

// each calls do with every entry that Resolve's answers have now.
func (r *resolver) each(do func(*entry)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, e := range r.entries {
		do(e.entry)
	}
}

// client returns cfg's HTTPClient without access to private addresses.
func (r *resolver) client(cfg *Issuer) *http.Client {
	if cfg.HTTPClient == nil {
		return r.shared
	}
	return guard(cfg.HTTPClient, r.private)
}
