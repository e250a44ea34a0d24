package sqlstore_test

import (
	"context"
	"database/sql"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/internal/soaktest"
	"github.com/bearerkit/bearerkit/tokencache/sqlstore"
	"github.com/stretchr/testify/require"
)

// proxy passes connections on to a server, until it is told of another.
type proxy struct {
	net.Listener
	mu     sync.Mutex
	target string // "": nobody is let in
	conns  map[net.Conn]bool
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{Listener: l, target: target, conns: map[net.Conn]bool{}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.pass(c)
		}
	}()
	t.Cleanup(func() { _ = l.Close(); p.lead("") })
	return p
}

func (p *proxy) pass(near net.Conn) {
	defer func() { _ = near.Close() }()
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	if target == "" {
		return
	}
	far, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = far.Close() }()
	p.mu.Lock()
	p.conns[near], p.conns[far] = true, true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, near)
		delete(p.conns, far)
	}()
	go func() { _, _ = io.Copy(far, near); _ = far.Close() }()
	_, _ = io.Copy(near, far)
}

// lead ends all connections and leads the next ones to target.
func (p *proxy) lead(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) port() string {
	_, port, _ := net.SplitHostPort(p.Addr().String())
	return port
}

// newStandby is a replica of primary whose replication goes through link.
func newStandby(t testing.TB, primary *server, link *proxy) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "sqlstore")
	require.NoError(t, err)
	s := &server{dialect: sqlstore.Postgres, dir: dir}
	t.Cleanup(s.remove)
	s.port, err = freePort()
	require.NoError(t, err)
	cmd, err := s.command("pg_basebackup", "-h", "127.0.0.1", "-p", link.port(), "-U", "kit", "-D", filepath.Join(dir, "data"), "-R", "-X", "stream", "-c", "fast", "--no-sync")
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
	link, door := newProxy(t, "127.0.0.1:"+primary.port), newProxy(t, "127.0.0.1:"+primary.port)
	primary.database(t)
	standby := newStandby(t, primary, link)
	p := place{sqlstore.Postgres, "pgx", "postgres://kit@" + door.Addr().String() + "/d1?sslmode=disable"}
	p.store(t, sqlstore.Options{})
	admin, err := sql.Open("pgx", standby.url("d1"))
	require.NoError(t, err)
	defer func() { _ = admin.Close() }()
	eventually(t, "the replica", func() bool {
		var n int
		return admin.QueryRow("SELECT count(*) FROM bearerkit").Scan(&n) == nil
	})
	before, err := p.store2(t).Epoch(t.Context(), "k")
	require.NoError(t, err)

	f := soaktest.NewFleet(t, 2, 40, func() tokencache.Store { return p.store2(t) })
	time.Sleep(3 * time.Second) // of renewals before the failover
	link.lead("")
	time.Sleep(time.Second)
	door.lead("")
	primary.kill()
	cmd, err := standby.command("pg_ctl", "promote", "-D", filepath.Join(standby.dir, "data"), "-w")
	require.NoError(t, err)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	door.lead("127.0.0.1:" + standby.port)
	time.Sleep(5 * time.Second) // of renewals after it
	sum := f.Finish(20 * time.Second)
	f.Whole(sum)
	after, err := p.store2(t).Epoch(context.WithoutCancel(t.Context()), "k")
	require.NoError(t, err)
	require.NotEqual(t, before, after)
}
