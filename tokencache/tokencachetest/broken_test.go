package tokencachetest_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

type brokenStore struct {
	name  string
	store broken
	seen  []string // the cases that must fail
}

// blind writes whatever the revision is.
func blind(f full, ctx context.Context, k string, _ uint64, v []byte, ttl time.Duration) (uint64, error) {
	for {
		_, rev, err := f.Load(ctx, k)
		if err != nil {
			return 0, err
		}
		if next, err := f.CAS(ctx, k, rev, v, ttl); next != 0 || err != nil {
			return next, err
		}
	}
}

// counted makes revisions of its own: for the n-th write of a key, number(n).
// With again, a key that has expired is counted from the beginning.
type counted struct {
	mu     sync.Mutex
	number func(n uint64) uint64
	again  bool
	n      map[string]uint64
	inner  map[string]map[uint64]uint64 // the good Store's revisions, by ours
	ours   map[string]uint64
}

func (c *counted) cas(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n, c.inner, c.ours = map[string]uint64{}, map[string]map[uint64]uint64{}, map[string]uint64{}
	}
	_, at, err := f.Load(ctx, k)
	if err != nil {
		return 0, err
	}
	if at == 0 {
		c.ours[k] = 0
		if c.again {
			c.n[k] = 0
		}
	}
	if c.ours[k] != rev {
		return 0, nil
	}
	next, err := f.CAS(ctx, k, at, v, ttl)
	if next == 0 {
		return 0, err
	}
	c.n[k]++
	c.ours[k] = c.number(c.n[k])
	return c.ours[k], nil
}

func (c *counted) load(f full, ctx context.Context, k string) ([]byte, uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, rev, err := f.Load(ctx, k)
	if rev == 0 || err != nil {
		return v, 0, err
	}
	return v, c.ours[k], nil
}

// lagging is a Store whose reads go to a replica that is one write behind.
type lagging struct {
	mu   sync.Mutex
	last map[string]memo
}

type memo struct {
	val []byte
	rev uint64
}

func (l *lagging) cas(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	val, at, _ := f.Load(ctx, k)
	next, err := f.CAS(ctx, k, rev, v, ttl)
	if next != 0 {
		if l.last == nil {
			l.last = map[string]memo{}
		}
		l.last[k] = memo{val, at}
	}
	return next, err
}

func (l *lagging) load(f full, ctx context.Context, k string) ([]byte, uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m, ok := l.last[k]; ok {
		delete(l.last, k) // the replica has caught up by the next read
		return m.val, m.rev, ctx.Err()
	}
	return f.Load(ctx, k)
}

// byAnybody ends a lease for every caller.
func byAnybody(f full, ctx context.Context, k, _ string) (bool, error) {
	for i := range 5 {
		for _, owner := range []string{string(rune('a' + i)), fmt.Sprint("owner ", i)} {
			if ok, err := f.Unlock(ctx, k, owner); ok || err != nil {
				return ok, err
			}
		}
	}
	return false, nil
}

