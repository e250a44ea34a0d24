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
func blind(f full, ctx context.Context, k string, _ uint64, v []byte, ttl time.Duration) (bool, error) {
	for {
		_, rev, err := f.Load(ctx, k)
		if err != nil {
			return false, err
		}
		if ok, err := f.CAS(ctx, k, rev, v, ttl); ok || err != nil {
			return ok, err
		}
	}
}

// byAnybody ends a lease for whoever asks.
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
	return slices.Concat([]brokenStore{
		{"no CAS", broken{cas: blind}, []string{"cas: ", "one of many writers: ", "delete: "}},
		{"check and write apart", broken{cas: func(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (bool, error) {
			if _, at, err := f.Load(ctx, k); err != nil || at != rev {
				return false, err
			}
			time.Sleep(time.Millisecond) // the other writers check too
			return blind(f, ctx, k, rev, v, ttl)
		}}, []string{"one of many writers: ", "counter: "}},
		{"equal bytes win twice", broken{cas: func(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (bool, error) {
			ok, err := f.CAS(ctx, k, rev, v, ttl)
			if err == nil && !ok {
				cur, at, err := f.Load(ctx, k)
				return at == rev+1 && string(cur) == string(v), err
			}
			return ok, err
		}}, []string{"one of many writers: "}},
		{"false for an error", broken{cas: func(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (bool, error) {
			ok, _ := f.CAS(ctx, k, rev, v, ttl)
			return ok, nil
		}}, []string{"context: ", "lost replies: "}},
		{"no ttl", broken{cas: func(f full, ctx context.Context, k string, rev uint64, v []byte, _ time.Duration) (bool, error) {
			return f.CAS(ctx, k, rev, v, time.Hour)
		}}, []string{"ttl: "}},
		{"hasty ttl", broken{cas: func(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (bool, error) {
			return f.CAS(ctx, k, rev, v, ttl/2)
		}}, []string{"ttl: "}},
		{"ttl of the first write", broken{cas: func(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (bool, error) {
			if rev > 0 && strings.HasSuffix(k, "/renewed") {
				ttl = 200 * time.Millisecond
			}
			return f.CAS(ctx, k, rev, v, ttl)
		}}, []string{"ttl: "}},
		{"revisions by two", broken{load: func(f full, ctx context.Context, k string) ([]byte, uint64, error) {
			v, rev, err := f.Load(ctx, k)
			return v, 2 * rev, err
		}}, []string{"cas: ", "counter: "}},
		{"deaf to contexts", broken{load: func(f full, _ context.Context, k string) ([]byte, uint64, error) {
			return f.Load(context.Background(), k)
		}}, []string{"context: "}},
		{"works, then looks at the context", broken{del: func(f full, ctx context.Context, k string) error {
			_ = f.Delete(context.Background(), k)
			return ctx.Err()
		}}, []string{"context: "}},
		{"delete that does not", broken{del: func(full, context.Context, string) error { return nil }}, []string{"delete: "}},
		{"keys of one case", broken{load: func(f full, ctx context.Context, k string) ([]byte, uint64, error) {
			return f.Load(ctx, strings.ToLower(k))
		}, cas: func(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (bool, error) {
			return f.CAS(ctx, strings.ToLower(k), rev, v, ttl)
		}}, []string{"keys: "}},
		{"values end at a NUL", broken{cas: func(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (bool, error) {
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

func (a *aliases) cas(f full, ctx context.Context, k string, rev uint64, v []byte, ttl time.Duration) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ok, err := f.CAS(ctx, k, rev, []byte(hex.EncodeToString(v)), ttl)
	if ok {
		if a.m == nil {
			a.m = map[string][]byte{}
		}
		a.m[k] = v
	}
	return ok, err
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
			lock: func(f full, ctx context.Context, k, owner string, ttl time.Duration) (uint64, error) {
				fence, err := f.Lock(ctx, k, owner, ttl)
				_, rev, _ := f.Load(ctx, k+"/fence")
				if fence != 0 {
					_, _ = f.CAS(ctx, k+"/fence", rev, nil, time.Hour)
					fence = rev + 1
				}
				return fence, err
			},
			del: func(f full, ctx context.Context, k string) error {
				_ = f.Delete(ctx, k+"/fence")
				return f.Delete(ctx, k)
			},
		}, []string{"fence: "}},
	}
}

func brokenWatchers() []brokenStore {
	return []brokenStore{
		{"mute", broken{watch: func(full, context.Context, string) (<-chan struct{}, error) {
			return make(chan struct{}), nil
		}}, []string{"watch: no signal of a first CAS", "watch at once: ", "watch unread: ", "watch ends: "}},
		{"mute about deletes", broken{del: func(f full, ctx context.Context, k string) error {
			_, err := f.CAS(ctx, k, 0, nil, 1) // wakes nobody: the key is there, or gone at once
			if _, rev, _ := f.Load(ctx, k); rev != 0 {
				return f.Delete(ctx, k)
			}
			return err
		}, watch: func(f full, ctx context.Context, k string) (<-chan struct{}, error) {
			in, err := f.Watch(ctx, k)
			out := make(chan struct{}, 1)
			go func() {
				for {
					select {
					case <-in:
						if _, rev, _ := f.Load(ctx, k); rev != 0 {
							out <- struct{}{}
						}
					case <-ctx.Done():
						return
					}
				}
			}()
			return out, err
		}}, []string{"watch: no signal of a Delete"}},
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
