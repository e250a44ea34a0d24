package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
)

var (
	errClosed = errors.New("sqlstore: closed")
	errTTL    = errors.New("sqlstore: ttl: must be positive")
	errKey    = errors.New("sqlstore: key: must be 1 to 64 printable ASCII characters")
	errOwner  = errors.New("sqlstore: owner: must be 1 to 64 printable ASCII characters")
	errTable  = errors.New("sqlstore: migrate: the table exists and is not one of ours")
)

// kind is the meaning of a database's error for a Store.
type kind int

const (
	other     kind = iota
	again          // the statement was rolled back and may be repeated at once
	duplicate      // the row exists
	readOnly       // a replica, or a master that has become one
	full           // no room on the disk
	missing        // the table does not exist
	denied         // no right, or a wrong password
	foreign        // a column does not exist, or the name is not a table's
)

var kinds = map[Dialect]map[string]kind{
	Postgres: {
		"40001": again, "40P01": again, "55P03": again, "23505": duplicate, "42P07": duplicate, "42710": duplicate,
		"25006": readOnly, "53100": full, "42P01": missing, "42501": denied, "28P01": denied, "28000": denied,
		"42703": foreign, "42809": foreign,
	},
	MySQL: {
		"1213": again, "1205": again, "1020": again, "1062": duplicate, "1290": readOnly, "1792": readOnly, "1836": readOnly,
		"1021": full, "1114": full, "1146": missing, "1142": denied, "1044": denied, "1045": denied,
		"1054": foreign,
	},
	SQLite: {"5": again, "6": again, "19": duplicate, "8": readOnly, "13": full, "1": foreign},
}

// The error of go-sql-driver/mysql tells its number in its text alone. The error
// of mattn/go-sqlite3 has no method Code: with that driver set busy_timeout,
// because a locked database is not tried again.
var (
	mysqlCode = regexp.MustCompile(`^Error (\d+)`)
	diskFull  = regexp.MustCompile(`(errno: 28|error 28)\b`)
)

// codeOf returns the code of the database's answer, or "" if no answer is
// known.
func (d Dialect) codeOf(err error) (code string, k kind) {
	var stated interface{ SQLState() string }
	var numbered interface{ Code() int }
	switch {
	case d == Postgres && errors.As(err, &stated):
		code = stated.SQLState()
	case d == SQLite && errors.As(err, &numbered):
		code = strconv.Itoa(numbered.Code() & 0xff) // the rest says more of the same
	case d == MySQL:
		for e := err; e != nil && code == ""; e = errors.Unwrap(e) {
			if m := mysqlCode.FindStringSubmatch(e.Error()); m != nil {
				code = m[1]
			}
		}
		if code != "" && diskFull.MatchString(err.Error()) {
			return code, full
		}
	}
	return code, kinds[d][code]
}

var advice = map[kind]string{
	readOnly: ": it takes no writes, as a replica does",
	full:     ": its disk is full, and nothing is stored until there is room",
	missing:  ": the table does not exist; Migrate makes it",
	denied:   ": the user has no right to do this",
}

// failed returns err without what a driver may quote of the call. Only the code
// of a database's answer is kept.
func (s *Store) failed(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("sqlstore: %s: %w", op, ctx.Err())
	}
	code, k := s.dialect.codeOf(err)
	if code != "" {
		return fmt.Errorf("sqlstore: %s: the database answered %s%s", op, code, advice[k])
	}
	var network *net.OpError
	var timed net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded): // a connection's deadline is its context's
		return fmt.Errorf("sqlstore: %s: %w", op, context.DeadlineExceeded)
	case errors.As(err, &network):
		return fmt.Errorf("sqlstore: %s: %w", op, network)
	case errors.As(err, &timed) && timed.Timeout():
		return fmt.Errorf("sqlstore: %s: %w", op, context.DeadlineExceeded)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone):
		return fmt.Errorf("sqlstore: %s: the connection was lost", op)
	case errors.Is(err, errClosed):
		return err
	}
	return fmt.Errorf("sqlstore: %s: the driver failed with an error of type %T", op, innermost(err))
}

// innermost returns the error that err wraps. Only its type is shown.
func innermost(err error) error {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err
}
