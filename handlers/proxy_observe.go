package handlers

import (
	"context"
	"net/http"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// observe calls the Observer with how long the call has taken so far.
func (p *proxy) observe(ctx context.Context, e providers.Event) {
	if p.Observer == nil {
		return
	}
	if began, ok := ctx.Value(beganKey{}).(time.Time); ok {
		e.Duration = time.Since(began)
	}
	e.Source = "proxy"
	p.Observer(ctx, e)
}

// forwarded reports an answer that goes back to the caller.
func (p *proxy) forwarded(res *http.Response) {
	ctx := context.Background()
	if res.Request != nil { // a RoundTripper may leave it out
		ctx = res.Request.Context()
	}
	p.observe(ctx, providers.Event{Kind: "forwarded", Outcome: "ok", N: res.StatusCode})
}

// timed notes when a call began, if there is an Observer.
func (p *proxy) timed(r *http.Request) *http.Request {
	if p.Observer == nil {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), beganKey{}, time.Now()))
}

type beganKey struct{}

// fail answers and logs err as all handlers do, and calls the Observer.
func (p *proxy) fail(w http.ResponseWriter, r *http.Request, err error) {
	if p.Observer != nil {
		e := classify(r, err)
		event := providers.Event{Kind: "failed", Outcome: string(e.Code), N: statusOf(e.Code)}
		switch {
		case gone(r) && e.Code != codeTimedOut:
			event.Outcome, event.N = "canceled", 0
		case e.Code == codeTokenRejected:
			event.Kind = "token_rejected"
		case event.N < http.StatusInternalServerError:
			event.Kind = "refused"
		}
		p.observe(r.Context(), event)
	}
	p.reporter.fail(w, r, err)
}
