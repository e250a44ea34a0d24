package redisstore_test

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/internal/soaktest"
	"github.com/bearerkit/bearerkit/tokencache/redisstore"
)

var soak = flag.Duration("soak", 10*time.Second, "how long the processes of the soaks work; at most 20s of it with faults")

// TestMain is also the main of the processes that the soak starts.
func TestMain(m *testing.M) {
	soaktest.Main(func(address string) (tokencache.Store, func() error, error) {
		s, err := redisstore.Open(address, redisstore.Options{})
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	})
	os.Exit(m.Run())
}

func TestSoak(t *testing.T) {
	t.Run("without a Store", func(t *testing.T) { // what the rest would look like if it did not work
		t.Parallel()
		r, begun := soaktest.NewRig(t, ""), time.Now()
		r.Harmed()
		time.Sleep(3 * time.Second) // for callers to see what came of it
		sum, s := r.Finish(begun)
		if sum.Raced == 0 || s.Refused == 0 || s.Peak < 2 {
			t.Error("four caches that do not know of each other did no harm: this test sees nothing")
		}
	})
	t.Run("undisturbed", func(t *testing.T) {
		t.Parallel()
		r, begun := soaktest.NewRig(t, serve(t).url()), time.Now()
		time.Sleep(*soak)
		sum, s := r.Finish(begun)
		r.Served(begun, sum, s)
		r.Healthy(sum, s, 0)
	})
}

func TestSoakKilled(t *testing.T) {
	faulty := min(*soak, 20*time.Second)
	t.Run("kill -9 of the holder before its call arrives", func(t *testing.T) {
		t.Parallel()
		r, begun := soaktest.NewRig(t, serve(t).url()), time.Now()
		time.Sleep(faulty / 4)
		r.Kill("before")
		time.Sleep(max(faulty*3/4, soaktest.Watched))
		sum, s := r.Finish(begun)
		r.Served(begun, sum, s)
		r.Healthy(sum, s, 0)
	})
	// Its pair dies with it. The others show the spent token once, in doubt, and
	// generate.
	t.Run("kill -9 of the holder before the answer arrives", func(t *testing.T) {
		t.Parallel()
		r, begun := soaktest.NewRig(t, serve(t).url()), time.Now()
		time.Sleep(faulty / 4)
		r.Kill("after")
		time.Sleep(max(faulty*3/4, soaktest.Watched))
		sum, s := r.Finish(begun)
		r.Served(begun, sum, s)
		r.Healthy(sum, s, 1)
	})
}

func TestSoakRedis(t *testing.T) {
	faulty := min(*soak, 20*time.Second)
	t.Run("Redis restarted empty", func(t *testing.T) {
		t.Parallel()
		server := serve(t)
		r, begun := soaktest.NewRig(t, server.url()), time.Now()
		time.Sleep(faulty / 4)
		broke := time.Now()
		server.kill()
		time.Sleep(time.Second)
		server.start()
		mended := time.Now()
		time.Sleep(max(faulty*3/4, soaktest.Watched))
		r.Recovered(begun, broke, mended)
	})
	t.Run("connections cut", func(t *testing.T) {
		t.Parallel()
		server := serve(t)
		p := soaktest.NewProxy(t, "127.0.0.1:"+server.port)
		r, begun := soaktest.NewRig(t, via(p)), time.Now()
		time.Sleep(faulty / 4)
		broke := time.Now()
		for time.Since(broke) < faulty/2 {
			p.Cut()
			time.Sleep(150 * time.Millisecond)
		}
		mended := time.Now()
		time.Sleep(soaktest.Watched)
		r.Recovered(begun, broke, mended)
	})
	t.Run("failover", func(t *testing.T) {
		t.Parallel()
		first := serve(t)
		second := serve(t, "--replicaof", "127.0.0.1 "+first.port)
		admin := second.admin()
		soaktest.Eventually(t, "the replica", func() bool {
			return strings.Contains(admin.Info(t.Context(), "replication").Val(), "master_link_status:up")
		})
		p := soaktest.NewProxy(t, "127.0.0.1:"+first.port)
		r, begun := soaktest.NewRig(t, via(p)), time.Now()
		time.Sleep(faulty / 4)
		broke := time.Now()
		first.kill()
		time.Sleep(500 * time.Millisecond)
		second.do("REPLICAOF", "NO", "ONE")
		p.Lead("127.0.0.1:" + second.port)
		mended := time.Now()
		time.Sleep(max(faulty*3/4, soaktest.Watched))
		r.Recovered(begun, broke, mended)
	})
}
