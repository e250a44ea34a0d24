package verdict_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/verdict"
	"github.com/bearerkit/bearerkit/providers"
)

func newCache(size int) *verdict.Cache {
	return verdict.New(verdict.Config{Positive: 30 * time.Second, Negative: 5 * time.Second, Max: size, MaxBytes: 1 << 20, Timeout: 10 * time.Second, AtOnce: 32, Waiting: 64})
}

// asker counts its questions and answers with verified and err.
type asker struct {
	n        atomic.Int32
	verified providers.Verified
	err      error
	takes    time.Duration
}

func (a *asker) ask(ctx context.Context) (providers.Verified, error) {
	a.n.Add(1)
	if a.takes > 0 {
		select {
		case <-time.After(a.takes):
		case <-ctx.Done():
			return providers.Verified{}, ctx.Err()
		}
	}
	return a.verified, a.err
}

var errNotValid = &providers.Error{Code: providers.CodeInvalidToken, Class: providers.Permanent}

func TestVerdictsAge(t *testing.T) {
	for name, c := range map[string]struct {
		a     *asker
		lives time.Duration
	}{
		"valid":              {&asker{verified: providers.Verified{Subject: "u"}}, 30 * time.Second},
		"valid, ends before": {&asker{verified: providers.Verified{Expiry: time.Date(2000, 1, 1, 0, 0, 7, 0, time.UTC)}}, 7 * time.Second},
		"not valid":          {&asker{err: errNotValid}, 5 * time.Second},
		"failed":             {&asker{err: &providers.Error{Code: providers.CodeBusy}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cache := newCache(100)
				verify := func() {
					t.Helper()
					got, err := cache.Verify(t.Context(), "t", c.a.ask)
					assert.Equal(t, c.a.verified, got)
					assert.Equal(t, c.a.err, err)
				}
				verify()
				want := int32(1)
				if c.lives > 0 {
					time.Sleep(c.lives - time.Nanosecond)
					verify()
					assert.Equal(t, want, c.a.n.Load(), "believed until its end")
					time.Sleep(time.Nanosecond)
				}
				verify()
				assert.Equal(t, want+1, c.a.n.Load(), "asked again")
			})
		})
	}
}

func TestOneQuestionForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache, a := newCache(100), &asker{verified: providers.Verified{Subject: "u"}, takes: time.Second}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				got, err := cache.Verify(t.Context(), "t", a.ask)
				assert.NoError(t, err)
				assert.Equal(t, "u", got.Subject)
			})
		}
		// One who leaves early takes nobody along.
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := cache.Verify(ctx, "t", a.ask)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Millisecond, time.Since(start))
		wg.Wait()
		assert.EqualValues(t, 1, a.n.Load())
		_, err = cache.Verify(t.Context(), "another", a.ask)
		require.NoError(t, err)
		assert.EqualValues(t, 2, a.n.Load())
	})
}

func TestCancelledCallersAskNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := &asker{}
	_, err := newCache(1).Verify(ctx, "t", a.ask)
	require.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, a.n.Load())
}

func TestBadVerifiers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := newCache(10)
		for name, ask := range map[string]func(context.Context) (providers.Verified, error){
			"panics":  func(context.Context) (providers.Verified, error) { panic("secret-canary") },
			"goexits": func(context.Context) (providers.Verified, error) { runtime.Goexit(); return providers.Verified{}, nil },
			"hangs": func(ctx context.Context) (providers.Verified, error) {
				<-ctx.Done()
				return providers.Verified{}, ctx.Err()
			},
		} {
			start := time.Now()
			_, err := cache.Verify(t.Context(), "t", ask)
			require.Error(t, err, name)
			assert.NotContains(t, err.Error(), "canary", name)
			assert.LessOrEqual(t, time.Since(start), 10*time.Second, name)
			good := &asker{err: errors.New("not remembered")}
			_, err = cache.Verify(t.Context(), "t", good.ask)
			require.ErrorIs(t, err, good.err, "the next call works")
		}
	})
}

// A flood of tokens costs no more memory than the bound: of the last Max/2 all
// are remembered, of the whole at most Max.
func TestBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // or a busy machine lets them age
		cache := newCache(100)
		for i := range 10_000 {
			_, _ = cache.Verify(t.Context(), fmt.Sprint(i), (&asker{err: errNotValid}).ask)
		}
		var asked int32
		for i := range 10_000 {
			a := &asker{err: errors.New("not remembered")}
			_, _ = cache.Verify(t.Context(), fmt.Sprint(i), a.ask)
			asked += a.n.Load()
		}
		known := 10_000 - int(asked)
		assert.GreaterOrEqual(t, known, 50)
		assert.LessOrEqual(t, known, 100)
	})
}

