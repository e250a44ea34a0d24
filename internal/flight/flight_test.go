package flight_test

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

	"github.com/bearerkit/bearerkit/internal/flight"
)

func TestCallersOfOneKeyShareOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		var calls atomic.Int32
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				v, err := g.Do(t.Context(), "k", time.Minute, func(context.Context) (int, error) {
					calls.Add(1)
					time.Sleep(time.Second)
					return 7, nil
				})
				assert.NoError(t, err)
				assert.Equal(t, 7, v)
			})
		}
		wg.Wait()
		assert.EqualValues(t, 1, calls.Load())
	})
}

func TestKeysDoNotShare(t *testing.T) {
	var g flight.Group[string]
	for i := range 100 {
		key := fmt.Sprint("key", i)
		v, err := g.Do(t.Context(), key, time.Minute, func(context.Context) (string, error) { return key, nil })
		require.NoError(t, err)
		assert.Equal(t, key, v)
	}
}

func TestACallerThatLeavesHarmsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		work := func(ctx context.Context) (int, error) {
			select {
			case <-time.After(time.Second):
				return 1, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		start := time.Now()
		wg.Go(func() {
			_, err := g.Do(ctx, "k", time.Minute, work)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, 100*time.Millisecond, time.Since(start), "the starter leaves at once")
		})
		synctest.Wait()
		wg.Go(func() {
			v, err := g.Do(t.Context(), "k", time.Minute, work)
			assert.NoError(t, err)
			assert.Equal(t, 1, v)
			assert.Equal(t, time.Second, time.Since(start), "the joiner gets the starter's result")
		})
		wg.Wait()
	})
}

func TestACallerWhoseContextHasEndedStartsNothing(t *testing.T) {
	var g flight.Group[int]
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := g.Do(ctx, "k", time.Minute, func(context.Context) (int, error) {
		t.Error("started")
		return 0, nil
	})
	assert.ErrorIs(t, err, context.Canceled)
}

func TestTheWorksContextIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		var g flight.Group[int]
		ctx := context.WithValue(t.Context(), key{}, "a caller's")
		start := time.Now()
		_, err := g.Do(ctx, "k", time.Second, func(ctx context.Context) (int, error) {
			assert.Nil(t, ctx.Value(key{}))
			<-ctx.Done()
			return 0, ctx.Err()
		})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
	})
}

func TestOverdueWorkKeepsItsKeyAndNoCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		var calls atomic.Int32
		release := make(chan struct{})
		work := func(context.Context) (int, error) { // ignores its context
			calls.Add(1)
			<-release
			return 0, nil
		}
		for range 3 {
			start := time.Now()
			_, err := g.Do(t.Context(), "k", time.Minute, work)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, time.Minute+time.Second, time.Since(start))
		}
		assert.EqualValues(t, 1, calls.Load())
		close(release)
		synctest.Wait()
		_, err := g.Do(t.Context(), "k", time.Minute, work)
		assert.NoError(t, err)
		assert.EqualValues(t, 2, calls.Load())
	})
}

func TestAPanicOrExitIsAnErrorAndTheNextCallWorks(t *testing.T) {
	secret := "hunter2"
	for name, test := range map[string]struct {
		work  func()
		check func(*testing.T, error)
	}{
		"panic": {func() { panic(secret) }, func(t *testing.T, err error) {
			var p *flight.PanicError
			require.ErrorAs(t, err, &p)
			assert.Equal(t, "string", p.What)
			assert.NotContains(t, err.Error(), secret)
		}},
		"runtime error": {func() { _ = []int{}[len(secret)] }, func(t *testing.T, err error) {
			assert.ErrorContains(t, err, "index out of range")
		}},
		"panic(nil)": {func() { panic(nil) }, func(t *testing.T, err error) { assert.ErrorContains(t, err, "panicked") }},
		"goexit":     {runtime.Goexit, func(t *testing.T, err error) { assert.ErrorIs(t, err, flight.ErrExited) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var g flight.Group[int]
				var wg sync.WaitGroup
				for range 50 {
					wg.Go(func() {
						_, err := g.Do(t.Context(), "k", time.Minute, func(context.Context) (int, error) {
							time.Sleep(time.Second)
							test.work()
							return 0, nil
						})
						test.check(t, err)
					})
				}
				wg.Wait()
				v, err := g.Do(t.Context(), "k", time.Minute, func(context.Context) (int, error) { return 3, nil })
				require.NoError(t, err)
				assert.Equal(t, 3, v)
			})
		})
	}
}

func TestNobodyJoinsAnAnsweredCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		release := make(chan struct{})
		first := g.Start("k", func(c *flight.Call[int]) {
			c.Answer(1, nil)
			c.Answer(2, nil) // not counted
			<-release        // still saving
		})
		v, err := first.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 1, v)

		second := g.Start("k", func(c *flight.Call[int]) {
			time.Sleep(time.Second)
			c.Answer(3, nil)
		})
		close(release) // the first call's end takes the second's place from nobody
		synctest.Wait()
		joined := g.Join("k")
		for _, ticket := range []flight.Ticket[int]{second, joined} {
			v, err = ticket.Wait(t.Context())
			require.NoError(t, err)
			assert.Equal(t, 3, v)
		}
	})
}

func TestWorkThatEndsWithoutAnAnswer(t *testing.T) {
	var g flight.Group[int]
	_, err := g.Start("k", func(*flight.Call[int]) {}).Wait(t.Context())
	assert.ErrorIs(t, err, flight.ErrNoAnswer)
	_, err = g.Join("k").Wait(t.Context())
	assert.ErrorIs(t, err, flight.ErrNoAnswer, "no call under way")
}

func TestAnErrorIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		fault := errors.New("fault")
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				_, err := g.Do(t.Context(), "k", time.Minute, func(context.Context) (int, error) {
					time.Sleep(time.Second)
					return 0, fault
				})
				assert.Same(t, fault, err)
			})
		}
		wg.Wait()
	})
}
