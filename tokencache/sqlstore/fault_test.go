package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokencache/internal/soaktest"
	"github.com/bearerkit/bearerkit/tokencache/sqlstore"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestServerKilledAndRestarted: the Store comes back with what it had.
func TestServerKilledAndRestarted(t *testing.T) {
	for _, d := range []sqlstore.Dialect{sqlstore.Postgres, sqlstore.MySQL} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			server := serve(t, d)
			p := place{d, server.driver(), server.database(t)}
			s := p.store(t, sqlstore.Options{})
			rev, err := s.CAS(t.Context(), "k", 0, []byte("v"), time.Hour)
			require.NoError(t, err)
			fence, err := s.Lock(t.Context(), "k", "a", time.Hour)
			require.NoError(t, err)
			server.kill()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, _, err = s.Load(ctx, "k")
			cancel()
			require.Error(t, err)
			require.NoError(t, server.start())
			var at uint64
			soaktest.Eventually(t, "the Store to come back", func() bool {
				_, at, err = s.Load(t.Context(), "k")
				return err == nil
			})
			assert.Equal(t, rev, at)
			other, err := s.Lock(t.Context(), "k", "b", time.Minute)
			require.NoError(t, err)
			assert.Zero(t, other, "a lease outlives its server")
			next, err := s.Lock(t.Context(), "k", "a", time.Minute)
			require.NoError(t, err)
			assert.Greater(t, next, fence)
		})
	}
}

// TestConnectionsKilled: a call that meets a dead connection is an error at
// most, and the next one works. The database ends a connection a moment after
// it was told to, so that the next one may meet another dead connection.
func TestConnectionsKilled(t *testing.T) {
	for d, kill := range map[sqlstore.Dialect]string{
		sqlstore.Postgres: "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
		sqlstore.MySQL:    "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()",
	} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, d)
			s, admin := p.store(t, sqlstore.Options{}), p.db(t)
			rev := uint64(0)
			for i := range 5 {
				rows, err := admin.Query(kill)
				require.NoError(t, err)
				var ids []string
				for rows.Next() {
					var id string
					require.NoError(t, rows.Scan(&id))
					ids = append(ids, id)
				}
				require.NoError(t, rows.Close())
				for _, id := range ids {
					if d == sqlstore.MySQL {
						_, _ = admin.Exec("KILL " + id)
					}
				}
				next, err := s.CAS(t.Context(), "k", rev, []byte("v"), time.Minute)
				if err != nil { // unknown: read back, as a cache does
					soaktest.Eventually(t, "the last dead connection to be given up", func() bool {
						_, next, err = s.Load(t.Context(), "k")
						return err == nil
					})
				}
				require.NoError(t, err, "round %d", i)
				if next != 0 {
					rev = next
				}
			}
		})
	}
}

// A server that accepts and says nothing holds nobody beyond their context.
func TestFrozenServer(t *testing.T) {
	for _, d := range []sqlstore.Dialect{sqlstore.Postgres, sqlstore.MySQL} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			server := serve(t, d)
			p := place{d, server.driver(), server.database(t)}
			db := p.db(t)
			db.SetMaxOpenConns(1) // Postgres has a process for each connection: this one freezes
			s, err := sqlstore.New(db, d, sqlstore.Options{})
			require.NoError(t, err)
			t.Cleanup(func() { _ = s.Close() })
			require.NoError(t, s.Migrate(t.Context()))
			pid := server.cmd.Process.Pid
			if d == sqlstore.Postgres {
				require.NoError(t, db.QueryRow("SELECT pg_backend_pid()").Scan(&pid))
			}
			thaw := func() {
				soaktest.Thaw(pid)
				soaktest.Thaw(server.cmd.Process.Pid)
			}
			defer thaw()
			require.NoError(t, soaktest.Freeze(pid))
			require.NoError(t, soaktest.Freeze(server.cmd.Process.Pid))
			for range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
				begun := time.Now()
				_, err := s.CAS(ctx, "k", 0, nil, time.Minute)
				cancel()
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.Less(t, time.Since(begun), time.Minute)
			}
			thaw()
			soaktest.Eventually(t, "the Store to come back", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				_, _, err := s.Load(ctx, "k")
				return err == nil
			})
		})
	}
}