// 20,000 distinct tokens at once: 32 questions are under way, 64 wait, the
// rest are told to come back, and no goroutine is spent on those who wait.
func TestFloodOfDistinctTokensIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := newCache(100)
		var now, most, asked, busy atomic.Int32
		var wg sync.WaitGroup
		for i := range 20_000 {
			wg.Go(func() {
				_, err := cache.Verify(t.Context(), fmt.Sprint(i), func(context.Context) (providers.Verified, error) {
					asked.Add(1)
					n := now.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					time.Sleep(time.Second)
					now.Add(-1)
					return providers.Verified{}, nil
				})
				if errors.Is(err, verdict.ErrBusy) {
					busy.Add(1)
				} else {
					assert.NoError(t, err)
				}
			})
		}
		wg.Wait()
		assert.EqualValues(t, 32, most.Load())
		assert.EqualValues(t, 32+64, asked.Load())
		assert.EqualValues(t, 20_000-96, busy.Load())
		_, err := cache.Verify(t.Context(), "after", (&asker{}).ask)
		require.NoError(t, err)
	})
}

func TestCallersWhoLeaveLeaveTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := verdict.New(verdict.Config{Positive: time.Minute, Max: 100, MaxBytes: 1 << 20, Timeout: 10 * time.Second, AtOnce: 1, Waiting: 3})
		slow := &asker{takes: 5 * time.Second}
		go func() { _, _ = cache.Verify(t.Context(), "first", slow.ask) }()
		synctest.Wait()
		never := &asker{}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				_, err := cache.Verify(ctx, fmt.Sprint("left", i), never.ask)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
			})
		}
		synctest.Wait()
		_, err := cache.Verify(t.Context(), "more", never.ask)
		require.ErrorIs(t, err, verdict.ErrBusy)
		wg.Wait()
		// Two callers of one token wait; the first leaves, the second is served.
		two := &asker{verified: providers.Verified{Subject: "u"}}
		short, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		wg.Go(func() { _, _ = cache.Verify(short, "two", two.ask) })
		wg.Go(func() {
			got, err := cache.Verify(t.Context(), "two", two.ask)
			assert.NoError(t, err)
			assert.Equal(t, "u", got.Subject)
		})
		wg.Wait()
		assert.Zero(t, never.n.Load())
		assert.EqualValues(t, 1, two.n.Load())
	})
}

// A verifier that hangs holds nobody in the queue for minutes.
func TestTheQueueIsNoLongerThanACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := verdict.New(verdict.Config{Positive: time.Minute, Max: 100, Timeout: 10 * time.Second})
		start := time.Now()
		var busy, late atomic.Int32
		var wg sync.WaitGroup
		for i := range 32 + 32*32 {
			wg.Go(func() {
				_, err := cache.Verify(t.Context(), fmt.Sprint(i), (&asker{takes: time.Hour}).ask)
				assert.LessOrEqual(t, time.Since(start), 11*time.Second)
				var e *providers.Error
				if errors.As(err, &e) && e.Code == providers.CodeBusy && errors.Is(err, verdict.ErrBusy) {
					busy.Add(1)
				} else if assert.ErrorIs(t, err, context.DeadlineExceeded) {
					late.Add(1)
				}
			})
		}
		wg.Wait()
		assert.EqualValues(t, 64, late.Load(), "those whose calls began")
		assert.EqualValues(t, 31*32, busy.Load())
		time.Sleep(time.Minute)
		_, err := cache.Verify(t.Context(), "after", (&asker{}).ask)
		require.NoError(t, err)
	})
}

func TestVerdictsAreBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // or a busy machine lets them age
		cache := verdict.New(verdict.Config{Positive: time.Minute, Negative: time.Minute, Max: 1000, MaxBytes: 100 << 10, Timeout: time.Second, AtOnce: 1, Waiting: 1})
		known := func(n, size int) (asked int32) {
			for i := range n {
				a := &asker{verified: providers.Verified{Claims: make([]byte, size)}}
				_, err := cache.Verify(t.Context(), fmt.Sprint(size, i), a.ask)
				require.NoError(t, err)
				asked += a.n.Load()
			}
			return asked
		}
		known(100, 10<<10)
		again := int32(0)
		for i := range 100 {
			a := &asker{}
			_, _ = cache.Verify(t.Context(), fmt.Sprint(10<<10, 99-i), a.ask)
			again += a.n.Load()
		}
		assert.GreaterOrEqual(t, again, int32(90), "at most 100 KiB of claims are kept")
		known(1, 60<<10)
		assert.EqualValues(t, 1, known(1, 60<<10), "one that is larger than a generation is not kept")
	})
}

func TestClockThatIsSetBackProlongsNoVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := 6 * time.Hour
		cache := verdict.New(verdict.Config{Positive: 30 * time.Second, Max: 10, MaxBytes: 1 << 20, Timeout: time.Second, AtOnce: 1, Waiting: 1, Now: func() time.Time { return time.Now().Add(set) }})
		a := &asker{}
		_, _ = cache.Verify(t.Context(), "t", a.ask)
		set = 0
		time.Sleep(31 * time.Second)
		_, _ = cache.Verify(t.Context(), "t", a.ask)
		assert.EqualValues(t, 2, a.n.Load())
	})
}
