//go:build unix

// Package soaktest puts processes with one user between one Store and one
// vendor. It counts the results while a test damages the Store or the vendor.
package soaktest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/providers/providertest"
)

const (
	workers  = 4
	callers  = 50
	lifetime = 3 * time.Second // of an access token, as the vendor signs it: whole seconds
	// fetchTimeout bounds a flight; an upstream call gets a third. When a holder
	// dies, the others wait for its lease and for its call, and need time for a
	// call of their own: 3 s and two thirds of this. The rest is for a machine
	// that is busy: the waits take up to 5 s more on one.
	fetchTimeout = 18 * time.Second
	// patience is how long a caller waits: longer than a flight takes.
	patience = 40 * time.Second
	// Recovery is how long callers may see errors after a fault has ended.
	Recovery = 15 * time.Second
	// Watched is how long a test looks at the callers after a fault has ended.
	Watched = Recovery + 3*time.Second
)

// Rig is workers with one user between one Redis and one vendor, a Redacto that
// ends a user's earlier pair when it issues one and spends a refresh token once.
type Rig struct {
	t      testing.TB
	vendor *providertest.Fake
	config workerConfig

	mu      sync.Mutex
	workers map[string]*worker
	started int
	death   string         // what the next refresh brings: its caller dies "before" or "after" it
	died    chan struct{}  // yields when it has
	stop    *stop          // of the process that refreshes next
	calls   map[string]int // of the vendor's API, by worker
}

// NewRig starts four processes over the Store at an address, "" for none.
func NewRig(t testing.TB, store string) *Rig {
	t.Helper()
	vendor, err := providertest.NewRedacto(providertest.RedactoConfig{Keys: map[string]string{tenant: apiKey}})
	if err != nil {
		t.Fatal(err)
	}
	vendor.SetLifetimes(lifetime, time.Hour)
	vendor.SetLatency(20 * time.Millisecond)
	r := &Rig{t: t, vendor: vendor, workers: map[string]*worker{}, calls: map[string]int{}, died: make(chan struct{}, 1)}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	r.config = workerConfig{Store: store, Vendor: srv.URL, Callers: callers, FetchTimeout: fetchTimeout}
	t.Cleanup(func() {
		for id, w := range r.workers {
			w.kill()
			if t.Failed() {
				t.Logf("worker %s wrote:\n%s", id, tail(w.log.String()))
			}
		}
	})
	for range workers {
		r.start()
	}
	return r
}

func tail(s string) string { return s[max(0, len(s)-4000):] }

func (r *Rig) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started++
	c := r.config
	c.ID = fmt.Sprint(r.started)
	r.workers[c.ID] = startWorker(r.t, c)
}

// ServeHTTP is the vendor. It also kills a worker that calls it.
func (r *Rig) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	id := req.Header.Get("X-Worker")
	token := strings.Contains(req.URL.Path, "/tokens/")
	refresh := strings.HasSuffix(req.URL.Path, "/tokens/refresh")
	r.mu.Lock()
	death, holder := "", r.workers[id]
	switch {
	case refresh:
		death, r.death = r.death, ""
	case !token && req.URL.Path != aboutToRefresh:
		r.calls[id]++
	}
	stopped := r.stop.takes(req)
	if stopped {
		r.stop.worker = id
	}
	r.mu.Unlock()
	switch {
	case stopped:
		r.stop.happen(r.vendor, holder, w, req)
		return
	case req.URL.Path == aboutToRefresh:
		return
	case death == "":
		r.vendor.ServeHTTP(w, req)
		return
	case death == "after":
		r.vendor.ServeHTTP(httptest.NewRecorder(), req)
	}
	r.mu.Lock()
	delete(r.workers, id)
	r.mu.Unlock()
	holder.kill()
	r.died <- struct{}{}
}

// Kill ends the next worker that refreshes, before or after the vendor has
// worked, and starts another.
func (r *Rig) Kill(when string) {
	r.t.Helper()
	r.mu.Lock()
	r.death = when
	r.mu.Unlock()
	select {
	case <-r.died:
	case <-time.After(time.Minute):
		r.t.Fatal("no refresh came")
	}
	r.start()
}

