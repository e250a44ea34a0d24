package tokencache

import (
	"context"
	"log/slog"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// warn logs what happened and what follows from it. do says what an operator
// does. One line of each kind, a msg or a code, is logged in a minute. Further
// ones are logged at Debug, so that an outage takes no line for each grant.
func (c *Cache) warn(msg, do string, args ...any) { c.log(slog.LevelWarn, msg, do, args...) }

// logError is warn at Error.
func (c *Cache) logError(msg, do string, args ...any) { c.log(slog.LevelError, msg, do, args...) }

func (c *Cache) log(level slog.Level, msg, do string, args ...any) {
	kind := msg
	for _, arg := range args {
		if pe, ok := arg.(*providers.Error); ok {
			kind += string(pe.Code)
		}
	}
	level = c.lines.Level(level, kind, time.Now())
	c.o.Logger.Log(context.Background(), level, msg, append(args, "then", "further ones are logged at Debug for a minute", "do", do)...)
}

// remedy says what an operator does about a call that failed with err.
func remedy(err *providers.Error) string {
	switch err.Code {
	case providers.CodeCredentialsRejected:
		return "the upstream refuses our key: look for one that was rotated, revoked or mistyped"
	case providers.CodeGrantRequired, providers.CodeNotSignedIn, providers.CodeRefreshRejected:
		return "nothing, unless there are many: the user has to sign in again"
	case providers.CodeBusy:
		if err.Op == op {
			return "look at the store, and at Options.MaxEntries"
		}
		return "the upstream asks to come back later: look at its status page and at our rate"
	case providers.CodeTimeout, providers.CodeUnreachable:
		if err.Op == op {
			return "look at the upstream's status page and at the network between, and at Options.MaxFlights"
		}
		return "look at the upstream's status page and at the network between"
	case providers.CodeUpstreamError, providers.CodeBadResponse:
		return "look at the upstream's status page, and whether its API changed"
	}
	return "the error says what was wrong with the call or with this service"
}
