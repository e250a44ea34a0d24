// Gateway is bearerkit's main program: it brokers the tokens of Redacto, Redox,
// ContactsManager and Kudo. Without configuration it runs against fakes of all
// four in this process; README.md beside this file lists the variables that put
// the real ones in their place.
//
//	go -C examples run ./gateway
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const (
	drainTime = 10 * time.Second // for the requests under way
	closeTime = 10 * time.Second // after it, for the vendors' calls under way
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := run(ctx, os.Getenv, log)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gateway: "+strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}

// run serves until ctx ends, then drains.
func run(ctx context.Context, getenv func(string) string, log *slog.Logger) error {
	c, err := readConfig(getenv, log)
	if err != nil {
		return err
	}
	return serve(ctx, c, log)
}

func serve(ctx context.Context, c config, log *slog.Logger) error {
	g, err := newGateway(ctx, c, log)
	if err != nil {
		return err
	}
	if err := g.serveMetrics(c.metrics); err != nil {
		return errors.Join(fmt.Errorf("METRICS_ADDR: %w", err), g.close())
	}
	listener, err := net.Listen("tcp", c.addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w; choose another address, like ADDR=127.0.0.1:0 for any free port", err)
	}
	if err != nil {
		return errors.Join(err, g.close())
	}
	srv := &http.Server{
		Handler:           g,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	srv.RegisterOnShutdown(g.stop)
	scheme, serveOn := "http", srv.Serve
	if c.tls != nil {
		scheme, srv.TLSConfig = "https", c.tls.config()
		serveOn = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
	}
	served := make(chan error, 1)
	go func() { served <- serveOn(listener) }()
	g.announce(scheme, listener.Addr(), log)

	select {
	case err := <-served:
		return errors.Join(err, g.close())
	case <-ctx.Done():
	}
	g.draining.Store(true)
	log.Info("draining", "grace", c.grace, "for", c.drain)
	select { // balancers see /readyz and send no more
	case err := <-served:
		return errors.Join(err, g.close())
	case <-time.After(c.grace):
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.drain)
	defer cancel()
	if err = srv.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
		log.Warn("requests that have not ended are cut off", "after", c.drain)
		err = nil
	}
	log.Info("closing", "for", closeTime)
	return errors.Join(err, g.close(), srv.Close())
}

// announce says what is served, where, and how to try it.
func (g *gateway) announce(scheme string, addr net.Addr, log *slog.Logger) {
	at := scheme + "://" + addr.String()
	var b strings.Builder
	fmt.Fprintf(&b, "bearerkit gateway on %s\n\n", at)
	for _, route := range g.served {
		fmt.Fprintf(&b, "  %s\n", route)
	}
	if g.demo != nil && g.demo.issuer != nil {
		fmt.Fprintf(&b, `
Try it:
  curl -s %[1]s/api/consent/token -H 'Content-Type: application/json' -d '{"org_user_id":"ada"}'
  TOKEN=$(curl -s %[1]s/demo/token -d '{"sub":"ada"}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  curl -s %[1]s/protected -H "Authorization: Bearer $TOKEN"
  curl -s %[1]s/fhir/R4/Patient -H "Authorization: Bearer $TOKEN"
  curl -s %[1]s/obo/orders -H "Authorization: Bearer $TOKEN"
`, at)
	}
	fmt.Fprintln(os.Stdout, b.String())
	if g.open && !onLoopback(addr.String()) {
		log.Warn("any caller may obtain tokens of a real vendor on this address", "addr", addr.String())
	}
	log.Info("listening", "url", at)
}
