package sqlstore_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/internal/freeport"
	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/internal/soaktest"
	"github.com/bearerkit/bearerkit/tokencache/sqlstore"
	"github.com/stretchr/testify/require"
)

// newStandby is a replica of primary whose replication goes through link.
func newStandby(t testing.TB, primary *server, link *soaktest.Proxy) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "sqlstore")
	require.NoError(t, err)
	s := &server{dialect: sqlstore.Postgres, dir: dir}
	t.Cleanup(s.remove)
	s.port, err = freeport.Find()
	require.NoError(t, err)
	cmd, err := s.command("pg_basebackup", "-h", "127.0.0.1", "-p", link.Port(), "-U", "kit", "-D", filepath.Join(dir, "data"), "-R", "-X", "stream", "-c", "fast", "--no-sync")
	require.NoError(t, err)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, s.start())
	return s
}

// A replica is promoted that lacks the last second of writes. The replicas of
// the kit that are alive have the records, and write them back.
func TestPostgresFailover(t *testing.T) {
	t.Parallel()
	primary := serve(t, sqlstore.Postgres, "-c", "wal_level=replica", "-c", "max_wal_senders=5", "-c", "hot_standby=on")
	link, door := soaktest.NewProxy(t, "127.0.0.1:"+primary.port), soaktest.NewProxy(t, "127.0.0.1:"+primary.port)
	primary.database(t)
	standby := newStandby(t, primary, link)
	p := place{sqlstore.Postgres, "pgx", "postgres://kit@" + door.Addr().String() + "/d1?sslmode=disable"}
	p.store(t, sqlstore.Options{})
	admin, err := sql.Open("pgx", standby.url("d1"))
	require.NoError(t, err)
	defer func() { _ = admin.Close() }()
	soaktest.Eventually(t, "the replica", func() bool {
		var n int
		return admin.QueryRow("SELECT count(*) FROM bearerkit").Scan(&n) == nil
	})
	before, err := p.store2(t).Epoch(t.Context(), "k")
	require.NoError(t, err)

	f := soaktest.NewFleet(t, 2, 40, func() tokencache.Store { return p.store2(t) })
	time.Sleep(3 * time.Second) // of renewals before the failover
	link.Lead("")
	issued := f.Issued()
	time.Sleep(time.Second)
	soaktest.Eventually(t, "renewals that the replica does not have", func() bool { return f.Issued()-issued >= 10 })
	door.Lead("")
	primary.kill()
	cmd, err := standby.command("pg_ctl", "promote", "-D", filepath.Join(standby.dir, "data"), "-w", "-t", "600")
	require.NoError(t, err)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	door.Lead("127.0.0.1:" + standby.port)
	time.Sleep(5 * time.Second) // of renewals after it
	sum := f.Finish(time.Minute)
	f.Whole(sum)
	after, err := p.store2(t).Epoch(context.WithoutCancel(t.Context()), "k")
	require.NoError(t, err)
	require.NotEqual(t, before, after)
}
