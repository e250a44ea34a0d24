package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
)

// Options are optional.
type Options struct {
	// Prefix begins the name of the table, which is prefix + "bearerkit". It
	// separates deployments that share a database. Caches of one deployment
	// share a Store; [tokencache.Options].Namespace separates them.
	Prefix string
	// Listen makes changes known at once, by LISTEN and NOTIFY. It is for
	// Postgres only; nil means that the Store polls. All processes that share a
	// table must set it, or none.
	//
	// Listen listens to channel on a separate connection until ctx ends or the
	// connection is lost, and returns the error. It calls woken("") when it has
	// begun to listen, and woken with the payload of each notification. The
	// Store calls it again after a pause.
	Listen func(ctx context.Context, channel string, woken func(payload string)) error
}

// Store is a [tokencache.Store], [tokencache.Locker], [tokencache.Watcher] and
// [tokencache.Epocher] over a database. [New] makes it. Use one per process. It
// is safe for concurrent use.
type Store struct {
	db      *sql.DB
	dialect Dialect
	table   string
	say     statements
	writer  chan struct{} // holds one token where the database has one writer, else nil
	watches watches

	ctx    context.Context // the Store's lifetime
	cancel context.CancelFunc
	work   sync.WaitGroup
}

var (
	_ tokencache.Store   = (*Store)(nil)
	_ tokencache.Locker  = (*Store)(nil)
	_ tokencache.Watcher = (*Store)(nil)
	_ tokencache.Epocher = (*Store)(nil)
)

// New returns a Store over db. The caller closes db. New does not connect: a
// Store can be used as soon as its database and the table exist, see
// [Store.Migrate]. The error joins every fault of the arguments.
func New(db *sql.DB, dialect Dialect, o Options) (*Store, error) {
	faults := []error{dialect.check(), checkPrefix(o.Prefix)}
	if db == nil {
		faults = append(faults, errors.New("sqlstore: db: nil"))
	}
	if o.Listen != nil && dialect != Postgres {
		faults = append(faults, errors.New("sqlstore: Options.Listen: only for Postgres"))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	table := tableName(o.Prefix)
	s := &Store{db: db, dialect: dialect, table: table, say: dialect.statements(table, o.Listen != nil)}
	if dialect == SQLite {
		s.writer = make(chan struct{}, 1)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.watches.init(s, o.Listen)
	s.work.Go(s.sweepOn)
	return s, nil
}

// Close ends all watches and the Store's background work. It leaves the
// database open. Close the caches first, because they have writes to finish.
func (s *Store) Close() error {
	s.watches.close()
	s.cancel()
	s.work.Wait()
	return nil
}

// Format writes a fixed text for every verb, because a Store holds the password
// of its connections.
func (*Store) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "sqlstore.Store") }

// Migrate makes the table and its index if they are missing. Several processes
// may call it at once. For SQLite it also turns the write-ahead log on
// permanently.
func (s *Store) Migrate(ctx context.Context) error {
	if made, err := s.made(ctx); err != nil {
		return s.failed(ctx, "migrate", err)
	} else if made {
		return s.checkTable(ctx)
	}
	ddl := s.dialect.ddl(s.table)
	if s.dialect == SQLite {
		ddl = append([]string{"PRAGMA journal_mode = WAL"}, ddl...)
	}
	for _, text := range ddl {
		for try := 1; ; try++ {
			err := s.call(ctx, true, func() error {
				_, err := s.db.ExecContext(ctx, text)
				return err
			})
			// IF NOT EXISTS of Postgres fails when two make the table at once.
			if _, k := s.dialect.codeOf(err); k == duplicate && try < 5 {
				continue
			}
			if err != nil {
				return s.failed(ctx, "migrate", err)
			}
			break
		}
	}
	return s.checkTable(ctx)
}

// made reports whether the table and its index exist, on Postgres. There CREATE
// INDEX takes a lock before it looks: it waits for a vacuum against wraparound,
// and all writes of the table wait for it.
func (s *Store) made(ctx context.Context) (all bool, err error) {
	if s.dialect != Postgres {
		return false, nil
	}
	err = s.call(ctx, false, func() error { return s.db.QueryRowContext(ctx, s.say.made.text).Scan(&all) })
	return all, err
}

