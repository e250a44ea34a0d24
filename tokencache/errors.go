package tokencache

import (
	"context"
	"errors"
	"time"

	"github.com/bearerkit/bearerkit/internal/flight"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

// op is the Op of the errors that the cache itself makes.
const op = "tokencache"

// errProvider marks errors of a provider that broke its contract.
var errProvider = errors.New("tokencache: the provider panicked or called runtime.Goexit")

var (
	errExited   error = &providers.Error{Code: providers.CodeInternal, Class: providers.Transient, Op: op, Description: "the work ended without a result", Err: errProvider}
	errClosed   error = fault(providers.CodeInternal, providers.Permanent, "the cache is closed", nil)
	errUnsaved  error = &providers.Error{Code: providers.CodeBusy, Class: providers.Transient, Op: op, Description: "the token store is unavailable", RetryAfter: time.Second}
	errOverdue  error = fault(providers.CodeTimeout, providers.Transient, "no answer from the provider in time", context.DeadlineExceeded)
	errRejected error = &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead, Op: op}
	// errSignedOut is the error of a Generate or Renew that a Purge overtook.
	errSignedOut error = &providers.Error{Code: providers.CodeNotSignedIn, Class: providers.Permanent, Op: op, Description: "Signed out meanwhile."}
	errPurged    error = &providers.Error{Code: providers.CodeRefreshRejected, Class: providers.GrantDead, Op: op, Description: "signed out meanwhile"}
)

// errAnotherGrant is the likely cause if an adopted grant is not found.
var errAnotherGrant = errors.New("tokencache: no token is kept for this request; a request that differs from the adopted one in any field, such as Scopes, is another grant (see providers.Keyer)")

func fault(code providers.Code, class providers.Class, text string, err error) *providers.Error {
	return &providers.Error{Code: code, Class: class, Op: op, Description: text, Err: err}
}

// badResponse is the error of an answer that cannot be used. It is then unknown
// whether a presented refresh token is spent.
func badResponse(action record.Action, text string) error {
	class := providers.Transient
	if action.Step == record.CallRefresh {
		class = providers.InDoubt
	}
	return fault(providers.CodeBadResponse, class, text, nil)
}

// asProviderError turns an error of package flight into a [*providers.Error]
// and leaves other errors unchanged.
func asProviderError(err error) error {
	if err == nil {
		return nil
	}
	var p *flight.PanicError
	switch {
	case errors.As(err, &p):
		return &providers.Error{Code: providers.CodeInternal, Class: providers.Transient, Op: op, Description: "a call panicked", Err: errProvider}
	case errors.Is(err, flight.ErrExited), errors.Is(err, flight.ErrNoAnswer):
		return errExited
	}
	return err
}

// reportPanic logs a panic of a hook or the provider. The value of a panic may
// hold a credential, so it is logged only if it comes from the runtime.
func (c *Cache) reportPanic(err error) {
	var p *flight.PanicError
	if errors.As(err, &p) {
		c.logError("tokencache: a call panicked; its callers get an error", "mend the code that the stack names", "panic", p.What, "stack", string(p.Stack))
		return
	}
	c.logError("tokencache: a call ended its goroutine; its callers get an error", "a provider, Store or Observer must not call runtime.Goexit", "error", err)
}

// storeError returns the error of a Store that cannot be reached, as callers
// see it.
func storeError(err error) error {
	var pe *providers.Error
	if errors.As(err, &pe) {
		return err
	}
	return &providers.Error{Code: providers.CodeBusy, Class: providers.Transient, Op: op, Description: "the token store is unavailable", RetryAfter: time.Second, Err: err}
}
