package tokencache_test

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/tokencache"
)

// asking is a log handler that uses the cache, as one does that exports its
// lines with a token.
type asking struct {
	slog.Handler
	ask func()
}

func (a asking) Handle(context.Context, slog.Record) error {
	a.ask()
	return nil
}

// A Logger may use the cache, also when it gets the line of a full memory. The
// test is not in a bubble, because a deadlock would hang it.
func TestALoggerMayUseTheCacheThatIsFull(t *testing.T) {
	var cache atomic.Pointer[tokencache.Cache]
	asked := make(chan bool, 1)
	logger := slog.New(asking{slog.NewTextHandler(io.Discard, nil), func() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			cache.Load().Stats() // reads every entry
		}()
		select {
		case <-done:
			asked <- true
		case <-time.After(3 * time.Second):
			asked <- false
		}
	}})
	c := open(t, &fake{ttl: time.Hour}, tokencache.Options{MaxEntries: 4, Logger: logger})
	cache.Store(c)
	for i := 0; c.Stats().Evicted == 0; i++ {
		must(t)(c.Generate(t.Context(), userNo(i)))
	}
	select {
	case ok := <-asked:
		assert.True(t, ok, "the Logger is called under a lock")
	case <-time.After(time.Minute):
		require.Fail(t, "no line")
	}
}
