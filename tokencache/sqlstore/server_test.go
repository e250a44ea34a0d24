package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/internal/freeport"
	"github.com/bearerkit/bearerkit/tokencache/internal/soaktest"
	"github.com/bearerkit/bearerkit/tokencache/sqlstore"
	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"
)

// server is a database server that the tests started, from Debian's packages.
type server struct {
	dialect sqlstore.Dialect
	dir     string
	port    string
	args    []string
	cmd     *exec.Cmd
	ended   <-chan struct{} // closed when cmd has
	out     *soaktest.Output
	made    atomic.Int64 // databases
}

// program is the path of a server's program.
func program(name string) (string, error) {
	all, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	for _, dir := range []string{"/usr/sbin/", "/usr/bin/"} {
		if _, err := os.Stat(dir + name); err == nil {
			all = append(all, dir+name)
		}
	}
	if len(all) == 0 {
		return "", fmt.Errorf("these tests need %s: apt-get install postgresql mariadb-server", name)
	}
	return all[len(all)-1], nil
}

// command is a program of a server, run as a user who is not root: both
// servers refuse that.
func (s *server) command(name string, args ...string) (*exec.Cmd, error) {
	path, err := program(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		return cmd, nil
	}
	u, err := user.Lookup(map[sqlstore.Dialect]string{sqlstore.Postgres: "postgres", sqlstore.MySQL: "mysql"}[s.dialect])
	if err != nil {
		return nil, err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return cmd, os.Chown(s.dir, uid, gid)
}

// install makes the files of a server with no databases in it.
func install(d sqlstore.Dialect, args ...string) (*server, error) {
	s := &server{dialect: d, args: args}
	var err error
	if s.dir, err = os.MkdirTemp("", "sqlstore"); err != nil {
		return nil, err
	}
	if s.port, err = freeport.Find(); err != nil {
		return nil, err
	}
	var cmd *exec.Cmd
	data := filepath.Join(s.dir, "data")
	if d == sqlstore.Postgres {
		cmd, err = s.command("initdb", "-D", data, "-A", "trust", "-U", "kit", "--no-sync", "--locale=C", "-E", "UTF8")
	} else {
		cmd, err = s.command("mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--datadir="+data)
	}
	if err != nil {
		return s, err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return s, fmt.Errorf("%w: %s", err, out)
	}
	return s, nil
}

// start runs the server and waits until it answers. A server may end as soon as
// it has begun, as when the kernel still has something of one that was killed.
// Then it is started again.
func (s *server) start() error {
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if err := s.run(); err != nil {
			return err
		}
		db, err := sql.Open(s.driver(), s.url(""))
		if err != nil {
			return err
		}
		for err = s.ping(db); err != nil && s.alive() && time.Now().Before(end); err = s.ping(db) {
			time.Sleep(20 * time.Millisecond)
		}
		_ = db.Close()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%v does not start: %w\n%s", s.dialect, err, s.out)
		}
		s.kill()
	}
}

func (s *server) ping(db *sql.DB) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return db.PingContext(ctx)
}

// alive reports whether the server's process has not ended.
func (s *server) alive() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// run starts the server's process.
func (s *server) run() error {
	s.out = &soaktest.Output{}
	data := filepath.Join(s.dir, "data")
	var err error
	if s.dialect == sqlstore.Postgres {
		s.cmd, err = s.command("postgres", append([]string{"-D", data, "-p", s.port, "-c", "listen_addresses=127.0.0.1",
			"-c", "unix_socket_directories=" + s.dir, "-c", "fsync=off", "-c", "max_connections=200"}, s.args...)...)
	} else {
		s.cmd, err = s.command("mariadbd", append([]string{"--no-defaults", "--datadir=" + data, "--port=" + s.port, "--bind-address=127.0.0.1",
			"--socket=" + filepath.Join(s.dir, "socket"), "--pid-file=" + filepath.Join(s.dir, "pid"), "--innodb-flush-log-at-trx-commit=2",
			"--innodb-buffer-pool-size=64M", "--max-connections=300"}, s.args...)...)
	}
	if err != nil {
		return err
	}
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	s.cmd.WaitDelay = time.Second // its children have its output too
	if err := s.cmd.Start(); err != nil {
		return err
	}
	cmd, ended := s.cmd, make(chan struct{})
	s.ended = ended
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	return nil
}

