package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/internal/soaktest"
	"github.com/bearerkit/bearerkit/tokencache/sqlstore"
	"github.com/bearerkit/bearerkit/tokencache/tokencachetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNewSaysEveryFault(t *testing.T) {
	_, err := sqlstore.New(nil, 9, sqlstore.Options{Prefix: "x; DROP TABLE y", Listen: listen("")})
	require.Error(t, err)
	for _, want := range []string{"db: nil", "dialect: must be Postgres, MySQL or SQLite, and is Dialect(9)", "Options.Prefix", "Options.Listen: only for Postgres"} {
		assert.ErrorContains(t, err, want)
	}
	for _, prefix := range []string{"A", "1a", "a-", "a.", "a b", `a"`, "a`", "é", strings.Repeat("a", 33)} {
		_, err := sqlstore.Schema(sqlstore.SQLite, prefix)
		assert.Error(t, err, prefix)
	}
}

func TestSchemaIsWhatMigrateApplies(t *testing.T) {
	onAll(t, func(t *testing.T, p place) {
		ddl, err := sqlstore.Schema(p.dialect, "byhand_")
		require.NoError(t, err)
		db := p.db(t)
		for _, text := range strings.Split(ddl, ";") {
			if strings.TrimSpace(text) != "" {
				_, err = db.Exec(text)
				require.NoError(t, err, text)
			}
		}
		s, err := sqlstore.New(db, p.dialect, sqlstore.Options{Prefix: "byhand_"})
		require.NoError(t, err)
		t.Cleanup(func() { _ = s.Close() })
		rev, err := s.CAS(t.Context(), "k", 0, nil, time.Minute)
		require.NoError(t, err)
		assert.NotZero(t, rev)
		require.NoError(t, s.Migrate(t.Context()))
	})
}

func TestMigrateFromManyAtOnce(t *testing.T) {
	onAll(t, func(t *testing.T, p place) {
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			s, err := sqlstore.New(p.db(t), p.dialect, sqlstore.Options{})
			require.NoError(t, err)
			t.Cleanup(func() { _ = s.Close() })
			wg.Go(func() { errs[i] = s.Migrate(t.Context()) })
		}
		wg.Wait()
		for _, err := range errs {
			assert.NoError(t, err)
		}
	})
}

func TestMigrateRefusesAForeignTable(t *testing.T) {
	onAll(t, func(t *testing.T, p place) {
		db := p.db(t)
		_, err := db.Exec("CREATE TABLE bearerkit (swept integer, secret integer)")
		require.NoError(t, err)
		s, err := sqlstore.New(db, p.dialect, sqlstore.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { _ = s.Close() })
		assert.ErrorContains(t, s.Migrate(t.Context()), "not one of ours")
	})
}

func TestAMissingTableIsSaid(t *testing.T) {
	onAll(t, func(t *testing.T, p place) {
		s, err := sqlstore.New(p.db(t), p.dialect, sqlstore.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { _ = s.Close() })
		_, _, err = s.Load(t.Context(), "k")
		assert.ErrorContains(t, err, "the database answered")
		if p.dialect != sqlstore.SQLite { // which has no code for it
			assert.ErrorContains(t, err, "Migrate makes it")
		}
	})
}

func TestPrefixesAreApart(t *testing.T) {
	onAll(t, func(t *testing.T, p place) {
		a, b := p.store(t, sqlstore.Options{Prefix: "a_"}), p.store(t, sqlstore.Options{Prefix: "b_"})
		rev, err := a.CAS(t.Context(), "k", 0, []byte("a"), time.Minute)
		require.NoError(t, err)
		require.NotZero(t, rev)
		_, rev, err = b.Load(t.Context(), "k")
		require.NoError(t, err)
		assert.Zero(t, rev)
	})
}

func TestAStorePrintsNothing(t *testing.T) {
	db, err := sql.Open("pgx", "postgres://kit:canary@127.0.0.1:1/x")
	require.NoError(t, err)
	s, err := sqlstore.New(db, sqlstore.Postgres, sqlstore.Options{})
	require.NoError(t, err)
	defer func() { _ = s.Close() }()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		assert.Equal(t, "sqlstore.Store", fmt.Sprintf(verb, s))
	}
	_, _, err = s.Load(t.Context(), "k")
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "canary")
}

