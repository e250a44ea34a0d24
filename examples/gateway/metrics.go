package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/bearerkit/bearerkit/examples/observe"
	"github.com/bearerkit/bearerkit/providers"
)

// telemetry is what METRICS_ADDR serves. A nil telemetry observes nothing.
type telemetry struct {
	registry *prometheus.Registry
	events   *observe.Events
}

func newTelemetry(c *config) (*telemetry, error) {
	if c.metrics == "" {
		return nil, nil
	}
	t := &telemetry{registry: prometheus.NewRegistry()}
	var err error
	t.events, err = observe.NewEvents(t.registry)
	return t, errors.Join(err, t.registry.Register(collectors.NewGoCollector()))
}

// observer is the Observer of a part of the gateway, nil without METRICS_ADDR.
func (t *telemetry) observer(part string) func(context.Context, providers.Event) {
	if t == nil {
		return nil
	}
	return t.events.Observer(part)
}

// watch adds what Stats counts, once everything is mounted.
func (g *gateway) watch() error {
	if g.telemetry == nil {
		return nil
	}
	return g.telemetry.registry.Register(observe.Collector{Auth: g.auth, Caches: g.named})
}

// ServeHTTP serves the metrics.
func (t *telemetry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

// serveMetrics serves /metrics on a separate listener until it is closed, so
// that the gateway's callers cannot reach it.
func (g *gateway) serveMetrics(addr string) error {
	if g.telemetry == nil {
		return nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", g.telemetry)
	srv := &http.Server{Handler: ownHosts(g.hosts, mux), ReadHeaderTimeout: 10 * time.Second}
	g.closers = append(g.closers, srv.Close)
	go func() { _ = srv.Serve(l) }()
	g.log.Info("metrics", "url", "http://"+l.Addr().String()+"/metrics")
	return nil
}
