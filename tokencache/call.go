package tokencache

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// call makes one upstream call, within MaxFlights. A panic or Goexit in the
// provider is an error.
func (c *Cache) call(ctx context.Context, f *flight, a action) (tok providers.Token, sent time.Time, err error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return tok, c.wallNow(), fault(providers.CodeBusy, providers.Transient, "too many calls under way", context.Cause(ctx))
	}
	f.op = a.op
	c.stats.calls.Add(1)
	ctx, cancel := context.WithTimeout(ctx, c.attempt)
	defer cancel()
	sent = c.wallNow()
	exited := make(chan struct{})
	err = errExited
	go func() { // of its own, so that Goexit ends nothing else
		defer close(exited)
		defer func() {
			if v := recover(); v != nil {
				err = c.panicked(v)
			}
		}()
		if a.op == "refresh" {
			tok, err = c.refresher.Refresh(ctx, f.job.req, a.rt)
		} else {
			tok, err = c.p.Generate(ctx, f.job.req)
		}
	}()
	<-exited
	return tok, sent, classify(a, err)
}

// classify is err as the cache reads it: where a provider does not say, the
// outcome of a refresh is in doubt.
func classify(a action, err error) error {
	var pe *providers.Error
	if err == nil || errors.As(err, &pe) && pe.Err != errProvider {
		return err
	}
	e := *providers.AsError(err)
	if a.op == "refresh" {
		e.Class = providers.InDoubt
	}
	return &e
}

// errProvider marks errors of a provider that broke its contract.
var errProvider = errors.New("tokencache: provider panicked or called Goexit")

var (
	errExited  error = &providers.Error{Code: providers.CodeInternal, Class: providers.Transient, Op: "tokencache", Description: "the provider called runtime.Goexit", Err: errProvider}
	errClosed  error = &providers.Error{Code: providers.CodeInternal, Class: providers.Permanent, Op: "tokencache", Description: "the cache is closed"}
	errUnsaved error = &providers.Error{Code: providers.CodeBusy, Class: providers.Transient, Op: "tokencache", Description: "the token store is unavailable", RetryAfter: time.Second}
)

// panicked turns a panic into an error. Its value may hold a credential and
// is not repeated, unless the runtime made it.
func (c *Cache) panicked(v any) error {
	what := fmt.Sprintf("%T", v)
	if re, ok := v.(runtime.Error); ok {
		what = re.Error()
	}
	c.o.Logger.Error("tokencache: a call panicked", "panic", what, "stack", string(debug.Stack()))
	return &providers.Error{Code: providers.CodeInternal, Class: providers.Transient, Op: "tokencache", Description: "a call panicked", Err: errProvider}
}

func fault(code providers.Code, class providers.Class, text string, err error) *providers.Error {
	return &providers.Error{Code: code, Class: class, Op: "tokencache", Description: text, Err: err}
}