func TestArgumentsAreChecked(t *testing.T) {
	s := newPlace(t, sqlstore.SQLite).store(t, sqlstore.Options{})
	ctx := t.Context()
	for _, key := range []string{"", strings.Repeat("k", 65), "é", "\x00", "a\n"} {
		_, err := s.CAS(ctx, key, 0, nil, time.Minute)
		assert.ErrorContains(t, err, "key: must be")
		_, _, err = s.Load(ctx, key)
		assert.ErrorContains(t, err, "key: must be")
		_, err = s.Lock(ctx, key, "a", time.Minute)
		assert.ErrorContains(t, err, "key: must be")
		_, err = s.Watch(ctx, key)
		assert.ErrorContains(t, err, "key: must be")
	}
	for _, owner := range []string{"", "é", strings.Repeat("o", 65)} {
		_, err := s.Lock(ctx, "k", owner, time.Minute)
		assert.ErrorContains(t, err, "owner: must be")
	}
	for _, ttl := range []time.Duration{0, -1} {
		_, err := s.CAS(ctx, "k", 0, nil, ttl)
		assert.ErrorContains(t, err, "ttl: must be positive")
		_, err = s.Extend(ctx, "k", "a", ttl)
		assert.ErrorContains(t, err, "ttl: must be positive")
	}
	rev, err := s.CAS(ctx, "k", 1<<63, nil, time.Minute)
	assert.NoError(t, err)
	assert.Zero(t, rev)
}

func TestACloseEndsWatchesAndCalls(t *testing.T) {
	s := newPlace(t, sqlstore.SQLite).store(t, sqlstore.Options{})
	ch, err := s.Watch(t.Context(), "k")
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	for range ch { // a signal may have been waiting
	}
	_, err = s.Watch(t.Context(), "k")
	assert.ErrorContains(t, err, "closed")
	_, _, err = s.Load(t.Context(), "k")
	assert.ErrorContains(t, err, "closed")
}

// What has expired is absent at once and deleted in batches; what has not, and
// the fence of a lease of an hour ago, stay.
func TestSweep(t *testing.T) {
	onAll(t, func(t *testing.T, p place) {
		s, db := p.store(t, sqlstore.Options{}), p.db(t)
		for i := range 25 {
			_, err := s.CAS(t.Context(), fmt.Sprint("old", i), 0, []byte("v"), time.Minute)
			require.NoError(t, err)
		}
		live, err := s.CAS(t.Context(), "live", 0, []byte("v"), 3*time.Hour)
		require.NoError(t, err)
		_, err = s.Lock(t.Context(), "lease", "a", time.Minute)
		require.NoError(t, err)
		n, err := s.Sweep(t.Context(), 10)
		require.NoError(t, err)
		require.Zero(t, n, "nothing has expired")
		_, err = db.Exec("UPDATE bearerkit SET ends = ends - 3900000, swept = swept - 1 WHERE name LIKE '!%'") // 65 minutes later
		require.NoError(t, err)
		_, err = db.Exec("UPDATE bearerkit SET ends = ends - 7500000, swept = swept - 2 WHERE name LIKE 'old%'") // an hour more
		require.NoError(t, err)
		_, rev, err := s.Load(t.Context(), "old0")
		require.NoError(t, err)
		require.Zero(t, rev)
		for _, limit := range []int64{10, 10, 10} {
			n, err := s.Sweep(t.Context(), int(limit))
			require.NoError(t, err)
			require.LessOrEqual(t, n, limit)
		}
		var left int
		require.NoError(t, db.QueryRow("SELECT count(*) FROM bearerkit").Scan(&left))
		assert.Equal(t, 2, left)
		_, rev, err = s.Load(t.Context(), "live")
		require.NoError(t, err)
		assert.Equal(t, live, rev)
	})
}

// A database whose clock is set back by an hour blocks a lease that its holder
// has left for one more ttl, not for the hour.
func TestDatabasesClockSetBack(t *testing.T) {
	onAll(t, func(t *testing.T, p place) {
		s, db := p.store(t, sqlstore.Options{}), p.db(t)
		first, err := s.Lock(t.Context(), "k", "dead", 300*time.Millisecond)
		require.NoError(t, err)
		_, err = db.Exec("UPDATE bearerkit SET begun = begun + 3600000, ends = ends + 3600000, rev = rev + 3600000")
		require.NoError(t, err)
		begun := time.Now()
		var second uint64
		soaktest.Eventually(t, "the lease", func() bool {
			second, err = s.Lock(t.Context(), "k", "next", time.Minute)
			require.NoError(t, err)
			return second != 0
		})
		assert.GreaterOrEqual(t, time.Since(begun), 250*time.Millisecond)
		assert.Greater(t, second, first+3600000)
	})
}