func brokenStores() []brokenStore {
	var values aliases
	var lag lagging
	count := func(n uint64) uint64 { return n }
	again, forKey := counted{number: count, again: true}, counted{number: count}
	two := counted{number: func(n uint64) uint64 { return 1 + n%2 }}
	return slices.Concat([]brokenStore{
		{"no CAS", broken{cas: blind}, []string{"cas: ", "one of many writers: ", "revisions: "}},
		{"check and write apart", broken{cas: func(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (uint64, error) {
			if _, at, err := f.Load(ctx, k); err != nil || at != rev {
				return 0, err
			}
			time.Sleep(time.Millisecond) // the other writers check too
			return blind(f, ctx, k, rev, v, ttl)
		}}, []string{"one of many writers: ", "counter: "}},
		{"equal bytes win twice", broken{cas: func(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (uint64, error) {
			next, err := f.CAS(ctx, k, rev, v, ttl)
			if err == nil && next == 0 {
				cur, at, err := f.Load(ctx, k)
				if string(cur) == string(v) {
					return at, err
				}
			}
			return next, err
		}}, []string{"one of many writers: "}},
		{"refused for an error", broken{cas: func(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (uint64, error) {
			next, _ := f.CAS(ctx, k, rev, v, ttl)
			return next, nil
		}}, []string{"context: ", "lost replies: "}},
		{"the old revision for the new", broken{cas: func(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (uint64, error) {
			next, err := f.CAS(ctx, k, rev, v, ttl)
			if next != 0 && rev != 0 {
				return rev, err
			}
			return next, err
		}}, []string{"cas: ", "values: "}},
		{"revisions that begin again with the key", broken{load: again.load, cas: again.cas}, []string{"revisions: store: CAS at revision 0: revision 1 comes a second time"}},
		{"revisions counted by key", broken{load: forKey.load, cas: forKey.cas}, []string{"revisions: store: two new keys"}},
		{"two revisions in turn", broken{load: two.load, cas: two.cas}, []string{"cas: ", "revisions: ", "values: "}},
		{"reads a replica", broken{load: lag.load, cas: lag.cas}, []string{"cas: ", "values: "}},
		{"no ttl", broken{cas: func(f full, ctx context.Context, k string, rev uint64, v []byte, _ time.Duration) (uint64, error) {
			return f.CAS(ctx, k, rev, v, time.Hour)
		}}, []string{"ttl: "}},
		{"hasty ttl", broken{cas: func(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (uint64, error) {
			return f.CAS(ctx, k, rev, v, ttl/2)
		}}, []string{"ttl: "}},
		{"ttl of the first write", broken{cas: func(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (uint64, error) {
			if rev > 0 && strings.HasSuffix(k, "/renewed") {
				ttl = 200 * time.Millisecond
			}
			return f.CAS(ctx, k, rev, v, ttl)
		}}, []string{"ttl: "}},
		{"deaf to contexts", broken{load: func(f full, _ context.Context, k string) ([]byte, uint64, error) {
			return f.Load(context.Background(), k)
		}}, []string{"context: "}},
		{"works, then looks at the context", broken{cas: func(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (uint64, error) {
			next, _ := f.CAS(context.Background(), k, rev, v, ttl)
			return next, ctx.Err()
		}}, []string{"context: "}},
		{"keys of one case", broken{load: func(f full, ctx context.Context, k string) ([]byte, uint64, error) {
			return f.Load(ctx, strings.ToLower(k))
		}, cas: func(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (uint64, error) {
			return f.CAS(ctx, strings.ToLower(k), rev, v, ttl)
		}}, []string{"keys: "}},
		{"values end at a NUL", broken{cas: func(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (uint64, error) {
			s, _, _ := strings.Cut(string(v), "\x00")
			return f.CAS(ctx, k, rev, []byte(s), ttl)
		}}, []string{"values: "}},
		{"one slice for all", broken{load: values.load, cas: values.cas}, []string{"isolation: "}},
	}, brokenLockers(), brokenWatchers())
}

// aliases keeps the slices it was given.
type aliases struct {
	mu sync.Mutex
	m  map[string][]byte
}

func (a *aliases) cas(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (uint64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	next, err := f.CAS(ctx, k, rev, []byte(hex.EncodeToString(v)), ttl)
	if next != 0 {
		if a.m == nil {
			a.m = map[string][]byte{}
		}
		a.m[k] = v
	}
	return next, err
}

func (a *aliases) load(f full, ctx context.Context, k string) ([]byte, uint64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, rev, err := f.Load(ctx, k)
	if rev == 0 {
		return nil, 0, err
	}
	return a.m[k], rev, err
}

func brokenLockers() []brokenStore {
	var falling uint64 = 1 << 40
	var mu sync.Mutex
	fences, written := map[string]uint64{}, map[string]bool{}
	return []brokenStore{
		{"unlock by anybody", broken{unlock: byAnybody}, []string{"lease: ", "exclusion: "}},
		{"extend by anybody", broken{extend: func(full, context.Context, string, string, time.Duration) (bool, error) { return true, nil }},
			[]string{"lease: ", "lease ends: "}},
		{"extend that does not", broken{extend: func(f full, ctx context.Context, k, owner string, _ time.Duration) (bool, error) {
			return f.Extend(ctx, k, owner, 400*time.Millisecond)
		}}, []string{"lease extended: "}},
		{"a lease for everybody", broken{lock: func(f full, ctx context.Context, k, _ string, ttl time.Duration) (uint64, error) {
			return f.Lock(ctx, k, "everybody", ttl)
		}, unlock: func(f full, ctx context.Context, k, _ string) (bool, error) {
			return f.Unlock(ctx, k, "everybody")
		}}, []string{"lease: ", "exclusion: "}},
		{"a lease for ever", broken{lock: func(f full, ctx context.Context, k, owner string, _ time.Duration) (uint64, error) {
			return f.Lock(ctx, k, owner, time.Hour)
		}}, []string{"lease ends: "}},
		{"a hasty lease", broken{lock: func(f full, ctx context.Context, k, owner string, ttl time.Duration) (uint64, error) {
			return f.Lock(ctx, k, owner, ttl/2)
		}}, []string{"lease ends: "}},
		{"falling fence", broken{lock: func(f full, ctx context.Context, k, owner string, ttl time.Duration) (uint64, error) {
			fence, err := f.Lock(ctx, k, owner, ttl)
			if fence == 0 {
				return 0, err
			}
			mu.Lock()
			defer mu.Unlock()
			falling--
			return falling, err
		}}, []string{"fence: ", "lease ends: ", "exclusion: "}},
		{"a fence that stands", broken{lock: func(f full, ctx context.Context, k, owner string, ttl time.Duration) (uint64, error) {
			fence, err := f.Lock(ctx, k, owner, ttl)
			return min(fence, 1), err
		}}, []string{"fence: ", "lease ends: ", "exclusion: "}},
		{"a fence lost with the value", broken{
			cas: func(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (uint64, error) {
				mu.Lock()
				defer mu.Unlock()
				written[k] = true
				return f.CAS(ctx, k, rev, v, ttl)
			},
			lock: func(f full, ctx context.Context, k, owner string, ttl time.Duration) (uint64, error) {
				fence, err := f.Lock(ctx, k, owner, ttl)
				if fence == 0 {
					return 0, err
				}
				mu.Lock()
				defer mu.Unlock()
				if _, rev, _ := f.Load(ctx, k); rev == 0 && written[k] {
					written[k], fences[k] = false, 0
				}
				fences[k]++
				return fences[k], nil
			},
		}, []string{"fence: "}},
	}
}

func brokenWatchers() []brokenStore {
	return []brokenStore{
		{"mute", broken{watch: func(full, context.Context, string) (<-chan struct{}, error) {
			return make(chan struct{}), nil
		}}, []string{"watch: no signal of a first CAS", "watch at once: ", "watch unread: ", "watch ends: "}},
		{"mute about unlocks", broken{unlock: func(f full, ctx context.Context, k, owner string) (bool, error) {
			if ok, err := f.Extend(ctx, k, owner, 1); !ok || err != nil { // ends at once, and wakes nobody
				return ok, err
			}
			time.Sleep(time.Nanosecond)
			return true, nil
		}}, []string{"watch: no signal of an Unlock"}},
		{"yields once", broken{watch: func(f full, ctx context.Context, k string) (<-chan struct{}, error) {
			in, err := f.Watch(ctx, k)
			out := make(chan struct{}, 1)
			go func() {
				select {
				case <-in:
					out <- struct{}{}
				case <-ctx.Done():
				}
			}()
			return out, err
		}}, []string{"watch: no signal of a second CAS"}},
		{"a watch that ends at once", broken{watch: func(full, context.Context, string) (<-chan struct{}, error) {
			ch := make(chan struct{})
			close(ch)
			return ch, nil
		}}, []string{"watch: a watch ended before its context"}},
		{"watches stop together", broken{watch: stopTogether()}, []string{"watch ends: "}},
	}
}

// stopTogether ends all watches of a key with the first.
func stopTogether() func(full, context.Context, string) (<-chan struct{}, error) {
	var mu sync.Mutex
	over := map[string]context.Context{}
	return func(f full, ctx context.Context, k string) (<-chan struct{}, error) {
		mu.Lock()
		defer mu.Unlock()
		if over[k] == nil {
			over[k] = ctx
		}
		return f.Watch(over[k], k)
	}
}