// TestReadOnlyServer: connections to a server that takes no writes any more
// are given up, so that the next ones lead to its successor.
func TestReadOnlyServer(t *testing.T) {
	t.Parallel()
	p := newPlace(t, sqlstore.Postgres)
	s, admin := p.store(t, sqlstore.Options{}), p.db(t)
	database := strings.Split(p.url[strings.LastIndex(p.url, "/")+1:], "?")[0]
	conn, err := admin.Conn(t.Context())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = conn.ExecContext(t.Context(), "ALTER DATABASE "+database+" SET default_transaction_read_only = on")
	require.NoError(t, err)
	reader := p.store2(t)
	_, err = reader.CAS(t.Context(), "k", 0, nil, time.Minute)
	require.ErrorContains(t, err, "takes no writes")
	_, err = conn.ExecContext(t.Context(), "ALTER DATABASE "+database+" RESET default_transaction_read_only")
	require.NoError(t, err)
	rev, err := reader.CAS(t.Context(), "k", 0, nil, time.Minute)
	require.NoError(t, err, "the old connection is still in use")
	require.NotZero(t, rev)
	_, at, err := s.Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, rev, at)
}

// store2 is another Store over a table that is there.
func (p place) store2(t testing.TB) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.New(p.db(t), p.dialect, sqlstore.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// answering is a driver whose every statement is answered by an error, until
// it has none left.
type answering struct{ errs []error }

func (a *answering) Connect(context.Context) (driver.Conn, error) { return a, nil }
func (a *answering) Driver() driver.Driver                        { return nil }
func (a *answering) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("not prepared") }
func (a *answering) Close() error                                 { return nil }
func (a *answering) Begin() (driver.Tx, error)                    { return nil, errors.New("no transactions") }
func (a *answering) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	if len(a.errs) == 0 {
		return driver.RowsAffected(1), nil
	}
	err := a.errs[0]
	a.errs = a.errs[1:]
	return nil, err
}

type state string

func (s state) Error() string    { return "canary of the driver" }
func (s state) SQLState() string { return string(s) }

type text string

func (s text) Error() string { return string(s) }

type number int

func (number) Error() string { return "canary of the driver" }
func (n number) Code() int   { return int(n) }

func TestWhatADatabaseAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		dialect sqlstore.Dialect
		errs    []error
		want    string // "": none
	}{
		"Postgres: serialization, then done":   {sqlstore.Postgres, []error{state("40001"), state("40001")}, ""},
		"Postgres: deadlock, then done":        {sqlstore.Postgres, []error{state("40P01")}, ""},
		"Postgres: disk full":                  {sqlstore.Postgres, []error{state("53100")}, "the database answered 53100: its disk is full"},
		"Postgres: a right":                    {sqlstore.Postgres, []error{state("42501")}, "has no right"},
		"Postgres: something else":             {sqlstore.Postgres, []error{state("22003")}, "the database answered 22003"},
		"MySQL: deadlock, then done":           {sqlstore.MySQL, []error{text("Error 1213 (40001): Deadlock found canary")}, ""},
		"MySQL: lock wait, then done":          {sqlstore.MySQL, []error{text("Error 1205 (HY000): canary")}, ""},
		"MySQL: changed since read, then done": {sqlstore.MySQL, []error{text("Error 1020 (HY000): canary")}, ""},
		"MySQL: table full":                    {sqlstore.MySQL, []error{text("Error 1114 (HY000): The table 'canary' is full")}, "its disk is full"},
		"MySQL: disk full":                     {sqlstore.MySQL, []error{text("Error 1030 (HY000): Got error 28 \"No space left on device\" canary")}, "its disk is full"},
		"MySQL: read only":                     {sqlstore.MySQL, []error{text("Error 1290 (HY000): canary --read-only")}, "takes no writes"},
		"SQLite: busy, locked, then done":      {sqlstore.SQLite, []error{number(5), number(517), number(6)}, ""},
		"SQLite: disk full":                    {sqlstore.SQLite, []error{number(13)}, "its disk is full"},
		"an unknown error":                     {sqlstore.Postgres, []error{errors.New("canary")}, "the driver failed with an error of type *errors.errorString"},
	} {
		t.Run(name, func(t *testing.T) {
			db := sql.OpenDB(&answering{errs: tt.errs})
			defer func() { _ = db.Close() }()
			s, err := sqlstore.New(db, tt.dialect, sqlstore.Options{})
			require.NoError(t, err)
			defer func() { _ = s.Close() }()
			rev, err := s.CAS(t.Context(), "k", 1, []byte("canary"), time.Minute)
			if tt.want == "" {
				require.NoError(t, err)
				assert.NotZero(t, rev)
				return
			}
			require.ErrorContains(t, err, tt.want)
			assert.NotContains(t, err.Error(), "canary")
			assert.Zero(t, rev)
		})
	}
}

