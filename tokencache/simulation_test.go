package tokencache_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// plan is what goes wrong, as chances per call.
type plan struct {
	name    string
	grace   time.Duration // upstream: a spent refresh token still answers
	slow    time.Duration // upstream: latency up to
	lost    float64       // upstream: done, but the reply never comes
	hang    float64       // upstream: not done, no reply
	busy    float64       // upstream: 429 with Retry-After
	timeout float64       // store: no answer; half of the writes were done
	outage  bool          // store: away for half a minute, twice
	empty   bool          // store: restarted empty every other minute
	unlock  float64       // store: the lease is dropped while it is held
	crash   bool          // replicas die at any step and start anew
	skew    time.Duration // clocks differ by up to twice this
	storm   bool          // all replicas renew by force, every two minutes
}

// seedCount is how many runs of each scenario TestSimulation makes. The table
// in the package's documentation is of 120.
var (
	seedCount = flag.Int("seeds", defaultSeeds, "runs of each scenario of the simulation")
	firstSeed = flag.Uint64("seed", 0, "the first seed of the simulation")
)

func seedsToRun() int {
	if testing.Short() {
		return min(*seedCount, 2)
	}
	return *seedCount
}

// plans are the scenarios of the simulation.
var plans = []plan{
	{name: "no fault"},
	{name: "5 % store timeouts", timeout: .05},
	{name: "store away for 30 s", outage: true},
	{name: "store restarted empty", empty: true},
	{name: "leases lost, slow upstream", unlock: .3, slow: 8 * time.Second},
	{name: "clocks 30 s apart, 401 storms", skew: 15 * time.Second, slow: 8 * time.Second, storm: true},
	{name: "15 % lost replies, 60 s grace", lost: .15, grace: time.Minute},
	{name: "10 % hangs", hang: .1},
	{name: "30 % 429 with Retry-After", busy: .3},
	{name: "crashes, 60 s grace", crash: true, grace: time.Minute},
	{name: "all but the clocks, 60 s grace", timeout: .05, lost: .05, hang: .05, busy: .05, unlock: .1, crash: true, slow: 3 * time.Second, grace: time.Minute},
}

const (
	replicas = 4
	simTTL   = time.Minute
	simFor   = 12 * time.Minute
)

// ablation is the protocol, or what is left of it.
type ablation struct {
	name              string
	noLease, noIntent bool
}

// world is one run: a session that several replicas share.
type world struct {
	plan    plan
	without ablation
	up      *family
	away    atomic.Bool
	calm    atomic.Bool // all faults are over
	storms  atomic.Int64

	dice dice

	mu     sync.Mutex
	shared *spy
	served int
	failed int
	stale  int // tokens handed out after their expiry
	errs   map[string]int
}

// spy is the shared Store, and looks into it.
type spy struct {
	tokencache.Store
	mu   sync.Mutex
	last map[string][]byte
}

func (s *spy) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next, err := s.Store.CAS(ctx, key, rev, val, ttl)
	if next != 0 {
		s.last[key] = val
	}
	return next, err
}

// faults is what goes wrong at present.
func (w *world) faults() plan {
	if w.calm.Load() {
		return plan{grace: w.plan.grace}
	}
	return w.plan
}

func (w *world) restartStore() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shared = &spy{Store: tokencache.NewMemory(), last: map[string][]byte{}}
}

func (w *world) spy() *spy {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.shared
}

func (w *world) store() tokencache.Store { return w.spy() }

// durable reports whether some record in the Store holds rt.
func (w *world) durable(rt string) bool {
	s := w.spy()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.last {
		if bytes.Contains(v, []byte(rt)) {
			return true
		}
	}
	return false
}

// held drops a lease a while after it was taken, if the plan says so.
func (w *world) held(key, owner string) {
	drop, after := w.dice.roll("drop", key) < w.faults().unlock, time.Duration(w.dice.roll("drop after", key)*float64(2*time.Second))
	if drop {
		time.AfterFunc(after, func() {
			_, _ = w.spy().Store.(tokencache.Locker).Unlock(context.Background(), key, owner)
		})
	}
}