// Harmed waits until the vendor was asked by two processes at once, and has
// refused one.
func (r *Rig) Harmed() {
	r.t.Helper()
	Eventually(r.t, "harm", func() bool { s := r.vendor.Stats(); return s.Refused > 0 && s.Peak > 1 })
}

// Finish stops the workers and says what was seen.
func (r *Rig) Finish(begun time.Time) (Report, providertest.Stats) {
	r.t.Helper()
	var sum Report
	for id, w := range r.workers {
		got, err := w.stop()
		if err != nil {
			r.t.Errorf("worker %s: %v", id, err)
		}
		sum.add(got)
	}
	s := r.vendor.Stats()
	r.t.Logf("%d processes, %d callers, %.0f s: %d calls, waits p50 %v p99 %v p99.9 %v slowest %v; vendor: %d generates, %d refreshes, at once %d, refused %d; superseded on the way %d, dead %d; errors %v",
		len(r.workers), len(r.workers)*callers, time.Since(begun).Seconds(), sum.Calls, sum.Waits.Quantile(0.5), sum.Waits.Quantile(0.99), sum.Waits.Quantile(0.999), sum.Slowest.Round(time.Millisecond),
		s.Generates, s.Refreshes, s.Peak, s.Refused, sum.Raced, sum.Dead, sum.Errors)
	return sum, s
}

// Served checks what holds whatever happens to the workers and to Redis.
func (r *Rig) Served(begun time.Time, sum Report, s providertest.Stats) {
	r.t.Helper()
	if sum.Dead != 0 {
		r.t.Error(sum.Dead, "callers got a dead token, and no other after saying so")
	}
	if s.Peak != 1 {
		r.t.Error(s.Peak, "calls of the vendor at once")
	}
	// A token lives for two seconds at least, and for nine tenths of that in a cache.
	if most := int(time.Since(begun).Seconds()/1.8) + 2; s.Generates+s.Refreshes > most {
		r.t.Errorf("%d calls of the vendor in %v, want %d at most", s.Generates+s.Refreshes, time.Since(begun), most)
	}
	if least := int(time.Since(begun).Seconds()/20) + 1; s.Refreshes < least {
		r.t.Errorf("%d refreshes in %v, want %d at least", s.Refreshes, time.Since(begun), least)
	}
}

// Healthy checks that no caller saw an error and no grant was lost.
func (r *Rig) Healthy(sum Report, s providertest.Stats, lost int) {
	r.t.Helper()
	if len(sum.Errors) > 0 {
		r.t.Error("errors:", sum.Errors)
	}
	r.Kept(s, lost)
}

// Kept checks that all but lost grants were kept: the vendor was never shown a
// spent refresh token, and never asked for a new pair in place of a refresh.
func (r *Rig) Kept(s providertest.Stats, lost int) {
	r.t.Helper()
	r.Vendor(s, lost, 1+lost)
}

// Vendor checks how often the vendor refused and was asked for a new pair.
func (r *Rig) Vendor(s providertest.Stats, refused, generates int) {
	r.t.Helper()
	if s.Refused != refused || s.Generates != generates {
		r.t.Errorf("%d refusals and %d generates, want %d and %d", s.Refused, s.Generates, refused, generates)
	}
}

// Settled checks that errors came of the fault alone.
func (r *Rig) Settled(sum Report, broke, mended time.Time) {
	r.t.Helper()
	if !sum.FirstError.IsZero() && (sum.FirstError.Before(broke) || sum.LastError.After(mended.Add(Recovery))) {
		r.t.Errorf("errors from %v after the fault to %v after its end: %v", sum.FirstError.Sub(broke), sum.LastError.Sub(mended), sum.Errors)
	}
	for text := range sum.Errors {
		if !strings.Contains(text, "the token store is unavailable") && !strings.Contains(text, "another replica did not finish in time") {
			r.t.Error("not a clear error:", text)
		}
	}
}

// Recovered ends a run in which Redis was away for a time.
func (r *Rig) Recovered(begun, broke, mended time.Time) {
	r.t.Helper()
	sum, s := r.Finish(begun)
	r.Served(begun, sum, s)
	r.Settled(sum, broke, mended)
	r.Kept(s, 0)
}