// asked is answering for queries too. Without an error left it answers with no
// rows, and with true to the question whether the table exists.
type asked struct {
	answering
	queries []error
}

func (a *asked) Connect(context.Context) (driver.Conn, error) { return a, nil }

func (a *asked) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	if len(a.queries) > 0 {
		err := a.queries[0]
		a.queries = a.queries[1:]
		if err != nil {
			return nil, err
		}
	}
	return &answer{left: strings.Contains(query, "to_regclass")}, nil
}

type answer struct{ left bool }

func (*answer) Columns() []string { return []string{"made"} }
func (*answer) Close() error      { return nil }
func (a *answer) Next(dest []driver.Value) error {
	if !a.left {
		return io.EOF
	}
	a.left, dest[0] = false, true
	return nil
}

// Only an answer about the columns says that the table is another's.
func TestMigrateTellsAFaultOfTheServerFromAForeignTable(t *testing.T) {
	for name, tt := range map[string]struct {
		dialect sqlstore.Dialect
		queries []error
		want    string // "": none
	}{
		"Postgres: no connection left":         {sqlstore.Postgres, []error{state("53300")}, "the database answered 53300"},
		"Postgres: shut down":                  {sqlstore.Postgres, []error{nil, state("57P01")}, "the database answered 57P01"},
		"Postgres: serialization, then done":   {sqlstore.Postgres, []error{state("40001")}, ""},
		"Postgres: no such column":             {sqlstore.Postgres, []error{nil, state("42703")}, "not one of ours"},
		"Postgres: not a table":                {sqlstore.Postgres, []error{nil, state("42809")}, "not one of ours"},
		"MySQL: too many connections":          {sqlstore.MySQL, []error{text("Error 1040 (08004): canary")}, "the database answered 1040"},
		"MySQL: deadlock, then done":           {sqlstore.MySQL, []error{text("Error 1213 (40001): canary")}, ""},
		"MySQL: no such column":                {sqlstore.MySQL, []error{text("Error 1054 (42S22): canary")}, "not one of ours"},
		"SQLite: locked by another, then done": {sqlstore.SQLite, []error{number(5), number(261)}, ""},
		"SQLite: the disk fails":               {sqlstore.SQLite, []error{number(10)}, "the database answered 10"},
		"SQLite: no such column":               {sqlstore.SQLite, []error{number(1)}, "not one of ours"},
	} {
		t.Run(name, func(t *testing.T) {
			db := sql.OpenDB(&asked{queries: tt.queries})
			defer func() { _ = db.Close() }()
			s, err := sqlstore.New(db, tt.dialect, sqlstore.Options{})
			require.NoError(t, err)
			defer func() { _ = s.Close() }()
			err = s.Migrate(t.Context())
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
			if tt.want != "not one of ours" {
				assert.NotContains(t, err.Error(), "not one of ours")
			}
			assert.NotContains(t, err.Error(), "canary")
		})
	}
}

// A vacuum against wraparound holds this lock for hours. Migrate of a table that
// exists must not wait for it, because all writes would wait for Migrate.
func TestMigrateDoesNotWaitForAVacuum(t *testing.T) {
	t.Parallel()
	p := newPlace(t, sqlstore.Postgres)
	p.store(t, sqlstore.Options{})
	tx, err := p.db(t).BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	_, err = tx.ExecContext(t.Context(), "LOCK TABLE bearerkit IN SHARE UPDATE EXCLUSIVE MODE")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, p.store2(t).Migrate(ctx))
}

