package sqlstore_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/sqlstore"
	"github.com/stretchr/testify/require"
)

var loadFsync = flag.String("loadfsync", "on", "whether the server waits for its disk at every commit")

var load = flag.Int("load", 0, "measure renewals per second of one Postgres with this many grants in it")

// loadLife is over when a grant's turn comes again.
const loadLife = 500 * time.Millisecond

// renewing rotates at once.
type renewing struct{ n atomic.Int64 }

func (r *renewing) Mode() providers.Mode { return providers.Rotating }

func (r *renewing) Generate(context.Context, providers.Request) (providers.Token, error) {
	return providers.Token{}, &providers.Error{Code: providers.CodeNotSignedIn, Class: providers.Permanent}
}

func (r *renewing) Refresh(context.Context, providers.Request, string) (providers.Token, error) {
	return r.pair(), nil
}

// pair has tokens of 800 and 200 bytes.
func (r *renewing) pair() providers.Token {
	n := r.n.Add(1)
	return providers.Token{
		AccessToken: fmt.Sprintf("%0800d", n), RefreshToken: fmt.Sprintf("%0200d", n),
		IssuedAt: time.Now(), Expiry: time.Now().Add(loadLife), RefreshExpiry: time.Now().Add(30 * 24 * time.Hour),
	}
}

// TestLoad fills a Postgres with rows like those of -load grants and renews
// 2,000 among them as fast as 128 callers of two replicas can.
func TestLoad(t *testing.T) {
	if *load == 0 {
		t.Skip("a measurement: -load=10000")
	}
	server := serve(t, sqlstore.Postgres, "-c", "fsync="+*loadFsync, "-c", "shared_buffers=512MB", "-c", "max_wal_size=4GB")
	p := place{sqlstore.Postgres, "pgx", server.database(t)}
	db := p.db(t)
	pool := p.db(t)
	pool.SetMaxOpenConns(64)
	pool.SetMaxIdleConns(64)
	s, err := sqlstore.New(pool, p.dialect, sqlstore.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	require.NoError(t, s.Migrate(t.Context()))
	for kind, size := range map[string]int{"t2/": 1250, "rt2/": 150} {
		_, err := db.Exec(`INSERT INTO bearerkit (name, rev, val, ends, swept)
			SELECT $1 || substr(translate(encode(sha256(convert_to(i::text || $1, 'UTF8')), 'base64'), '+/=', '-_'), 1, 43),
				(random()*9e18)::bigint, decode(repeat(md5(i::text), $3::int), 'hex'),
				(extract(epoch FROM now())*1000)::bigint + 2592000000, ((extract(epoch FROM now())*1000)::bigint + 2592000000) / 3600000 + 1
			FROM generate_series(1, $2::int) i`, kind, *load, size/16)
		require.NoError(t, err)
	}
	_, err = db.Exec("VACUUM ANALYZE bearerkit")
	require.NoError(t, err)

	const grants, callers = 2000, 128
	vendor := &renewing{}
	var caches []*tokencache.Cache
	for range 2 {
		c, err := tokencache.New(vendor, tokencache.Options{
			Store: s, Namespace: "load", NameKey: []byte(strings.Repeat("n", 32)), SealKeys: [][]byte{[]byte(strings.Repeat("v", 32))},
			StoreTimeout: 5 * time.Second, ForcedFloor: 1, MaxFlights: 256, Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close(context.Background()) })
		caches = append(caches, c)
	}
	subject := func(i int) providers.Request { return providers.Request{Subject: fmt.Sprint("user-", i)} }
	spread := func(work func(worker, i int)) {
		var wg sync.WaitGroup
		for w := range callers {
			wg.Go(func() {
				for i := w; i < grants; i += callers {
					work(w, i)
				}
			})
		}
		wg.Wait()
	}
	spread(func(w, i int) {
		if err := caches[w%2].Adopt(t.Context(), subject(i), vendor.pair()); err != nil {
			t.Error(err)
		}
	})
	for i, c := range caches { // the first renewal of a replica asks the others what they know
		tok, err := c.Generate(t.Context(), subject(i))
		require.NoError(t, err)
		_, err = c.Renew(t.Context(), subject(i), tok)
		require.NoError(t, err)
	}
	before, used, renewed := commits(t, server), cpu(server), vendor.n.Load()
	begun := time.Now()
	for time.Since(begun) < 20*time.Second {
		spread(func(w, i int) {
			c := caches[w%2]
			if _, err := c.Generate(t.Context(), subject(i)); err != nil {
				t.Error(err)
			}
		})
	}
	took := time.Since(begun)
	n := vendor.n.Load() - renewed
	var rows, table, index int64
	require.NoError(t, db.QueryRow("SELECT count(*), pg_table_size('bearerkit'), pg_indexes_size('bearerkit') FROM bearerkit").Scan(&rows, &table, &index))
	t.Logf("%d grants, fsync %s: %.0f renewals/s, %.1f statements each, Postgres used %.2f cores; %d rows, table %d MB, indexes %d MB",
		*load, *loadFsync, float64(n)/took.Seconds(), float64(commits(t, server)-before)/float64(n), (cpu(server)-used).Seconds()/took.Seconds(),
		rows, table>>20, index>>20)
}

func commits(t *testing.T, s *server) (n int64) {
	t.Helper()
	db := place{s.dialect, s.driver(), s.url("d1")}.db(t)
	time.Sleep(1100 * time.Millisecond) // its statistics are a second old
	require.NoError(t, db.QueryRow("SELECT xact_commit FROM pg_stat_database WHERE datname = 'd1'").Scan(&n))
	return n
}

// cpu is what the server's processes have used.
func cpu(s *server) (sum time.Duration) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		f := strings.Fields(rest)
		if pid := filepath.Base(filepath.Dir(name)); len(f) > 14 && (f[1] == strconv.Itoa(s.cmd.Process.Pid) || pid == strconv.Itoa(s.cmd.Process.Pid)) {
			user, _ := strconv.Atoi(f[11])
			system, _ := strconv.Atoi(f[12])
			sum += time.Duration(user+system) * 10 * time.Millisecond
			if pid == strconv.Itoa(s.cmd.Process.Pid) { // and those that have ended
				user, _ = strconv.Atoi(f[13])
				system, _ = strconv.Atoi(f[14])
				sum += time.Duration(user+system) * 10 * time.Millisecond
			}
		}
	}
	return sum
}
