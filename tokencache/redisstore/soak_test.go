package redisstore_test

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/providers/providertest"
)

var soak = flag.Duration("soak", 10*time.Second, "how long the processes of the soaks work; at most 20s of it with faults")

const (
	workers  = 4
	callers  = 50
	lifetime = 3 * time.Second // of an access token, as the vendor signs it: whole seconds
	// fetchTimeout bounds a flight; an upstream call gets a third.
	fetchTimeout = 6 * time.Second
	// recovery is how long callers may see errors after a fault has ended.
	recovery = 8 * time.Second
)

// rig is workers with one user between one Redis and one vendor, a Redacto that
// ends a user's earlier pair when it issues one and spends a refresh token once.
type rig struct {
	t      *testing.T
	vendor *providertest.Fake
	config workerConfig

	mu      sync.Mutex
	workers map[string]*worker
	started int
	death   string        // what the next call of the vendor brings: its caller dies "before" or "after" it
	died    chan struct{} // yields when it has
}

func newRig(t *testing.T, store string) *rig {
	t.Helper()
	vendor, err := providertest.NewRedacto(providertest.RedactoConfig{Keys: map[string]string{tenant: apiKey}})
	if err != nil {
		t.Fatal(err)
	}
	vendor.SetLifetimes(lifetime, time.Hour)
	vendor.SetLatency(20 * time.Millisecond)
	r := &rig{t: t, vendor: vendor, workers: map[string]*worker{}, died: make(chan struct{}, 1)}
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

func (r *rig) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started++
	c := r.config
	c.ID = fmt.Sprint(r.started)
	r.workers[c.ID] = startWorker(r.t, c)
}

// ServeHTTP is the vendor, and the death of who calls it.
func (r *rig) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	death := ""
	if strings.Contains(req.URL.Path, "/tokens/") {
		death, r.death = r.death, ""
	}
	r.mu.Unlock()
	if death == "" {
		r.vendor.ServeHTTP(w, req)
		return
	}
	if death == "after" {
		r.vendor.ServeHTTP(httptest.NewRecorder(), req)
	}
	r.mu.Lock()
	id := req.Header.Get("X-Worker")
	holder := r.workers[id]
	delete(r.workers, id)
	r.mu.Unlock()
	holder.kill()
	r.died <- struct{}{}
}

// kill ends the next worker that calls the vendor, before or after the vendor
// has worked, and starts another.
func (r *rig) kill(when string) {
	r.t.Helper()
	r.mu.Lock()
	r.death = when
	r.mu.Unlock()
	select {
	case <-r.died:
	case <-time.After(20 * time.Second):
		r.t.Fatal("nobody called the vendor")
	}
	r.start()
}

// finish stops the workers and says what was seen.
func (r *rig) finish(begun time.Time) (report, providertest.Stats) {
	r.t.Helper()
	var sum report
	for id, w := range r.workers {
		got, err := w.stop()
		if err != nil {
			r.t.Errorf("worker %s: %v", id, err)
		}
		sum.add(got)
	}
	s := r.vendor.Stats()
	r.t.Logf("%d processes, %d callers, %.0f s: %d calls, slowest %v; vendor: %d generates, %d refreshes, at once %d, refused %d; superseded on the way %d, dead %d; errors %v",
		len(r.workers), len(r.workers)*callers, time.Since(begun).Seconds(), sum.Calls, sum.Slowest.Round(time.Millisecond),
		s.Generates, s.Refreshes, s.Peak, s.Refused, sum.Raced, sum.Dead, sum.Errors)
	return sum, s
}

// served checks what holds whatever happens to the workers and to Redis.
func (r *rig) served(begun time.Time, sum report, s providertest.Stats) {
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
	if least := int(time.Since(begun).Seconds()/10) + 1; s.Refreshes < least {
		r.t.Errorf("%d refreshes in %v, want %d at least", s.Refreshes, time.Since(begun), least)
	}
}

// healthy checks that nobody saw an error and no grant was lost.
func (r *rig) healthy(sum report, s providertest.Stats, lost int) {
	r.t.Helper()
	if len(sum.Errors) > 0 {
		r.t.Error("errors:", sum.Errors)
	}
	r.kept(s, lost)
}

// kept checks that all but lost grants were kept: the vendor was never shown a
// spent refresh token, and never asked for a new pair in place of a refresh.
func (r *rig) kept(s providertest.Stats, lost int) {
	r.t.Helper()
	if s.Refused != lost || s.Generates != 1+lost {
		r.t.Errorf("%d refusals and %d generates, want %d and %d", s.Refused, s.Generates, lost, 1+lost)
	}
}