// A connection's deadline may end a moment before its context does.
func TestTheDeadlineOfAConnectionIsTheContexts(t *testing.T) {
	for _, op := range []string{"dial", "read"} {
		db := sql.OpenDB(&answering{errs: []error{fmt.Errorf("canary: %w", &net.OpError{Op: op, Err: os.ErrDeadlineExceeded})}})
		defer func() { _ = db.Close() }()
		s, err := sqlstore.New(db, sqlstore.Postgres, sqlstore.Options{})
		require.NoError(t, err)
		defer func() { _ = s.Close() }()
		_, err = s.CAS(t.Context(), "k", 1, nil, time.Minute)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.EqualError(t, err, "sqlstore: cas: context deadline exceeded")
	}
}

// A hook that fails or panics is called again, and polling goes on meanwhile.
func TestListenThatFails(t *testing.T) {
	t.Parallel()
	p := newPlace(t, sqlstore.Postgres)
	var calls atomic.Int64
	good := listen(p.url)
	a := p.store(t, sqlstore.Options{Listen: func(ctx context.Context, channel string, woken func(string)) error {
		switch calls.Add(1) {
		case 1:
			return errors.New("no connection")
		case 2:
			panic("in the hook")
		}
		return good(ctx, channel, woken)
	}})
	b := p.store(t, sqlstore.Options{Listen: good})
	ch, err := a.Watch(t.Context(), "k")
	require.NoError(t, err)
	rev := uint64(0)
	for range 30 { // over the failures and beyond
		rev, err = b.CAS(t.Context(), "k", rev, nil, time.Minute)
		require.NoError(t, err)
		select {
		case <-ch:
		case <-time.After(time.Minute):
			t.Fatal("no signal")
		}
	}
	soaktest.Eventually(t, "the hook to be called again", func() bool { return calls.Load() >= 3 })
}

// Signals of one process reach another, by polling and by listening.
func TestWatchAcrossProcesses(t *testing.T) {
	onAll(t, func(t *testing.T, p place) {
		a, b := p.store(t, sqlstore.Options{}), p.store2(t)
		ch, err := a.Watch(t.Context(), "k")
		require.NoError(t, err)
		await := func(what string) {
			select {
			case <-ch:
			case <-time.After(time.Minute):
				t.Fatal("no signal of", what)
			}
		}
		await("the first look")
		rev, err := b.CAS(t.Context(), "k", 0, nil, time.Minute)
		require.NoError(t, err)
		await("a CAS")
		_, err = b.CAS(t.Context(), "k", rev, nil, time.Minute)
		require.NoError(t, err)
		await("another CAS")
		_, err = b.Lock(t.Context(), "k", "b", time.Minute)
		require.NoError(t, err)
		ok, err := b.Unlock(t.Context(), "k", "b")
		require.NoError(t, err)
		require.True(t, ok)
		await("an Unlock")
	})
}

// The epoch is the same for two processes and changes when Postgres restarts.
func TestEpoch(t *testing.T) {
	onAll(t, func(t *testing.T, p place) {
		a, b := p.store(t, sqlstore.Options{}), p.store2(t)
		first, err := a.Epoch(t.Context(), "k")
		require.NoError(t, err)
		require.NotEmpty(t, first)
		_, err = a.CAS(t.Context(), "k", 0, nil, time.Minute)
		require.NoError(t, err)
		for _, s := range []*sqlstore.Store{a, b} {
			again, err := s.Epoch(t.Context(), "another")
			require.NoError(t, err)
			require.Equal(t, first, again)
		}
	})
}

// A MariaDB without room for more says so, and serves what it has.
func TestMariaDBFullDisk(t *testing.T) {
	t.Parallel()
	server := serve(t, sqlstore.MySQL, "--innodb-file-per-table=0", "--innodb-data-file-path=ibdata1:12M:autoextend:max:24M")
	p := place{sqlstore.MySQL, server.driver(), server.database(t)}
	s := p.store(t, sqlstore.Options{})
	rev, err := s.CAS(t.Context(), "kept", 0, []byte("v"), time.Minute)
	require.NoError(t, err)
	for i := 0; err == nil && i < 100; i++ {
		_, err = s.CAS(t.Context(), fmt.Sprint("k", i), 0, make([]byte, 1<<20), time.Minute)
	}
	require.ErrorContains(t, err, "its disk is full")
	val, at, err := s.Load(t.Context(), "kept")
	require.NoError(t, err)
	assert.Equal(t, rev, at)
	assert.Equal(t, "v", string(val))
}
