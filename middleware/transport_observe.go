package middleware

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// These are the kinds and the Ops of the Transport's events. The package
// comment explains them.
const (
	kindSent          = "sent"
	kindRefused       = "refused"
	kindRenewed       = "renewed"
	kindRenewalFailed = "renewal_failed"
	kindReplayed      = "replayed"
	kindNotReplayable = "not_replayable"
	kindNoToken       = "no_token"

	sendFirst  = "first"
	sendReplay = "replay"
	sendBare   = "bare"
)

func (t *Transport) observe(req *http.Request, e providers.Event) {
	if t.Observer == nil {
		return
	}
	e.Source = "transport"
	t.Observer(req.Context(), e)
}

// clock returns the time. It reads no clock if no event needs it.
func (t *Transport) clock() time.Time {
	if t.Observer == nil {
		return time.Time{}
	}
	return time.Now()
}

func (t *Transport) observeSend(req *http.Request, op string, began time.Time, res *http.Response, err error) {
	if t.Observer == nil {
		return
	}
	e := providers.Event{Kind: kindSent, Op: op, Outcome: outcome(err), Duration: time.Since(began)}
	if op == sendReplay {
		e.Kind = kindReplayed
	}
	if res != nil {
		e.N = res.StatusCode
	}
	t.observe(req, e)
}

func (t *Transport) observeRenewal(req *http.Request, began time.Time, err error) {
	if t.Observer == nil {
		return
	}
	e := providers.Event{Kind: kindRenewed, Outcome: outcome(err), Duration: time.Since(began)}
	if err != nil {
		e.Kind = kindRenewalFailed
	}
	t.observe(req, e)
}

// outcome returns err as one of a few fixed words: "ok", the class of a
// *providers.Error, "canceled", "timeout", "same_token" or "error".
func outcome(err error) string {
	var e *providers.Error
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, errSameToken):
		return "same_token"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.As(err, &e) && e.Class <= providers.GrantDead:
		return e.Class.String()
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return "error"
}
