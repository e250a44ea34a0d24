package handlers

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// report logs the private half of err. A failure that concerns the operator is
// logged once a minute for each code, with what to do. All others are at Debug.
func (p *reporter) report(r *http.Request, status int, err error) {
	e := classify(r, err) // the set of codes is small
	level := slog.LevelDebug
	attrs := []slog.Attr{slog.Int("answer", status), slog.Any("error", providers.AsError(err))}
	if !gone(r) && status >= http.StatusInternalServerError && p.rare.Allow(string(e.Code), time.Now()) {
		level = slog.LevelWarn
		if status == http.StatusInternalServerError || status == http.StatusBadGateway {
			level = slog.LevelError
		}
		attrs = append(attrs, slog.String("then", "callers get this answer; further ones are logged at Debug for a minute"), slog.String("do", remedy(e)))
	}
	p.log.LogAttrs(r.Context(), level, "handlers: "+p.op, attrs...)
}

// remedy says what an operator does about err.
func remedy(err *providers.Error) string {
	switch err.Code {
	case providers.CodeCredentialsRejected:
		return "the vendor refuses our key: look for one that was rotated, revoked or mistyped"
	case codeTokenRejected:
		return "the vendor refuses a token that it has just issued: look at scopes, the account behind the key, and the clocks"
	case providers.CodeBusy:
		return "the vendor asks to come back later: look at its status page and at our rate"
	case providers.CodeUnreachable, providers.CodeTimeout:
		if errors.Is(err, context.DeadlineExceeded) || err.Code == providers.CodeTimeout {
			return "the vendor does not answer in time: look at its status page and at the network between"
		}
		return "the vendor cannot be reached: look at its address, DNS, the network between and its certificate"
	case providers.CodeBadResponse:
		return "the vendor's answer cannot be used: its API changed, or a proxy answers instead"
	case providers.CodeUpstreamError:
		return "the vendor fails: look at its status page"
	}
	return "a fault of this service or of its configuration: the error says which"
}
