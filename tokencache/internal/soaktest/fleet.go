//go:build unix

package soaktest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// Fleet is many grants in the replicas of one process, between one Store and
// one upstream. The upstream rotates: a refresh token works once, a new pair
// ends the old one, and a refresh token that is presented again ends the grant.
// Only the refresh token makes a new pair: a lost grant stays lost.
type Fleet struct {
	t        testing.TB
	upstream *rotating
	caches   []*tokencache.Cache
	grants   int
	log      Output

	mu  sync.Mutex
	out Outcome

	cancel context.CancelFunc
	work   sync.WaitGroup
}

// Outcome is what a fleet saw.
type Outcome struct {
	Calls, Errors int
	// Raced counts tokens that a new pair had ended when they were served, and
	// that one Renew replaced. Dead are those that Renew did not replace.
	Raced, Dead int
	// Lost are the grants that ended; Reused says how many of them because a
	// spent refresh token was shown.
	Lost, Reused int
	// Peak is the most upstream calls of one grant at once.
	Peak int
	// Renewals counts the pairs issued.
	Renewals int
	Texts    map[string]int // errors
}

// String is one line.
func (o Outcome) String() string {
	return fmt.Sprintf("%d calls, %d errors, %d renewals, %d at once per grant, %d superseded on the way, %d dead served, %d grants lost (%d by reuse)",
		o.Calls, o.Errors, o.Renewals, o.Peak, o.Raced, o.Dead, o.Lost, o.Reused)
}

// rotating is the upstream.
type rotating struct {
	life, latency time.Duration

	mu     sync.Mutex
	grants map[string]*upstreamGrant
	issued int
}

type upstreamGrant struct {
	n       int // of the current pair
	expiry  time.Time
	ended   bool
	reused  bool
	current int // calls under way
	peak    int
	asked   int // to sign in
}

func (u *rotating) Mode() providers.Mode { return providers.Exclusive }

func (u *rotating) Generate(_ context.Context, req providers.Request) (providers.Token, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.grants[req.Subject].asked++
	return providers.Token{}, &providers.Error{Code: providers.CodeNotSignedIn, Class: providers.Permanent, Op: "generate"}
}

func (u *rotating) Refresh(ctx context.Context, req providers.Request, rt string) (providers.Token, error) {
	u.mu.Lock()
	g := u.grants[req.Subject]
	g.current++
	g.peak = max(g.peak, g.current)
	u.mu.Unlock()
	defer func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		g.current--
	}()
	time.Sleep(u.latency/2 + rand.N(u.latency))
	u.mu.Lock()
	defer u.mu.Unlock()
	if !g.ended && rt == refreshToken(req.Subject, g.n) {
		return u.issue(req.Subject, g, u.life), ctx.Err()
	}
	g.reused = g.reused || !g.ended
	g.ended = true
	return providers.Token{}, &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead, Op: "refresh"}
}

// issue makes the next pair, which lives for life. Callers hold u.mu.
func (u *rotating) issue(subject string, g *upstreamGrant, life time.Duration) providers.Token {
	now := time.Now()
	g.n++
	u.issued++
	g.expiry = now.Add(life)
	return providers.Token{
		AccessToken: fmt.Sprint("at/", subject, "/", g.n), RefreshToken: refreshToken(subject, g.n),
		IssuedAt: now, Expiry: g.expiry, RefreshExpiry: now.Add(time.Hour),
	}
}

func refreshToken(subject string, n int) string { return fmt.Sprint("rt/", subject, "/", n) }

// accepts reports whether the upstream's API takes tok. One that expires now
// is taken: clocks that differ are another test's.
func (u *rotating) accepts(subject string, tok providers.Token) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	g := u.grants[subject]
	return !g.ended && tok.AccessToken == fmt.Sprint("at/", subject, "/", g.n)
}

// NewFleet adopts grants into replicas, of which each has the Store that open
// returns, and puts them to work.
func NewFleet(t testing.TB, replicas, grants int, open func() tokencache.Store) *Fleet {
	t.Helper()
	f := &Fleet{
		t: t, grants: grants,
		upstream: &rotating{life: 2 * time.Second, latency: 20 * time.Millisecond, grants: map[string]*upstreamGrant{}},
	}
	f.out.Texts = map[string]int{}
	for i := range replicas {
		c, err := tokencache.New(f.upstream, tokencache.Options{
			Store: open(), Namespace: "fleet", FetchTimeout: fetchTimeout, StoreTimeout: 500 * time.Millisecond,
			MaxFlights: 256, Logger: slog.New(slog.NewTextHandler(&f.log, nil)).With("replica", i),
		})
		if err != nil {
			t.Fatal(err)
		}
		f.caches = append(f.caches, c)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			_ = c.Close(ctx) // a Store may still be away
		})
	}
	for i := range grants {
		subject := fmt.Sprint("user-", i)
		f.upstream.mu.Lock()
		g := &upstreamGrant{}
		f.upstream.grants[subject] = g
		life := f.upstream.life // the first ones end one by one, and so do all that follow
		tok := f.upstream.issue(subject, g, life/4+rand.N(life*3/4))
		f.upstream.mu.Unlock()
		var err error
		Eventually(t, "the Store to take a grant", func() bool { // on a busy machine it may be away for a moment
			err = f.caches[i%replicas].Adopt(t.Context(), providers.Request{Subject: subject}, tok)
			return err == nil
		}, func() string { return err.Error() })
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	t.Cleanup(func() { cancel(); f.work.Wait() })
	for i := range grants {
		for _, c := range f.caches {
			f.work.Go(func() { f.use(ctx, c, fmt.Sprint("user-", i)) })
		}
	}
	return f
}