// checkTable reads no row and names all columns.
func (s *Store) checkTable(ctx context.Context) error {
	err := s.call(ctx, false, func() error {
		rows, err := s.db.QueryContext(ctx, s.say.check.text)
		if err != nil {
			return err
		}
		return errors.Join(rows.Err(), rows.Close())
	})
	if code, k := s.dialect.codeOf(err); err != nil && k == foreign && ctx.Err() == nil {
		return fmt.Errorf("%w: the database answered %s", errTable, code)
	}
	return s.failed(ctx, "migrate", err)
}

// patience bounds the repetitions of a call whose context has no end.
const patience = 10 * time.Second

// call runs do, and again if the database has rolled it back because of another
// call: a deadlock, a serialization failure, SQLite's lock.
func (s *Store) call(ctx context.Context, write bool, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.ctx.Err() != nil {
		return errClosed
	}
	if write && s.writer != nil {
		select {
		case s.writer <- struct{}{}:
			defer func() { <-s.writer }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	begun := time.Now()
	for pause := time.Millisecond; ; pause = min(2*pause, 16*time.Millisecond) {
		err := do()
		_, k := s.dialect.codeOf(err)
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case k == readOnly:
			s.dropIdle()
			return err
		case k != again || time.Since(begun) > patience:
			return err
		}
		timer := time.NewTimer(pause/2 + mathrand.N(pause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// dropIdle closes the connections that are not in use. Their server may be a
// replica now; new connections reach its successor.
func (s *Store) dropIdle() {
	for range s.db.Stats().Idle {
		ctx, cancel := context.WithTimeout(s.ctx, 100*time.Millisecond)
		if c, err := s.db.Conn(ctx); err == nil {
			_ = c.Raw(func(any) error { return driver.ErrBadConn })
			_ = c.Close()
		}
		cancel()
	}
}

// exec runs a statement that changes one row or none.
func (s *Store) exec(ctx context.Context, st *statement, a args) (changed bool, res sql.Result, err error) {
	res, err = s.db.ExecContext(ctx, st.text, st.args(a)...)
	if err != nil {
		return false, nil, err
	}
	n, err := res.RowsAffected()
	return n > 0, res, err
}

// Load implements [tokencache.Store].
func (s *Store) Load(ctx context.Context, key string) (val []byte, rev uint64, err error) {
	if !printable(key) {
		return nil, 0, errKey
	}
	var at int64
	err = s.call(ctx, false, func() error {
		return s.db.QueryRowContext(ctx, s.say.load.text, s.say.load.args(args{"name": key})...).Scan(&at, &val)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, s.failed(ctx, "load", err)
	}
	return val, uint64(at), nil
}

// CAS implements [tokencache.Store]. It is one statement. In MySQL it is two if
// a key that has expired is written again.
func (s *Store) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (next uint64, err error) {
	switch {
	case ttl <= 0:
		return 0, errTTL
	case !printable(key):
		return 0, errKey
	case rev > 1<<63-1:
		return 0, ctx.Err() // the Store never made such a revision
	}
	if val == nil {
		val = []byte{}
	}
	next = revision()
	a := args{"name": key, "key": key, "rev": int64(rev), "next": int64(next), "val": val, "ttl": millis(ttl), "keep": millis(ttl)}
	done := false
	err = s.call(ctx, true, func() (err error) {
		if rev != 0 {
			done, _, err = s.exec(ctx, s.say.cas, a)
			return err
		}
		done, _, err = s.exec(ctx, s.say.create, a)
		if _, k := s.dialect.codeOf(err); k == duplicate && s.say.createOver != nil {
			done, _, err = s.exec(ctx, s.say.createOver, a)
		}
		return err
	})
	if err != nil {
		return 0, s.failed(ctx, "cas", err)
	}
	if !done {
		return 0, nil
	}
	s.watches.wake(key)
	return next, nil
}

// revision returns a new revision: 63 random bits, the highest of them set, so
// that it is not 0.
func revision() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])>>1 | 1<<62
}

// printable reports whether s is not empty and a column can hold it unchanged.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// millis rounds up, so that a positive time does not become zero.
func millis(d time.Duration) int64 {
	return int64(d/time.Millisecond) + min(int64(d%time.Millisecond), 1)
}