// sound is the number of a replica that does not crash.
const sound = 1 << 20

func (w *world) boot(t *testing.T, seed uint64, n int) *replica {
	r := &replica{w: w, dice: dice{seed, fmt.Sprint("replica ", n)}}
	if w.plan.skew > 0 {
		r.skew = time.Duration(n%2*2-1) * w.plan.skew
	}
	if w.faults().crash && n < sound {
		r.dies = 1 + int(r.dice.roll("dies", "")*200)
	}
	c, err := tokencache.NewJittered(r, tokencache.Options{
		Store: r, Namespace: "sim", Now: func() time.Time { return time.Now().Add(r.skew) }, Logger: slog.New(slog.DiscardHandler),
	}, func() float64 { return r.dice.roll("jitter", "") })
	if err != nil {
		t.Fatal(err)
	}
	c.Ablate(w.without.noLease, w.without.noIntent)
	r.cache = c
	return r
}

// live is one replica's share of the traffic; it is booted anew when it dies.
func (w *world) live(ctx context.Context, t *testing.T, seed uint64, n int) {
	rng := rand.New(rand.NewPCG(seed, uint64(n)))
	boots := n
	r := w.boot(t, seed, boots)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	defer func() { _ = r.cache.Close(context.Background()) }()
	for ctx.Err() == nil {
		if r.isDead() {
			_ = r.cache.Close(gone)
			boots += replicas
			r = w.boot(t, seed, boots)
		}
		w.ask(ctx, r)
		_ = pause(ctx, time.Duration(rng.Int64N(int64(2*time.Second))))
	}
}

func (w *world) ask(ctx context.Context, r *replica) {
	req := providers.Request{Subject: "u"}
	tok, err := r.cache.Generate(ctx, req)
	if n := w.storms.Load(); err == nil && r.storms.Swap(n) != n {
		tok, err = r.cache.Renew(ctx, req, tok)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil && !time.Now().Add(r.skew).Before(tok.Expiry):
		w.stale++
	case err == nil:
		w.served++
	case ctx.Err() == nil && !r.isDead():
		w.failed++
		w.errs[err.Error()]++
	}
}

// trouble is what befalls the Store as a whole.
func (w *world) trouble(ctx context.Context) {
	for i := 0; i < 5 && pause(ctx, 2*time.Minute) == nil; i++ {
		if w.plan.storm {
			w.storms.Add(1)
		}
		if w.plan.empty {
			w.restartStore()
		}
		if w.plan.outage {
			w.away.Store(true)
			_ = pause(ctx, 30*time.Second)
			w.away.Store(false)
		}
	}
}

// result is what a run came to.
type result struct {
	alive          bool
	max, calls     int
	served, failed int
	stale, early   int
	errs           map[string]int
}

func simulate(t *testing.T, p plan, without ablation, seed uint64) (res result) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{plan: p, without: without, dice: dice{seed, "world"}, errs: map[string]int{}}
		w.restartStore()
		w.up = &family{plan: w.faults, durable: w.durable, dice: dice{seed, "upstream"}}
		first := w.boot(t, seed, sound)
		for first.cache.Adopt(t.Context(), providers.Request{Subject: "u"}, w.up.token(0)) != nil {
			time.Sleep(time.Second)
		}
		_ = first.cache.Close(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), simFor)
		defer cancel()
		var wg sync.WaitGroup
		for n := range replicas {
			wg.Go(func() { w.live(ctx, t, seed, n) })
		}
		wg.Go(func() { w.trouble(ctx) })
		wg.Wait()
		res = w.verdict(t, seed)
	})
	return res
}