// use calls with one grant's token until ctx ends.
func (f *Fleet) use(ctx context.Context, c *tokencache.Cache, subject string) {
	for ctx.Err() == nil {
		f.call(c, subject)
		pause := time.NewTimer(100*time.Millisecond + rand.N(400*time.Millisecond))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

func (f *Fleet) call(c *tokencache.Cache, subject string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req := providers.Request{Subject: subject}
	tok, err := c.Generate(ctx, req)
	raced := err == nil && !f.upstream.accepts(subject, tok)
	dead := false
	if raced {
		if tok, err = c.Renew(ctx, req, tok); err == nil {
			dead = !f.upstream.accepts(subject, tok) && !f.renewed(c, subject, tok)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out.Calls++
	if raced {
		f.out.Raced++
	}
	if dead {
		f.out.Dead++
	}
	if err != nil {
		f.out.Errors++
		f.out.Texts[providers.AsError(err).Error()]++
	}
	return err == nil && !dead
}

// renewed reports whether tok is not current because a newer pair was issued
// within the moment of the look: then c has it or gets it. On a machine that
// stands still for moments, that may happen several times.
func (f *Fleet) renewed(c *tokencache.Cache, subject string, tok providers.Token) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		next, err := c.Generate(ctx, providers.Request{Subject: subject})
		if err != nil || next.Version <= tok.Version {
			return false
		}
		if f.upstream.accepts(subject, next) {
			return true
		}
		tok = next
	}
}

// Finish stops the work, has every replica use every grant once more, and says
// what was seen. A grant that no replica has back within that time is lost.
func (f *Fleet) Finish(within time.Duration) Outcome {
	f.t.Helper()
	f.cancel()
	f.work.Wait()
	end := time.Now().Add(within)
	lost := make([]bool, f.grants)
	var wg sync.WaitGroup
	for i := range f.grants {
		wg.Go(func() {
			subject := fmt.Sprint("user-", i)
			for _, c := range f.caches {
				for !f.call(c, subject) {
					if time.Now().After(end) || f.ended(subject) {
						lost[i] = true
						return
					}
					time.Sleep(100 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.out
	f.upstream.mu.Lock()
	defer f.upstream.mu.Unlock()
	for i := range f.grants {
		g := f.upstream.grants[fmt.Sprint("user-", i)]
		if lost[i] || g.ended {
			out.Lost++
		}
		if g.reused {
			out.Reused++
		}
		out.Peak = max(out.Peak, g.peak)
	}
	out.Renewals = f.upstream.issued - f.grants
	f.t.Log(out)
	for _, text := range slices.Sorted(maps.Keys(out.Texts)) {
		f.t.Logf("%6d × %s", out.Texts[text], text)
	}
	return out
}

// Issued is how many pairs the upstream has issued.
func (f *Fleet) Issued() int {
	f.upstream.mu.Lock()
	defer f.upstream.mu.Unlock()
	return f.upstream.issued
}

func (f *Fleet) ended(subject string) bool {
	f.upstream.mu.Lock()
	defer f.upstream.mu.Unlock()
	return f.upstream.grants[subject].ended
}

// Whole fails the test if a grant was lost, a dead token served, or two calls
// of a grant were under way at once.
func (f *Fleet) Whole(o Outcome) {
	f.t.Helper()
	var errs []error
	if o.Lost != 0 {
		errs = append(errs, fmt.Errorf("%d grants lost", o.Lost))
	}
	if o.Dead != 0 {
		errs = append(errs, fmt.Errorf("%d dead tokens served", o.Dead))
	}
	if o.Peak > 1 {
		errs = append(errs, fmt.Errorf("%d upstream calls of one grant at once", o.Peak))
	}
	if o.Renewals < f.grants {
		errs = append(errs, fmt.Errorf("%d renewals of %d grants: nothing was tried", o.Renewals, f.grants))
	}
	if err := errors.Join(errs...); err != nil {
		f.t.Error(err)
		f.t.Logf("the replicas wrote:\n%s", tail(f.log.String()))
	}
}
