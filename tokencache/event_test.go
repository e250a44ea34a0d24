package tokencache_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// TestEvents goes through what an Observer is told, and what Stats count.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		seen := map[string]providers.Event{}
		o := tokencache.Options{
			Store: &flaky{Store: tokencache.NewMemory()}, Namespace: "n",
			Observer: func(_ context.Context, e providers.Event) {
				mu.Lock()
				defer mu.Unlock()
				seen[e.Kind+" "+e.Op+" "+e.Outcome] = e
			},
		}
		p := &fake{ttl: time.Hour, latency: time.Second}
		var down atomic.Bool
		p.generate = func(ctx context.Context, _ providers.Request) (providers.Token, error) {
			if err := pause(ctx, time.Second); err != nil {
				return providers.Token{}, err
			}
			if down.Load() {
				return providers.Token{}, &providers.Error{Code: providers.CodeUnreachable, Class: providers.Transient}
			}
			return p.token(p.calls.Load(), ""), nil
		}
		a, b := open(t, p, o), open(t, p, o)
		together(10, func(int) { must(t)(a.Generate(t.Context(), alice)) })
		must(t)(b.Generate(t.Context(), alice))
		time.Sleep(55 * time.Minute) // past every soft expiry
		must(t)(a.Generate(t.Context(), alice))
		synctest.Wait()
		time.Sleep(time.Minute)
		down.Store(true)
		for range 3 {
			_, _ = a.Generate(t.Context(), bob)
		}
		o.Store.(*flaky).set(true, nil)
		down.Store(false)
		must(t)(a.Generate(t.Context(), providers.Request{Tenant: "t1", Subject: "carol"}))
		synctest.Wait() // until the last attempt has finished
		mu.Lock()
		defer mu.Unlock()
		for _, want := range []string{
			"flight_started  ", "flight generate ok", "flight ahead-generate ok", "flight generate transient",
			"fail_fast  transient", "adopted  ", "store_error  ", "uncoordinated  ",
		} {
			if _, ok := seen[want]; !ok {
				t.Errorf("no event %q in %q", want, slices.Sorted(maps.Keys(seen)))
			}
		}
		if e := seen["flight ahead-generate ok"]; e.Duration < time.Second {
			t.Errorf("%+v", e)
		}
		s, sb := a.Stats(), b.Stats()
		if s.Flights != 4 || s.Coalesced != 9 || s.FailFast != 2 || s.Failed != 1 || s.Entries != 3 || s.InFlight != 0 || sb.Adopted == 0 || s.StoreErrors == 0 {
			t.Errorf("%+v %+v", s, sb)
		}
	})
}

// A state that lasts is told once a minute, however many callers it has, and
// the line says what follows and what to do.
func TestAnOutageIsToldOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuilder
		p := &fake{}
		p.generate = func(context.Context, providers.Request) (providers.Token, error) {
			return providers.Token{}, &providers.Error{Code: providers.CodeUnreachable, Class: providers.Transient}
		}
		c := open(t, p, tokencache.Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		for minute := range 2 {
			for i := range 50 {
				_, err := c.Generate(t.Context(), userNo(i))
				require.Equal(t, providers.CodeUnreachable, code(err))
				synctest.Wait()
				time.Sleep(time.Second)
			}
			assert.Equal(t, minute+1, strings.Count(log.String(), "level=WARN"))
			time.Sleep(time.Minute)
		}
		assert.Equal(t, int(c.Stats().Failed), strings.Count(log.String(), "no token"), "the others are for Debug")
		first, _, _ := strings.Cut(log.String(), "\n")
		assert.Contains(t, first, "callers of this grant get this error for a while")
		assert.Contains(t, first, "do=")
	})
}

// After a change of keys every record is unreadable.
func TestUnreadableRecordsAreToldOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuilder
		o := tokencache.Options{
			Store: tokencache.NewMemory(), NameKey: []byte(strings.Repeat("n", 32)), SealKeys: [][]byte{[]byte(strings.Repeat("a", 32))},
			Logger: slog.New(slog.DiscardHandler),
		}
		p := &fake{ttl: time.Hour}
		c := cluster(t, 1, p, o)[0]
		for i := range 20 {
			must(t)(c.Generate(t.Context(), userNo(i)))
		}
		o.SealKeys, o.Logger = [][]byte{[]byte(strings.Repeat("b", 32))}, slog.New(slog.NewTextHandler(&log, nil))
		c = cluster(t, 1, p, o)[0]
		for i := range 20 {
			_, _ = c.Generate(t.Context(), userNo(i))
		}
		assert.Equal(t, 1, strings.Count(log.String(), "unreadable value in the store"), fmt.Sprint(log.String()))
	})
}

func TestWithoutALoggerWarningsAloneReachTheDefault(t *testing.T) {
	var log lockedBuilder
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	synctest.Test(t, func(t *testing.T) {
		p := &fake{}
		p.generate = func(context.Context, providers.Request) (providers.Token, error) {
			return providers.Token{}, &providers.Error{Code: providers.CodeUnreachable, Class: providers.Transient}
		}
		c, err := tokencache.New(p, tokencache.Options{})
		require.NoError(t, err)
		defer func() { _ = c.Close(context.Background()) }()
		for i := range 3 {
			_, _ = c.Generate(t.Context(), userNo(i))
		}
		synctest.Wait()
		assert.Equal(t, 1, strings.Count(log.String(), "level="), log.String())
		assert.Contains(t, log.String(), "level=WARN")
	})
}