// verdict asks once more with all faults over: the grant must still work. It
// asks soon, for a spent token is forgiven for the grace time only.
func (w *world) verdict(t *testing.T, seed uint64) result {
	time.Sleep(simTTL / 12)
	w.calm.Store(true)
	r := w.boot(t, seed, sound+1)
	defer func() { _ = r.cache.Close(context.Background()) }()
	var err error
	for range 60 {
		var tok providers.Token
		if tok, err = r.cache.Generate(context.Background(), providers.Request{Subject: "u"}); err == nil {
			_, err = r.cache.Renew(context.Background(), providers.Request{Subject: "u"}, tok)
		}
		if err == nil {
			break
		}
		time.Sleep(time.Second)
	}
	return result{
		alive: err == nil && !w.up.revoked, max: w.up.max, calls: w.up.n,
		served: w.served, failed: w.failed, stale: w.stale, early: w.up.unsaved, errs: w.errs,
	}
}

// row is what the seeds of one scenario came to.
type row struct {
	plan
	without ablation
	alive   int
	sum     result
}

func (r *row) run(t *testing.T) {
	for i := range seedsToRun() {
		seed := *firstSeed + uint64(i)
		one := simulate(t, r.plan, r.without, seed)
		if one.alive {
			r.alive++
		} else if r.without.name == "" {
			t.Errorf("seed %d: the grant is lost", seed)
		}
		r.sum.max = max(r.sum.max, one.max)
		r.sum.served += one.served
		r.sum.failed += one.failed
		r.sum.stale += one.stale
		r.sum.early += one.early
		if one.failed > 0 && i == 0 {
			t.Log("refused, first seed:", one.errs)
		}
	}
	if r.sum.stale > 0 {
		t.Errorf("%d expired tokens served", r.sum.stale)
	}
	switch {
	case r.without.name != "" && r.alive == seedsToRun():
		t.Error("no grant was lost, so the simulation could not tell")
	case r.without.name == "" && r.sum.early > 0:
		t.Errorf("%d refresh tokens presented before they were durable", r.sum.early)
	case r.without.name == "" && r.sum.max > 1:
		t.Errorf("%d upstream calls at once", r.sum.max)
	}
}

func (r *row) String() string {
	refused := 100 * float64(r.sum.failed) / float64(max(r.sum.served+r.sum.failed, 1))
	return fmt.Sprintf("%s%s\t%d/%d\t%d\t%.2f %%\n", r.name, r.without.name, r.alive, seedsToRun(), r.sum.max, refused)
}

// TestSimulation prints the table in the package's documentation. Without a
// part of the protocol, grants must be lost.
func TestSimulation(t *testing.T) {
	var rows []*row
	for _, p := range plans {
		rows = append(rows, &row{plan: p})
	}
	for _, a := range []struct {
		scenario string
		without  ablation
	}{
		{"no fault", ablation{", neither lease nor intent", true, true}},
		{"clocks 30 s apart, 401 storms", ablation{", no lease", true, false}},
		{"leases lost, slow upstream", ablation{", no intent", false, true}},
	} {
		if seedsToRun() < 3 {
			break // a few runs may lose no grant
		}
		p := plans[slices.IndexFunc(plans, func(p plan) bool { return p.name == a.scenario })]
		rows = append(rows, &row{plan: p, without: a.without})
	}
	t.Run("scenarios", func(t *testing.T) {
		for _, r := range rows {
			t.Run(r.name+r.without.name, func(t *testing.T) {
				t.Parallel()
				r.run(t)
			})
		}
	})
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "scenario\tgrants alive\tmost calls at once\tcallers refused\n")
	for _, r := range rows {
		fmt.Fprint(w, r)
	}
	_ = w.Flush()
	t.Log("\n" + table.String())
}

// A seed replays: the same faults at the same moments have the same outcome.
func TestSimulationReplaysASeed(t *testing.T) {
	for _, p := range plans[len(plans)-2:] { // crashes, and everything
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			first := simulate(t, p, ablation{}, *firstSeed)
			assert.Equal(t, first, simulate(t, p, ablation{}, *firstSeed))
		})
	}
}
