package sqlstore

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Dialect is the SQL that a database speaks.
type Dialect int

// These are the dialects. MySQL is also that of MariaDB.
const (
	Postgres Dialect = iota + 1 // PostgreSQL 14 or later
	MySQL                       // MySQL 8 or later, MariaDB 10.6 or later
	SQLite                      // SQLite 3.42 or later
)

// String returns the name of the dialect.
func (d Dialect) String() string {
	switch d {
	case Postgres:
		return "Postgres"
	case MySQL:
		return "MySQL"
	case SQLite:
		return "SQLite"
	}
	return "Dialect(" + strconv.Itoa(int(d)) + ")"
}

// now returns the database's time in milliseconds since 1970, at the start of
// the statement. A statement that waited for a row's lock has an old time: it
// regards a lease as held for longer, and grants one for a shorter time.
func (d Dialect) now() string {
	switch d {
	case Postgres:
		return "(extract(epoch FROM statement_timestamp())*1000)::bigint"
	case MySQL: // not in the session's time zone, in which one hour of autumn comes twice
		return "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000)"
	}
	return "CAST(unixepoch('subsec')*1000+0.5 AS INTEGER)"
}

// A row is a value or a lease. The name of a value's row is its key; the name
// of a lease's row is "!" and the key. Columns:
//
//	rev     of a value its revision, 63 random bits; of a lease its fence
//	owner   of a lease its holder, "" if it is free
//	val     of a value its bytes
//	begun   of a lease when it was taken or extended
//	ends    when a value is absent and a lease is free
//	swept   the hour from which on the row may be deleted
//
// Only name and swept are indexed. swept changes once an hour, so most updates
// change no index.
var tables = map[Dialect][]string{
	Postgres: {`CREATE TABLE IF NOT EXISTS {table} (
	name  text COLLATE "C" PRIMARY KEY,
	rev   bigint NOT NULL,
	owner text COLLATE "C" NOT NULL DEFAULT '',
	val   bytea NOT NULL DEFAULT '',
	begun bigint NOT NULL DEFAULT 0,
	ends  bigint NOT NULL,
	swept integer NOT NULL
) WITH (fillfactor = 80)`,
		`CREATE INDEX IF NOT EXISTS {table}_swept ON {table} (swept)`},
	MySQL: {`CREATE TABLE IF NOT EXISTS {table} (
	name  VARBINARY(80) NOT NULL PRIMARY KEY,
	rev   BIGINT NOT NULL,
	owner VARBINARY(64) NOT NULL DEFAULT '',
	val   LONGBLOB NOT NULL,
	begun BIGINT NOT NULL DEFAULT 0,
	ends  BIGINT NOT NULL,
	swept INTEGER NOT NULL,
	INDEX {table}_swept (swept)
) ENGINE=InnoDB`},
	SQLite: {`CREATE TABLE IF NOT EXISTS {table} (
	name  TEXT NOT NULL PRIMARY KEY,
	rev   INTEGER NOT NULL,
	owner TEXT NOT NULL DEFAULT '',
	val   BLOB NOT NULL DEFAULT x'',
	begun INTEGER NOT NULL DEFAULT 0,
	ends  INTEGER NOT NULL,
	swept INTEGER NOT NULL
)`, `CREATE INDEX IF NOT EXISTS {table}_swept ON {table} (swept)`},
}

// Schema returns the DDL that [Store.Migrate] applies, for a database whose
// tables are made in another way. The error says which argument is wrong.
func Schema(d Dialect, prefix string) (string, error) {
	if err := errors.Join(d.check(), checkPrefix(prefix)); err != nil {
		return "", err
	}
	return strings.Join(d.ddl(tableName(prefix)), ";\n\n") + ";\n", nil
}

func (d Dialect) ddl(table string) []string {
	var all []string
	for _, text := range tables[d] {
		all = append(all, strings.ReplaceAll(text, "{table}", table))
	}
	return all
}

func (d Dialect) check() error {
	if tables[d] == nil {
		return fmt.Errorf("sqlstore: dialect: must be Postgres, MySQL or SQLite, and is %v", d)
	}
	return nil
}

var prefixes = regexp.MustCompile(`^([a-z_][a-z0-9_]{0,31})?$`)

func checkPrefix(prefix string) error {
	if !prefixes.MatchString(prefix) {
		return fmt.Errorf("sqlstore: Options.Prefix: %q: must be a-z, 0-9 and _, not begin with a digit, and have 32 characters at most", prefix)
	}
	return nil
}

func tableName(prefix string) string { return prefix + "bearerkit" }

// statement is SQL with the names of its arguments, in the order of the
// dialect.
type statement struct {
	text  string
	names []string
}

// args are the arguments of statements, by name.
type args map[string]any

func (s *statement) args(a args) []any {
	all := make([]any, len(s.names))
	for i, n := range s.names {
		all[i] = a[n]
	}
	return all
}

// statements are all SQL of a Store. A nil one is not needed.
type statements struct {
	load *statement
	// cas writes over a revision; create writes an absent key.
	cas, create *statement
	// createOver writes over a row that has expired, if create cannot.
	createOver *statement
	// lock takes a lease that exists; lockNew makes one.
	lock, lockNew *statement
	// restart begins a lease again that was taken before the database's clock
	// was set back, if lock cannot.
	restart        *statement
	fence          *statement
	extend, unlock *statement
	sweep          *statement
	check          *statement
	made           *statement // of Postgres
}

var argument = regexp.MustCompile(`\{[a-z]+\}`)

