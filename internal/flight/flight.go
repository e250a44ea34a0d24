// Package flight runs at most one call per key at a time. It is
// golang.org/x/sync/singleflight with four additions:
//
//   - The work has a separate context with a deadline. A caller that leaves
//     does not end the work for the others.
//   - Each caller leaves when its own context ends.
//   - A panic or a runtime.Goexit in the work is an error for every caller, and
//     the next call works.
//   - The work may answer its callers before it ends, see [Call.Answer].
package flight

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// shards is the number of groups that the keys are spread over. A group holds
// its lock while it sends a result to all its callers. Callers of other keys
// must not wait for that.
const shards = 16

// overdue is how long [Group.Do] waits beyond the limit for work that ignores
// its context.
const overdue = time.Second

// ErrExited is the error of work that called runtime.Goexit.
var ErrExited = errors.New("flight: the work called runtime.Goexit")

// ErrNoAnswer is the error of work that ended without an answer.
var ErrNoAnswer = errors.New("flight: the work ended without an answer")

// PanicError is the error of work that panicked. Its text has the type of the
// value and not the value, which may be a secret. Errors of the runtime are
// quoted in full.
type PanicError struct {
	What  string // a runtime error's text, else the type of the value
	Stack []byte
}

func (e *PanicError) Error() string { return "flight: the work panicked: " + e.What }

// Group runs at most one call per key at a time. The zero Group is ready for
// use. It is safe for concurrent use and must not be copied.
type Group[V any] struct {
	groups [shards]singleflight.Group
}

// Do joins the call under way for key, or starts work as one, and waits for
// its result. The context of work ends after limit and carries none of the
// values of ctx.
//
// The error is the work's, a [*PanicError], [ErrExited], or ctx.Err() as soon
// as ctx ends. A caller that has waited a second longer than limit gets
// [context.DeadlineExceeded]. The overdue work keeps its key until it returns,
// so that no second call runs beside it.
func (g *Group[V]) Do(ctx context.Context, key string, limit time.Duration, work func(context.Context) (V, error)) (V, error) {
	if err := ctx.Err(); err != nil {
		var none V
		return none, err
	}
	call := g.Start(key, func(c *Call[V]) {
		workCtx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		c.Answer(work(workCtx))
	})
	ctx, cancel := context.WithTimeout(ctx, limit+overdue)
	defer cancel()
	return call.Wait(ctx)
}

// Start starts run as the call of key and returns the starter's ticket. If a
// call of key is under way, Start joins it and run is not used.
//
// The call ends for its callers when run calls [Call.Answer]. A run that
// panics, exits or returns without an answer gives them an error.
func (g *Group[V]) Start(key string, run func(*Call[V])) Ticket[V] {
	group := g.group(key)
	return Ticket[V]{group.DoChan(key, func() (any, error) {
		c := &Call[V]{group: group, key: key, result: make(chan result[V], 1)}
		// In a separate goroutine: recover does not stop runtime.Goexit, and
		// singleflight sends nothing after one.
		ended := Go(func() { run(c) })
		var r result[V]
		select {
		case r = <-c.result:
		case err := <-ended:
			if err == nil {
				err = ErrNoAnswer
			}
			var none V
			c.Answer(none, err) // unless run has answered
			r = <-c.result
		}
		return r.value, r.err
	})}
}

// Join returns a ticket of the call under way for key. The caller knows that
// there is one: without it the ticket yields [ErrNoAnswer].
func (g *Group[V]) Join(key string) Ticket[V] {
	return g.Start(key, func(*Call[V]) {})
}

func (g *Group[V]) group(key string) *singleflight.Group {
	h := uint32(2166136261) // FNV-1a
	for i := range len(key) {
		h = (h ^ uint32(key[i])) * 16777619
	}
	return &g.groups[h%shards]
}

// Call is the work's own hold on its call.
type Call[V any] struct {
	group  *singleflight.Group
	key    string
	once   sync.Once
	result chan result[V]
}

type result[V any] struct {
	value V
	err   error
}

// Answer gives the callers of c their result. No caller joins c afterwards: the
// next Start of its key starts a new call, also while the work of c continues.
// Only the first Answer of a call counts.
//
// If a lock of the caller guards joining and starting, call Answer under that
// lock.
func (c *Call[V]) Answer(value V, err error) {
	c.once.Do(func() {
		c.group.Forget(c.key)
		c.result <- result[V]{value, err}
	})
}

// Ticket is one caller's place in a call. It is used once.
type Ticket[V any] struct {
	result <-chan singleflight.Result
}

// Wait returns the answer, or ctx.Err() as soon as ctx ends.
func (t Ticket[V]) Wait(ctx context.Context) (V, error) {
	select {
	case r := <-t.result:
		v, _ := r.Val.(V)
		return v, r.Err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

// Guard runs fn in a separate goroutine and waits for it. A panic is a
// [*PanicError] and a runtime.Goexit is [ErrExited]; otherwise the error is
// nil.
func Guard(fn func()) error { return <-Go(fn) }

// Go is Guard for callers that do not wait: the channel yields what Guard
// would return.
func Go(fn func()) <-chan error {
	ended := make(chan error, 1)
	go func() {
		err := ErrExited
		defer func() { ended <- err }()
		defer func() {
			if v := recover(); v != nil {
				err = newPanicError(v)
			}
		}()
		fn()
		err = nil
	}()
	return ended
}

func newPanicError(v any) error {
	e := &PanicError{What: fmt.Sprintf("%T", v), Stack: debug.Stack()}
	if re, ok := v.(runtime.Error); ok {
		e.What = re.Error()
	}
	return e
}
