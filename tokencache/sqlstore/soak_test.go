package sqlstore_test

import (
	"database/sql"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/internal/soaktest"
	"github.com/bearerkit/bearerkit/tokencache/sqlstore"
	"github.com/stretchr/testify/require"
)

var soak = flag.Duration("soak", 10*time.Second, "how long the processes of the soaks work; at most 20s of it with faults")

// TestMain is also the main of the processes that the soak starts.
func TestMain(m *testing.M) {
	soaktest.Main(openPlace)
	code := m.Run()
	removeServers()
	os.Exit(code)
}

// address is a place in one string.
func (p place) address() string {
	return fmt.Sprintf("%d|%s|%s", p.dialect, p.driver, p.url)
}

func openPlace(address string) (tokencache.Store, func() error, error) {
	parts := strings.SplitN(address, "|", 3)
	n, err := strconv.Atoi(parts[0])
	if err != nil {
		return nil, nil, err
	}
	db, err := sql.Open(parts[1], parts[2])
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	var o sqlstore.Options
	if sqlstore.Dialect(n) == sqlstore.Postgres {
		o.Listen = listen(parts[2])
	}
	s, err := sqlstore.New(db, sqlstore.Dialect(n), o)
	if err != nil {
		return nil, nil, err
	}
	return s, func() error { _ = s.Close(); return db.Close() }, nil
}

// stage is a database with its table, to start a rig over.
func stage(t *testing.T, d sqlstore.Dialect) (place, *server) {
	t.Helper()
	var s *server
	var p place
	if d == sqlstore.SQLite {
		p = newPlace(t, d)
	} else {
		s = serve(t, d)
		p = place{d, s.driver(), s.database(t)}
	}
	p.store(t, sqlstore.Options{})
	return p, s
}

func TestSoak(t *testing.T) {
	for _, d := range dialects {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			p, _ := stage(t, d)
			r, begun := soaktest.NewRig(t, p.address()), time.Now()
			time.Sleep(*soak)
			sum, s := r.Finish(begun)
			r.Served(begun, sum, s)
			r.Healthy(sum, s, 0)
		})
	}
}

func TestSoakKilled(t *testing.T) {
	faulty := min(*soak, 20*time.Second)
	for _, d := range []sqlstore.Dialect{sqlstore.Postgres, sqlstore.SQLite} {
		for when, lost := range map[string]int{"before": 0, "after": 1} {
			t.Run(d.String()+", kill -9 of the holder "+when+" the vendor's work", func(t *testing.T) {
				t.Parallel()
				p, _ := stage(t, d)
				r, begun := soaktest.NewRig(t, p.address()), time.Now()
				time.Sleep(faulty / 4)
				r.Kill(when)
				time.Sleep(max(faulty*3/4, soaktest.Watched))
				sum, s := r.Finish(begun)
				r.Served(begun, sum, s)
				r.Healthy(sum, s, lost)
			})
		}
	}
}

// TestSoakFaults does harm to the database while four processes work.
func TestSoakFaults(t *testing.T) {
	faulty := min(*soak, 20*time.Second)
	type harm func(t *testing.T, p place, s *server, db *sql.DB)
	all := []sqlstore.Dialect{sqlstore.Postgres, sqlstore.MySQL, sqlstore.SQLite}
	for _, tt := range []struct {
		name     string
		dialects []sqlstore.Dialect
		harm     harm
	}{
		{"the server is killed and restarted", all[:2], func(t *testing.T, _ place, s *server, _ *sql.DB) {
			s.kill()
			time.Sleep(time.Second)
			require.NoError(t, s.start())
		}},
		{"the table is emptied", all, func(t *testing.T, _ place, _ *server, db *sql.DB) {
			soaktest.Eventually(t, "the table to be emptied", func() bool { // SQLite may be busy
				_, err := db.Exec("DELETE FROM bearerkit")
				return err == nil
			})
		}},
		{"connections are cut", all[:1], func(t *testing.T, _ place, _ *server, db *sql.DB) {
			for begun := time.Now(); time.Since(begun) < faulty/2; time.Sleep(150 * time.Millisecond) {
				_, err := db.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
				require.NoError(t, err)
			}
		}},
		{"the clock is set back by a minute", all[:1], func(t *testing.T, _ place, _ *server, db *sql.DB) {
			_, err := db.Exec("UPDATE bearerkit SET begun = begun + 60000, ends = ends + 60000 WHERE name LIKE '!%'")
			require.NoError(t, err)
		}},
	} {
		for _, d := range tt.dialects {
			t.Run(d.String()+", "+tt.name, func(t *testing.T) {
				t.Parallel()
				p, s := stage(t, d)
				db := p.db(t)
				r, begun := soaktest.NewRig(t, p.address()), time.Now()
				time.Sleep(faulty / 4)
				broke := time.Now()
				tt.harm(t, p, s, db)
				mended := time.Now()
				time.Sleep(max(faulty*3/4, soaktest.Watched))
				r.Recovered(begun, broke, mended)
			})
		}
	}
}
