// Package attached lets a transport tell the proxy that calls it when the token
// that it attached to a request ends, and a context when the caller's own does.
package attached

import (
	"context"
	"sync/atomic"
	"time"
)

type key struct{}

// Caller is the key by which the context of an incoming request tells when the
// caller's verified token ends, as a time.Time.
type Caller struct{}

// Expiry is the expiry of the token that was attached last. It is safe for
// concurrent use.
type Expiry struct{ at atomic.Pointer[time.Time] }

// Time returns the expiry. It is zero if no transport told one or the token has
// none.
func (e *Expiry) Time() time.Time {
	if at := e.at.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// Watch returns a context for requests, and the Expiry that [Tell] fills in for
// them.
func Watch(ctx context.Context) (context.Context, *Expiry) {
	e := &Expiry{}
	return context.WithValue(ctx, key{}, e), e
}

// Tell reports that a token with this expiry is attached to the request of ctx.
// Without a [Watch] it does nothing.
func Tell(ctx context.Context, expiry time.Time) {
	if e, ok := ctx.Value(key{}).(*Expiry); ok {
		at := expiry // expiry itself stays on the stack
		e.at.Store(&at)
	}
}