// kill ends the server as kill -9 does, with all its processes, and returns when
// they are gone. The children of a Postgres that was killed would go by
// themselves, a little later, and let no other server start in their folder
// until then. It stands still when it is killed, so that it has no new ones.
func (s *server) kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	var children []int
	if s.dialect == sqlstore.Postgres && s.alive() {
		_ = soaktest.Freeze(s.cmd.Process.Pid)
		children = childrenOf(s.cmd.Process.Pid)
	}
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = s.cmd.Process.Kill()
	<-s.ended
	for end := time.Now().Add(time.Minute); slices.ContainsFunc(children, running) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	s.cmd = nil
}

// status is the state of a process, such as Z for one that has ended, and its
// parent; they are "" where there is no such process.
func status(pid int) (state, parent string) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	if f := strings.Fields(rest); err == nil && len(f) > 1 {
		return f[0], f[1]
	}
	return "", ""
}

func running(pid int) bool {
	state, _ := status(pid)
	return state != "" && state != "Z"
}

func childrenOf(parent int) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, name := range all {
		pid, _ := strconv.Atoi(filepath.Base(name))
		if _, of := status(pid); of == strconv.Itoa(parent) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (s *server) remove() {
	s.kill()
	_ = os.RemoveAll(s.dir)
}

func (s *server) driver() string {
	if s.dialect == sqlstore.Postgres {
		return "pgx"
	}
	return "mysql"
}

// url leads to a database, with "" to the one that is always there.
func (s *server) url(database string) string {
	if s.dialect == sqlstore.Postgres {
		if database == "" {
			database = "postgres"
		}
		return "postgres://kit@127.0.0.1:" + s.port + "/" + database + "?sslmode=disable"
	}
	return "root@tcp(127.0.0.1:" + s.port + ")/" + database + "?interpolateParams=true"
}

// database makes a database and returns its URL.
func (s *server) database(t testing.TB) string {
	t.Helper()
	db, err := sql.Open(s.driver(), s.url(""))
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	name := fmt.Sprint("d", s.made.Add(1))
	_, err = db.Exec("CREATE DATABASE " + name)
	require.NoError(t, err)
	return s.url(name)
}

// shared are the servers of the tests that do a server no harm.
type shared struct {
	once sync.Once
	s    *server
	err  error
}

var servers = map[sqlstore.Dialect]*shared{sqlstore.Postgres: {}, sqlstore.MySQL: {}}

func (h *shared) get(t testing.TB, d sqlstore.Dialect) *server {
	t.Helper()
	h.once.Do(func() {
		if h.s, h.err = install(d); h.err == nil {
			h.err = h.s.start()
		}
	})
	require.NoError(t, h.err)
	return h.s
}

func removeServers() {
	for _, h := range servers {
		if h.s != nil {
			h.s.remove()
		}
	}
}

// serve is a server of the test's own.
func serve(t testing.TB, d sqlstore.Dialect, args ...string) *server {
	t.Helper()
	s, err := install(d, args...)
	if s != nil {
		t.Cleanup(s.remove)
	}
	require.NoError(t, err)
	require.NoError(t, s.start())
	return s
}

// place is a database: a driver and its URL.
type place struct {
	dialect     sqlstore.Dialect
	driver, url string
}

// newPlace is a new database on a shared server, or in a file.
func newPlace(t testing.TB, d sqlstore.Dialect) place {
	t.Helper()
	if d == sqlstore.SQLite {
		return place{d, "sqlite", "file:" + filepath.Join(t.TempDir(), "kit.db")}
	}
	s := servers[d].get(t, d)
	return place{d, s.driver(), s.database(t)}
}

func (p place) db(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open(p.driver, p.url)
	require.NoError(t, err)
	db.SetMaxIdleConns(16)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// store is a Store with its table.
func (p place) store(t testing.TB, o sqlstore.Options) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.New(p.db(t), p.dialect, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

var dialects = []sqlstore.Dialect{sqlstore.Postgres, sqlstore.MySQL, sqlstore.SQLite}

// onAll runs a test with a new database of every dialect.
func onAll(t *testing.T, run func(t *testing.T, p place)) {
	for _, d := range dialects {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			run(t, newPlace(t, d))
		})
	}
}