// A holder at work keeps its lease when the clock is set back.
func TestDatabasesClockSetBackUnderAHolder(t *testing.T) {
	onAll(t, func(t *testing.T, p place) {
		s, db := p.store(t, sqlstore.Options{}), p.db(t)
		fence, err := s.Lock(t.Context(), "k", "holder", time.Minute)
		require.NoError(t, err)
		require.NotZero(t, fence)
		_, err = db.Exec("UPDATE bearerkit SET begun = begun + 3600000, ends = ends + 3600000")
		require.NoError(t, err)
		for range 3 {
			other, err := s.Lock(t.Context(), "k", "other", time.Minute)
			require.NoError(t, err)
			require.Zero(t, other, "taken from its holder")
			ok, err := s.Extend(t.Context(), "k", "holder", time.Minute)
			require.NoError(t, err)
			require.True(t, ok)
		}
	})
}

// Fences rise when the lease's row is gone too.
func TestFencesRiseOverALostTable(t *testing.T) {
	onAll(t, func(t *testing.T, p place) {
		s, db := p.store(t, sqlstore.Options{}), p.db(t)
		last := uint64(0)
		for range 3 {
			fence, err := s.Lock(t.Context(), "k", "a", time.Minute)
			require.NoError(t, err)
			require.Greater(t, fence, last)
			last = fence
			_, err = db.Exec("DELETE FROM bearerkit")
			require.NoError(t, err)
			soaktest.Eventually(t, "the clock to go on", func() bool { return time.Now().UnixMilli() > int64(last) })
		}
	})
}

// Serializable transactions are refused by the database for each other's sake.
func TestSerializableDefaultIsolation(t *testing.T) {
	t.Parallel()
	p := newPlace(t, sqlstore.Postgres)
	p.url += "&default_transaction_isolation=serializable"
	s := p.store(t, sqlstore.Options{})
	tokencachetest.Run(t, func(*testing.T) tokencache.Store { return s })
}

// Two processes that share a file of SQLite wait for each other.
func TestSQLiteLockedByAnother(t *testing.T) {
	t.Parallel()
	p := newPlace(t, sqlstore.SQLite)
	s, other := p.store(t, sqlstore.Options{}), p.db(t)
	conn, err := other.Conn(t.Context())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = s.CAS(ctx, "k", 0, nil, time.Minute)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, _, err = s.Load(t.Context(), "k")
	require.NoError(t, err, "a reader waits for no writer")

	done := make(chan error, 1)
	go func() {
		_, err := s.CAS(t.Context(), "k", 0, nil, time.Minute)
		done <- err
	}()
	_, err = conn.ExecContext(t.Context(), "COMMIT")
	require.NoError(t, err)
	require.NoError(t, <-done)
}

// What is stored has reached the disk: the log is written ahead, and waited
// for.
func TestSQLiteIsDurable(t *testing.T) {
	t.Parallel()
	p := newPlace(t, sqlstore.SQLite)
	p.store(t, sqlstore.Options{})
	db := p.db(t)
	var mode string
	var synchronous int
	require.NoError(t, db.QueryRow("PRAGMA journal_mode").Scan(&mode))
	require.NoError(t, db.QueryRow("PRAGMA synchronous").Scan(&synchronous))
	assert.Equal(t, "wal", mode)
	assert.Equal(t, 2, synchronous, "FULL")
}

func TestSQLiteFullDisk(t *testing.T) {
	t.Parallel()
	p := newPlace(t, sqlstore.SQLite)
	db := p.db(t)
	db.SetMaxOpenConns(1)
	s, err := sqlstore.New(db, p.dialect, sqlstore.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	require.NoError(t, s.Migrate(t.Context()))
	rev, err := s.CAS(t.Context(), "kept", 0, []byte("v"), time.Minute)
	require.NoError(t, err)
	_, err = db.Exec("PRAGMA max_page_count = 8")
	require.NoError(t, err)
	_, err = s.CAS(t.Context(), "big", 0, make([]byte, 1<<20), time.Minute)
	require.ErrorContains(t, err, "its disk is full")
	val, at, err := s.Load(t.Context(), "kept")
	require.NoError(t, err)
	assert.Equal(t, rev, at)
	assert.Equal(t, "v", string(val))
	_, at, err = s.Load(t.Context(), "big")
	require.NoError(t, err)
	assert.Zero(t, at)
}
