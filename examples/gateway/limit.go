package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/internal/warnlog"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/go-chi/httprate"
	httprateredis "github.com/go-chi/httprate-redis"
	"github.com/redis/go-redis/v9"
)

// limiter limits the calls per address of all handlers that it wraps, together.
// With a client the calls at all gateways count, while Redis answers; log is told
// when it does not.
func (c *config) limiter(client *redis.Client, log *slog.Logger) func(http.Handler) http.Handler {
	if c.limit == (rate{}) {
		return func(h http.Handler) http.Handler { return h }
	}
	var counter httprate.LimitCounter = httprate.NewLocalLimitCounter(c.limit.window)
	if client != nil {
		var lines warnlog.Rare
		counter = httprateredis.NewCounter(&httprateredis.Config{
			Client: client, WindowLength: c.limit.window, PrefixKey: "bearerkit:rate",
			OnError: func(err error) { countsAlone(log, &lines, err) },
		})
	}
	return httprate.LimitBy(c.limit.requests, c.limit.window,
		func(r *http.Request) (string, error) { return c.address(r), nil },
		httprate.WithLimitCounter(counter),
		httprate.WithLimitHandler(func(w http.ResponseWriter, r *http.Request) {
			handlers.WriteError(w, r, &providers.Error{Code: "rate_limited"})
		}))
}

// countsAlone logs a failure of the limiter's Redis, once a minute: if a command
// is not allowed, there are five failures a second.
func countsAlone(log *slog.Logger, lines *warnlog.Rare, err error) {
	if !lines.Allow("", time.Now()) {
		return
	}
	var refused redis.Error
	if errors.As(err, &refused) {
		code, _, _ := strings.Cut(refused.Error(), " ")
		err = errors.New("the server answered " + code)
	}
	log.Warn("RATE_LIMIT counts the calls at this gateway alone while Redis does not count them", "err", err)
}

// address is the caller's: the peer's, or where peers are trusted proxies, the
// last one in X-Forwarded-For that is not. IPv6 counts by /64.
func (c *config) address(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	addr := peer.Addr().Unmap().WithZone("")
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && c.trusts(addr); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = next.Unmap().WithZone("")
	}
	if addr.Is6() {
		p, _ := addr.Prefix(64)
		return p.String()
	}
	return addr.String()
}

func (c *config) trusts(addr netip.Addr) bool {
	for _, p := range c.proxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// subjectOr takes the verified caller as the subject, and lets everybody name
// anybody where there is none: the vendors' own samples do.
func subjectOr(subject func(context.Context) (string, bool)) handlers.Authorize {
	verified := handlers.SubjectFrom(subject)
	return func(r *http.Request, req *providers.Request) error {
		if _, ok := subject(r.Context()); ok {
			return verified(r, req)
		}
		return handlers.DangerouslyAllowAnyCaller(r, req)
	}
}

// caller takes the verified caller as the subject. Proxies ask it again while a
// stream is under way: a token that has run out meanwhile ends it.
func (g *gateway) caller(r *http.Request, req *providers.Request) error {
	if _, err := g.auth.Check(r); err != nil {
		return err
	}
	return handlers.SubjectFrom(middleware.Subject)(r, req)
}
