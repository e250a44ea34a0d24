package verdict

import (
	"context"
	"errors"
	"sync/atomic"
)

// Gate bounds how many calls run at once and how many callers wait for a turn.
// [NewGate] makes it.
type Gate struct {
	turns   chan struct{}
	waiting atomic.Int64
	most    int64
}

// errStarted: what the caller waited to start has been started by another one.
var errStarted = errors.New("started by another caller")

// NewGate returns a Gate for atOnce calls, before which waiting callers queue.
func NewGate(atOnce, waiting int) *Gate {
	return &Gate{turns: make(chan struct{}, atOnce), most: int64(waiting)}
}

// Do runs call when it is its turn. Its error is call's, [ErrBusy], or
// ctx.Err() of a caller who left the queue.
func (g *Gate) Do(ctx context.Context, call func() error) error {
	if err := g.enter(ctx, nil); err != nil {
		return err
	}
	defer g.leave()
	return call()
}

// enter waits for a turn, until ctx ends or started is closed. Those who wait
// do so on their own goroutines, so that a caller who leaves takes no place.
func (g *Gate) enter(ctx context.Context, started <-chan struct{}) error {
	select {
	case <-started:
		return errStarted
	default:
	}
	select {
	case g.turns <- struct{}{}:
		return nil
	default:
	}
	if g.waiting.Add(1) > g.most {
		g.waiting.Add(-1)
		return ErrBusy
	}
	defer g.waiting.Add(-1)
	select {
	case g.turns <- struct{}{}:
		return nil
	case <-started:
		return errStarted
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *Gate) leave() { <-g.turns }
