// Package observe makes Prometheus metrics of the kit: Collector of what Stats
// counts, Events of what an Observer is told. Copy what you need.
package observe

import (
	"context"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// Collector collects the Stats of an Authenticator and of caches by name.
type Collector struct {
	Auth   *middleware.Authenticator // may be nil
	Caches map[string]*tokencache.Cache
}

// number is one number of Stats: how it is called, and where it comes from.
type number[S any] struct {
	name, help string
	kind       prometheus.ValueType
	labels     string // "" or one label of that value
	value      func(S) float64
}

func (n number[S]) desc(label string) *prometheus.Desc {
	var labels []string
	if label != "" {
		labels = append(labels, label)
	}
	if n.labels != "" {
		labels = append(labels, "result")
	}
	return prometheus.NewDesc("bearerkit_"+n.name, n.help, labels, nil)
}

func (n number[S]) metric(label string, s S, values ...string) prometheus.Metric {
	if n.labels != "" {
		values = append(values, n.labels)
	}
	return prometheus.MustNewConstMetric(n.desc(label), n.kind, n.value(s), values...)
}

func authNumbers() []number[middleware.Stats] {
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	const tokens, renewals = "Tokens and requests decided on.", "Renewals of expired tokens."
	const fetches, verdicts = "Fetches of key sets.", "Questions to verifiers of opaque tokens."
	return []number[middleware.Stats]{
		{"auth_tokens_total", tokens, counter, "remembered", func(s middleware.Stats) float64 { return float64(s.Remembered) }},
		{"auth_tokens_total", tokens, counter, "verified", func(s middleware.Stats) float64 { return float64(s.Verified) }},
		{"auth_tokens_total", tokens, counter, "refused", func(s middleware.Stats) float64 { return float64(s.Refused) }},
		{"auth_tokens_total", tokens, counter, "unavailable", func(s middleware.Stats) float64 { return float64(s.Unavailable) }},
		{"auth_renewals_total", renewals, counter, "ok", func(s middleware.Stats) float64 { return float64(s.Renewed) }},
		{"auth_renewals_total", renewals, counter, "failed", func(s middleware.Stats) float64 { return float64(s.RenewalsFailed) }},
		{"auth_key_fetches_total", fetches, counter, "ok", func(s middleware.Stats) float64 { return float64(s.KeyFetches - s.KeyFetchesFailed) }},
		{"auth_key_fetches_total", fetches, counter, "failed", func(s middleware.Stats) float64 { return float64(s.KeyFetchesFailed) }},
		{"auth_verdicts_total", verdicts, counter, "ok", func(s middleware.Stats) float64 { return float64(s.Verdicts - s.VerdictsFailed) }},
		{"auth_verdicts_total", verdicts, counter, "failed", func(s middleware.Stats) float64 { return float64(s.VerdictsFailed) }},
		{"auth_entries", "Verified tokens in memory.", gauge, "", func(s middleware.Stats) float64 { return float64(s.Entries) }},
		{"auth_key_sets_missing", "Issuers without a key set that may be used.", gauge, "", func(s middleware.Stats) float64 { return float64(s.KeySetsMissing) }},
		{"auth_key_sets_stale", "Key sets whose last refresh failed.", gauge, "", func(s middleware.Stats) float64 { return float64(s.KeySetsStale) }},
		{"auth_key_set_age_seconds", "Age of the oldest key set.", gauge, "", func(s middleware.Stats) float64 { return s.OldestKeySet.Seconds() }},
	}
}

func cacheNumbers() []number[tokencache.Stats] {
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	return []number[tokencache.Stats]{
		{"cache_hits_total", "Tokens served from memory.", counter, "", func(s tokencache.Stats) float64 { return float64(s.Hits) }},
		{"cache_flights_total", "Work begun on records.", counter, "", func(s tokencache.Stats) float64 { return float64(s.Flights) }},
		{"cache_calls_total", "Upstream calls.", counter, "", func(s tokencache.Stats) float64 { return float64(s.Calls) }},
		{"cache_coalesced_total", "Callers that joined work under way.", counter, "", func(s tokencache.Stats) float64 { return float64(s.Coalesced) }},
		{"cache_fail_fast_total", "Callers answered from the window after a failure.", counter, "", func(s tokencache.Stats) float64 { return float64(s.FailFast) }},
		{"cache_failed_total", "Work that ended in an error.", counter, "", func(s tokencache.Stats) float64 { return float64(s.Failed) }},
		{"cache_adopted_total", "Tokens taken over from another replica.", counter, "", func(s tokencache.Stats) float64 { return float64(s.Adopted) }},
		{"cache_store_errors_total", "Failed calls of the Store.", counter, "", func(s tokencache.Stats) float64 { return float64(s.StoreErrors) }},
		{"cache_evicted_total", "Records that left a full memory.", counter, "", func(s tokencache.Stats) float64 { return float64(s.Evicted) }},
		{"cache_entries", "Records in memory.", gauge, "", func(s tokencache.Stats) float64 { return float64(s.Entries) }},
		{"cache_in_flight", "Records that are worked on.", gauge, "", func(s tokencache.Stats) float64 { return float64(s.InFlight) }},
		{"cache_overdue", "Records whose provider has not returned in time.", gauge, "", func(s tokencache.Stats) float64 { return float64(s.Overdue) }},
		{"cache_in_doubt", "Grants of whose last call the outcome is unknown.", gauge, "", func(s tokencache.Stats) float64 { return float64(s.InDoubt) }},
		{"cache_unsaved", "Grants whose token the Store does not have yet.", gauge, "", func(s tokencache.Stats) float64 { return float64(s.Unsaved) }},
	}
}

// Describe implements prometheus.Collector.
func (c Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, n := range authNumbers() {
		ch <- n.desc("")
	}
	for _, n := range cacheNumbers() {
		ch <- n.desc("cache")
	}
}

// Collect implements prometheus.Collector.
func (c Collector) Collect(ch chan<- prometheus.Metric) {
	if c.Auth != nil {
		s := c.Auth.Stats()
		for _, n := range authNumbers() {
			ch <- n.metric("", s)
		}
	}
	for name, cache := range c.Caches {
		s := cache.Stats()
		for _, n := range cacheNumbers() {
			ch <- n.metric("cache", s, name)
		}
	}
}

// Events counts and times events. Its labels are the bounded ones of
// providers.Event; part is a name of ours, such as the vendor's.
type Events struct {
	count   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// NewEvents registers its metrics with r.
func NewEvents(r prometheus.Registerer) (*Events, error) {
	e := &Events{
		count: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bearerkit_events_total", Help: "Events of the kit.",
		}, []string{"source", "part", "kind", "op", "outcome", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "bearerkit_event_seconds", Help: "How long what an event tells of took.", Buckets: prometheus.DefBuckets,
		}, []string{"source", "part", "kind", "op"}),
	}
	if err := r.Register(e.count); err != nil {
		return nil, err
	}
	return e, r.Register(e.seconds)
}

// Observer is an Observer of the part of that name.
func (e *Events) Observer(part string) func(context.Context, providers.Event) {
	return func(_ context.Context, event providers.Event) {
		code := ""
		if event.Source != "tokencache" && event.N >= 100 && event.N <= 599 {
			code = strconv.Itoa(event.N) // an HTTP status
		}
		e.count.WithLabelValues(event.Source, part, event.Kind, event.Op, event.Outcome, code).Inc()
		if event.Duration > 0 {
			e.seconds.WithLabelValues(event.Source, part, event.Kind, event.Op).Observe(event.Duration.Seconds())
		}
	}
}