// compile makes a statement of text, in which names in braces stand for the
// table, for times, and for arguments.
func (d Dialect) compile(table, text string) *statement {
	s := &statement{}
	text = strings.NewReplacer("{table}", table, "{now}", d.now(), "{hour}", d.hour("{now}"),
		"{end}", "("+d.now()+" + {ttl})", "{sweep}", d.hour("("+d.now()+" + {keep})")+" + 1").Replace(text)
	text = strings.ReplaceAll(text, "{now}", d.now())
	s.text = argument.ReplaceAllStringFunc(text, func(name string) string {
		s.names = append(s.names, strings.Trim(name, "{}"))
		if d == Postgres {
			return "$" + strconv.Itoa(len(s.names))
		}
		return "?"
	})
	return s
}

func (d Dialect) statements(table string, notify bool) statements {
	compile := func(text string) *statement { return d.compile(table, text) }
	// told notifies listeners of a change of {key}, with the commit of the
	// change.
	told := func(text string) *statement {
		if !notify {
			return compile(text)
		}
		return compile("WITH changed AS (" + text + " RETURNING 1) SELECT pg_notify('{table}', {key}) FROM changed")
	}
	s := statements{
		load:  compile("SELECT rev, val FROM {table} WHERE name = {name} AND ends > {now}"),
		cas:   told("UPDATE {table} SET rev = {next}, val = {val}, ends = {end}, swept = {sweep} WHERE name = {name} AND rev = {rev} AND ends > {now}"),
		check: compile("SELECT name, rev, owner, val, begun, ends, swept FROM {table} WHERE 1 = 0"),
		made:  compile("SELECT to_regclass('{table}') IS NOT NULL AND to_regclass('{table}_swept') IS NOT NULL"),
		extend: compile("UPDATE {table} SET begun = {now}, ends = {end}, swept = {sweep}" +
			" WHERE name = {name} AND owner = {owner} AND ends > {now}"),
		unlock: told("UPDATE {table} SET owner = '', begun = 0, ends = 0 WHERE name = {name} AND owner = {owner} AND ends > {now}"),
	}
	const insertValue = "INSERT INTO {table} (name, rev, val, ends, swept) VALUES ({name}, {next}, {val}, {end}, {sweep})"
	const insertLease = "INSERT INTO {table} AS t (name, rev, owner, val, begun, ends, swept) VALUES ({name}, {now}, {owner}, ''{blob}, {now}, {end}, {sweep})"
	if d == MySQL {
		s.create = compile(insertValue)
		s.createOver = compile("UPDATE {table} SET rev = {next}, val = {val}, ends = {end}, swept = {sweep} WHERE name = {name} AND ends <= {now}")
		s.lock = compile("UPDATE {table} SET rev = LAST_INSERT_ID(GREATEST(rev + 1, {now})), owner = {owner}, begun = {now}, ends = {end}, swept = {sweep}" +
			" WHERE name = {name} AND (owner = {owner} OR ends <= {now})")
		s.lockNew = compile("INSERT INTO {table} (name, rev, owner, val, begun, ends, swept) VALUES ({name}, {now}, {owner}, '', {now}, {end}, {sweep})")
		s.restart = compile("UPDATE {table} SET ends = {now} + (ends - begun), begun = {now} WHERE name = {name} AND begun > {now}")
		s.fence = compile("SELECT rev FROM {table} WHERE name = {name} AND owner = {owner}")
		s.sweep = compile("DELETE FROM {table} WHERE swept <= {hour} LIMIT {limit}")
		// MySQL does not count a row that does not change.
		s.extend = compile("UPDATE {table} SET begun = {now}, ends = {end} + (ends = {end}), swept = {sweep}" +
			" WHERE name = {name} AND owner = {owner} AND ends > {now}")
		return s
	}
	greatest, blob, skip := "greatest", "", " FOR UPDATE SKIP LOCKED"
	if d == SQLite {
		greatest, blob, skip = "max", "", ""
	}
	s.create = told(strings.Replace(insertValue, "{table} (", "{table} AS t (", 1) +
		" ON CONFLICT (name) DO UPDATE SET rev = excluded.rev, val = excluded.val, ends = excluded.ends, swept = excluded.swept WHERE t.ends <= {now}")
	free := "(t.owner = excluded.owner OR t.ends <= {now})"
	s.lock = compile(strings.Replace(insertLease, "{blob}", blob, 1) + " ON CONFLICT (name) DO UPDATE SET" +
		" rev = CASE WHEN " + free + " THEN " + greatest + "(t.rev + 1, {now}) ELSE t.rev END," +
		" owner = CASE WHEN " + free + " THEN excluded.owner ELSE t.owner END," +
		" ends = CASE WHEN " + free + " THEN excluded.ends ELSE {now} + (t.ends - t.begun) END," +
		" begun = {now}, swept = excluded.swept" +
		" WHERE " + free + " OR t.begun > {now}" +
		" RETURNING CASE WHEN owner = {owner} THEN rev ELSE 0 END")
	s.sweep = compile("DELETE FROM {table} WHERE swept <= {hour} AND name IN (SELECT name FROM {table} WHERE swept <= {hour} LIMIT {limit}" + skip + ")")
	return s
}

// hour returns the number of the hour that contains ms.
func (d Dialect) hour(ms string) string {
	if d == MySQL {
		return "(" + ms + " DIV 3600000)"
	}
	return "(" + ms + " / 3600000)"
}

// changes returns the query for the changes of n rows.
func (d Dialect) changes(table string, n int) string {
	marks := make([]string, n)
	for i := range marks {
		marks[i] = "?"
		if d == Postgres {
			marks[i] = "$" + strconv.Itoa(i+1)
		}
	}
	return "SELECT name, rev, owner FROM " + table + " WHERE name IN (" + strings.Join(marks, ", ") + ")"
}