// settled checks that errors came of the fault alone.
func (r *rig) settled(sum report, broke, mended time.Time) {
	r.t.Helper()
	if !sum.FirstError.IsZero() && (sum.FirstError.Before(broke) || sum.LastError.After(mended.Add(recovery))) {
		r.t.Errorf("errors from %v after the fault to %v after its end: %v", sum.FirstError.Sub(broke), sum.LastError.Sub(mended), sum.Errors)
	}
	for text := range sum.Errors {
		if !strings.Contains(text, "the token store is unavailable") && !strings.Contains(text, "another replica did not finish in time") {
			r.t.Error("not a clear error:", text)
		}
	}
}

// recovered ends a run in which Redis was away for a time.
func (r *rig) recovered(begun, broke, mended time.Time) {
	r.t.Helper()
	sum, s := r.finish(begun)
	r.served(begun, sum, s)
	r.settled(sum, broke, mended)
	r.kept(s, 0)
}

func TestSoak(t *testing.T) {
	t.Run("without a Store", func(t *testing.T) { // what the rest would look like if it did not work
		t.Parallel()
		r, begun := newRig(t, ""), time.Now()
		time.Sleep(5 * time.Second)
		sum, s := r.finish(begun)
		if sum.Raced == 0 || s.Refused == 0 || s.Peak < 2 {
			t.Error("four caches that do not know of each other did no harm: this test sees nothing")
		}
	})
	t.Run("undisturbed", func(t *testing.T) {
		t.Parallel()
		r, begun := newRig(t, serve(t).url()), time.Now()
		time.Sleep(*soak)
		sum, s := r.finish(begun)
		r.served(begun, sum, s)
		r.healthy(sum, s, 0)
	})
}

func TestSoakKilled(t *testing.T) {
	faulty := min(*soak, 20*time.Second)
	t.Run("kill -9 of the holder before its call arrives", func(t *testing.T) {
		t.Parallel()
		r, begun := newRig(t, serve(t).url()), time.Now()
		time.Sleep(faulty / 4)
		r.kill("before")
		time.Sleep(max(faulty*3/4, recovery))
		sum, s := r.finish(begun)
		r.served(begun, sum, s)
		r.healthy(sum, s, 0)
	})
	// Its pair dies with it. The others show the spent token once, in doubt, and
	// generate.
	t.Run("kill -9 of the holder before the answer arrives", func(t *testing.T) {
		t.Parallel()
		r, begun := newRig(t, serve(t).url()), time.Now()
		time.Sleep(faulty / 4)
		r.kill("after")
		time.Sleep(max(faulty*3/4, recovery))
		sum, s := r.finish(begun)
		r.served(begun, sum, s)
		r.healthy(sum, s, 1)
	})
}

func TestSoakRedis(t *testing.T) {
	faulty := min(*soak, 20*time.Second)
	t.Run("Redis restarted empty", func(t *testing.T) {
		t.Parallel()
		server := serve(t)
		r, begun := newRig(t, server.url()), time.Now()
		time.Sleep(faulty / 4)
		broke := time.Now()
		server.kill()
		time.Sleep(time.Second)
		server.start()
		mended := time.Now()
		time.Sleep(max(faulty*3/4, recovery))
		r.recovered(begun, broke, mended)
	})
	t.Run("connections cut", func(t *testing.T) {
		t.Parallel()
		server := serve(t)
		p := newProxy(t, "127.0.0.1:"+server.port)
		r, begun := newRig(t, p.url()), time.Now()
		time.Sleep(faulty / 4)
		broke := time.Now()
		for time.Since(broke) < faulty/2 {
			p.cut()
			time.Sleep(150 * time.Millisecond)
		}
		mended := time.Now()
		time.Sleep(recovery)
		r.recovered(begun, broke, mended)
	})
	t.Run("failover", func(t *testing.T) {
		t.Parallel()
		first := serve(t)
		second := serve(t, "--replicaof", "127.0.0.1 "+first.port)
		admin := second.admin()
		eventually(t, "the replica", func() bool {
			return strings.Contains(admin.Info(t.Context(), "replication").Val(), "master_link_status:up")
		})
		p := newProxy(t, "127.0.0.1:"+first.port)
		r, begun := newRig(t, p.url()), time.Now()
		time.Sleep(faulty / 4)
		broke := time.Now()
		first.kill()
		time.Sleep(500 * time.Millisecond)
		second.do("REPLICAOF", "NO", "ONE")
		p.target.Store("127.0.0.1:" + second.port)
		p.cut()
		mended := time.Now()
		time.Sleep(max(faulty*3/4, recovery))
		r.recovered(begun, broke, mended)
	})
}
