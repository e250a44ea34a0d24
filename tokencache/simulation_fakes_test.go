package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// dice draw what happens from the seed, from who asks and from the fake time,
// and from nothing else: the order in which goroutines run at one instant does
// not change what a seed does.
type dice struct {
	seed uint64
	who  string
}

func (d dice) roll(what, about string) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s %s %s %d", d.seed, d.who, what, about, time.Now().UnixNano())
	return rand.New(rand.NewPCG(h.Sum64(), d.seed)).Float64()
}

// family is an upstream with one-time refresh tokens: one that is presented
// again after its grace ends the grant (RFC 9700 section 4.14.2).
type family struct {
	plan    func() plan
	durable func(rt string) bool
	dice    dice

	mu       sync.Mutex
	n        int
	spentAt  time.Time
	revoked  bool
	now, max int
	unsaved  int // presented before it was durable
}

func (f *family) refresh(ctx context.Context, skew time.Duration, rt string) (providers.Token, error) {
	f.mu.Lock()
	f.now++
	f.max = max(f.max, f.now)
	if !f.durable(rt) {
		f.unsaved++
	}
	wait := time.Duration(f.dice.roll("latency", rt) * float64(max(f.plan().slow, 200*time.Millisecond)))
	dice := f.dice.roll("fate", rt)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.now--
		f.mu.Unlock()
	}()
	if dice -= f.plan().hang; dice < 0 {
		<-ctx.Done()
		return providers.Token{}, &providers.Error{Code: providers.CodeTimeout, Class: providers.InDoubt, Err: ctx.Err()}
	}
	if dice -= f.plan().busy; dice < 0 {
		return providers.Token{}, &providers.Error{Code: providers.CodeBusy, Class: providers.Transient, Status: 429, RetryAfter: 3 * time.Second}
	}
	if err := pause(ctx, wait/2); err != nil {
		return providers.Token{}, &providers.Error{Code: providers.CodeTimeout, Class: providers.InDoubt, Err: err}
	}
	tok, err := f.spend(rt, skew)
	if dice -= f.plan().lost; dice < 0 {
		<-ctx.Done()
		return providers.Token{}, &providers.Error{Code: providers.CodeTimeout, Class: providers.InDoubt, Err: ctx.Err()}
	}
	if perr := pause(ctx, wait/2); perr != nil {
		return providers.Token{}, &providers.Error{Code: providers.CodeTimeout, Class: providers.InDoubt, Err: perr}
	}
	return tok, err
}

func (f *family) spend(rt string, skew time.Duration) (providers.Token, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.revoked:
	case rt == fmt.Sprintf("rt-%d.", f.n):
		f.n++
		f.spentAt = time.Now()
		return f.token(skew), nil
	case rt == fmt.Sprintf("rt-%d.", f.n-1) && time.Since(f.spentAt) < f.plan().grace:
		return f.token(skew), nil
	default:
		f.revoked = true
	}
	return providers.Token{}, &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead, Status: 400}
}

func (f *family) token(skew time.Duration) providers.Token {
	now := time.Now().Add(skew)
	return providers.Token{AccessToken: "at", RefreshToken: fmt.Sprintf("rt-%d.", f.n), IssuedAt: now, Expiry: now.Add(simTTL)}
}

// replica is one process: a cache, its way to the store and to the upstream.
type replica struct {
	w     *world
	dice  dice
	mu    sync.Mutex
	dies  int // calls until it crashes, 0: never
	dead  bool
	skew  time.Duration
	cache *tokencache.Cache

	storms atomic.Int64 // that it has taken part in
}

var errFault = errors.New("injected fault")

// step is one call that leaves the process: whether it gets there, and
// whether its reply gets back.
func (r *replica) step() (done, reply bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead {
		return false, false
	}
	if r.dies > 0 {
		if r.dies--; r.dies == 0 {
			r.dead = true
			return r.dice.roll("last call", "") < .5, false
		}
	}
	return true, true
}

// store makes one call of the store, with its faults.
func (r *replica) store(ctx context.Context, op, key string, call func() error) error {
	done, reply := r.step()
	if key[0] == 'm' {
		key = "m" // the name of a member is drawn elsewhere
	}
	delay := time.Millisecond + time.Duration(r.dice.roll(op+" delay", key)*float64(5*time.Millisecond))
	dice, dead := r.dice.roll(op, key), r.isDead()
	if r.w.away.Load() {
		done, reply = false, false
	} else if dice < r.w.faults().timeout {
		done, reply = done && dice < r.w.faults().timeout/2, false
	}
	if dead {
		if done {
			_ = call()
		}
		return errFault
	}
	if err := pause(ctx, delay); err != nil {
		return err
	}
	var err error
	if done {
		err = call()
	}
	if !reply {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (r *replica) Load(ctx context.Context, key string) (val []byte, rev uint64, err error) {
	err = r.store(ctx, "Load", key, func() (err error) { val, rev, err = r.w.store().Load(context.Background(), key); return err })
	return val, rev, err
}

func (r *replica) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (next uint64, err error) {
	err = r.store(ctx, "CAS", key, func() (err error) { next, err = r.w.store().CAS(context.Background(), key, rev, val, ttl); return err })
	if err != nil {
		return 0, err
	}
	return next, nil
}

func (r *replica) Lock(ctx context.Context, key, owner string, ttl time.Duration) (fence uint64, err error) {
	err = r.store(ctx, "Lock", key, func() (err error) { fence, err = r.locker().Lock(context.Background(), key, owner, ttl); return err })
	if err == nil && fence != 0 {
		r.w.held(key, owner)
	}
	return fence, err
}

func (r *replica) Extend(ctx context.Context, key, owner string, ttl time.Duration) (ok bool, err error) {
	err = r.store(ctx, "Extend", key, func() (err error) { ok, err = r.locker().Extend(context.Background(), key, owner, ttl); return err })
	return ok, err
}

func (r *replica) Unlock(ctx context.Context, key, owner string) (ok bool, err error) {
	err = r.store(ctx, "Unlock", key, func() (err error) { ok, err = r.locker().Unlock(context.Background(), key, owner); return err })
	return ok, err
}

func (r *replica) Watch(ctx context.Context, key string) (<-chan struct{}, error) {
	return r.w.spy().Store.(tokencache.Watcher).Watch(ctx, key)
}

func (r *replica) locker() tokencache.Locker { return r.w.spy().Store.(tokencache.Locker) }

func (r *replica) Mode() providers.Mode { return providers.Rotating }

func (r *replica) Generate(context.Context, providers.Request) (providers.Token, error) {
	return providers.Token{}, &providers.Error{Code: providers.CodeNotSignedIn, Class: providers.Permanent}
}

func (r *replica) Refresh(ctx context.Context, _ providers.Request, rt string) (providers.Token, error) {
	done, reply := r.step()
	if !done {
		return providers.Token{}, &providers.Error{Code: providers.CodeUnreachable, Class: providers.Transient}
	}
	tok, err := r.w.up.refresh(ctx, r.skew, rt)
	if !reply || r.isDead() {
		return providers.Token{}, &providers.Error{Code: providers.CodeTimeout, Class: providers.InDoubt}
	}
	return tok, err
}

func (r *replica) isDead() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dead
}
