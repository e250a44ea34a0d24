package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/redisstore"
	"github.com/bearerkit/bearerkit/tokencache/sqlstore"
	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	_ "modernc.org/sqlite" // the driver of sqlite:PATH
)

// storeConfig says where grants are kept. Without redis and database, this
// gateway is alone and forgets.
type storeConfig struct {
	redis    *redis.Options
	database *database
	timeout  time.Duration // of one call; 0: redisTimeout or databaseTimeout
	nameKey  []byte        // nil: what is stored is not sealed
	sealKeys [][]byte
}

// database is what DATABASE_URL says. open does not connect.
type database struct {
	dialect sqlstore.Dialect
	open    func() (*sql.DB, error)
	listen  func(context.Context, string, func(string)) error
}

const (
	// What waits for the store is a caller's request.
	redisTimeout = 250 * time.Millisecond
	// A database writes to its disk within a call.
	databaseTimeout = time.Second
)

func (e *env) store() storeConfig {
	c := storeConfig{redis: e.redis(), database: e.database(), timeout: e.duration("STORE_TIMEOUT", 0, time.Millisecond)}
	if c.redis != nil {
		t := cmp.Or(c.timeout, redisTimeout)
		c.redis.DialTimeout, c.redis.ReadTimeout, c.redis.WriteTimeout = t, t, t
	}
	if e.isSet("REDIS_URL") && e.isSet("DATABASE_URL") {
		e.fail("REDIS_URL and DATABASE_URL are both set: grants are kept in one place")
	}
	used := e.isSet("REDIS_URL") || e.isSet("DATABASE_URL")
	unsealed := e.get("DANGEROUSLY_UNSEALED")
	if unsealed != "" && unsealed != "1" {
		e.fail("DANGEROUSLY_UNSEALED: neither 1 nor absent")
	}
	keys := e.secret("STORE_KEYS")
	switch {
	case keys != nil && unsealed == "1":
		e.fail("STORE_KEYS and DANGEROUSLY_UNSEALED are both set")
	case keys != nil && !used:
		e.fail("STORE_KEYS: only with REDIS_URL or DATABASE_URL")
	case keys != nil:
		c.nameKey, c.sealKeys = e.ring(keys.value())
	case used && unsealed != "1" && !e.isSet("STORE_KEYS"):
		e.fail("STORE_KEYS missing: what REDIS_URL or DATABASE_URL keeps are tokens, and is sealed; DANGEROUSLY_UNSEALED=1 leaves them as they are")
	}
	return c
}

// ring reads names:KEY,KEY,…; the keys are base64 of 32 bytes, and lines
// separate as commas do.
func (e *env) ring(text string) (nameKey []byte, sealKeys [][]byte) {
	fault := func(what string) {
		e.fail("STORE_KEYS: %s; must be like names:KEY,KEY,… where each KEY is 32 bytes in base64", what)
	}
	for i, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' || r == ' ' || r == '\t' }) {
		value, isName := strings.CutPrefix(part, "names:")
		key, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			key, err = base64.RawURLEncoding.DecodeString(value)
		}
		switch {
		case err != nil || len(key) != 32:
			fault(fmt.Sprintf("entry %d is not 32 bytes in base64", i+1))
		case isName && nameKey != nil:
			fault("names: stands there twice")
		case isName:
			nameKey = key
		default:
			sealKeys = append(sealKeys, key)
		}
	}
	switch {
	case nameKey == nil && len(e.errs) == 0:
		fault("names: is missing, the key by which records are named and which never changes")
	case len(sealKeys) == 0 && len(e.errs) == 0:
		fault("there is no key to seal with")
	}
	return nameKey, sealKeys
}

// redis reads REDIS_URL. New connections take the password that REDIS_URL_FILE
// holds by then.
func (e *env) redis() *redis.Options {
	address := e.secret("REDIS_URL")
	if address == nil {
		return nil
	}
	o, err := redis.ParseURL(address.value())
	if err != nil || o.TLSConfig != nil && o.TLSConfig.InsecureSkipVerify {
		e.fail("REDIS_URL: not like redis://user:password@host:port/database, or rediss:// over TLS") // err may repeat the password
		return nil
	}
	o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries = true, -1, 1
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.CredentialsProvider = func() (user, password string) { return userOf(address.value()) }
	return o
}

func userOf(address string) (user, password string) {
	if u, err := url.Parse(address); err == nil && u.User != nil {
		password, _ = u.User.Password()
		user = u.User.Username()
	}
	return user, password
}

// database reads DATABASE_URL. New connections take the password that
// DATABASE_URL_FILE holds by then.
func (e *env) database() *database {
	address := e.secret("DATABASE_URL")
	if address == nil {
		return nil
	}
	scheme, rest, _ := strings.Cut(address.value(), ":")
	var d *database
	switch scheme {
	case "postgres", "postgresql":
		d = postgresAt(address)
	case "mysql":
		d = mysqlAt(address)
	case "sqlite":
		d = sqliteAt(rest)
	}
	if d == nil {
		e.fail("DATABASE_URL: not like postgres://user:password@host/database, mysql://user:password@host/database or sqlite:PATH") // an error may repeat the password
	}
	return d
}

func postgresAt(address *secret) *database {
	c, err := pgx.ParseConfig(address.value())
	if err != nil {
		return nil
	}
	current := func(_ context.Context, c *pgx.ConnConfig) error {
		if _, password := userOf(address.value()); password != "" {
			c.Password = password
		}
		return nil
	}
	listen := func(ctx context.Context, channel string, woken func(string)) error {
		own := c.Copy()
		if err := current(ctx, own); err != nil {
			return err
		}
		conn, err := pgx.ConnectConfig(ctx, own)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
			return err
		}
		for woken(""); ; {
			n, err := conn.WaitForNotification(ctx)
			if err != nil {
				return err
			}
			woken(n.Payload)
		}
	}
	open := func() (*sql.DB, error) { return stdlib.OpenDB(*c, stdlib.OptionBeforeConnect(current)), nil }
	return &database{sqlstore.Postgres, open, listen}
}

func mysqlAt(address *secret) *database {
	u, err := url.Parse(address.value())
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") == "" {
		return nil
	}
	c := mysql.NewConfig()
	c.User, c.Passwd = userOf(address.value())
	c.Net, c.Addr, c.DBName = "tcp", u.Host, strings.Trim(u.Path, "/")
	if u.Port() == "" {
		c.Addr += ":3306"
	}
	c.InterpolateParams = true
	c.Logger = &mysql.NopLogger{}
	for name, values := range u.Query() {
		if name != "tls" || values[0] != "true" && values[0] != "false" {
			return nil // tls=true verifies the server; what else there is does not
		}
		if values[0] == "true" {
			c.TLS = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
		}
	}
	err = c.Apply(mysql.BeforeConnect(func(_ context.Context, c *mysql.Config) error {
		if _, password := userOf(address.value()); password != "" {
			c.Passwd = password
		}
		return nil
	}))
	if err != nil {
		return nil
	}
	return &database{sqlstore.MySQL, func() (*sql.DB, error) {
		connector, err := mysql.NewConnector(c)
		if err != nil {
			return nil, errors.New("DATABASE_URL: the driver does not take it")
		}
		return sql.OpenDB(connector), nil
	}, nil}
}

// sqliteAt opens a file that only this user may read.
func sqliteAt(path string) *database {
	path = strings.TrimPrefix(path, "//") // sqlite:///srv/kit.db is /srv/kit.db too
	if path == "" || strings.HasPrefix(path, ":memory:") {
		return nil
	}
	return &database{sqlstore.SQLite, func() (*sql.DB, error) {
		full, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("DATABASE_URL: %w", err)
		}
		f, err := os.OpenFile(full, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("DATABASE_URL: %w", err)
		}
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("DATABASE_URL: %w", err)
		}
		return sql.Open("sqlite", "file:"+(&url.URL{Path: full}).EscapedPath())
	}, nil}
}

// share makes this gateway one with all others behind the same store.
func (g *gateway) share(ctx context.Context, c *config) error {
	switch {
	case c.store.redis != nil:
		client := redis.NewClient(c.store.redis)
		g.limited = c.limiter(client, g.log)
		store, err := redisstore.New(client, redisstore.Options{})
		if err != nil {
			return errors.Join(err, client.Close())
		}
		g.options.Store, g.options.StoreTimeout = store, cmp.Or(c.store.timeout, redisTimeout)
		g.closers = append(g.closers, store.Close, client.Close)
	case c.store.database != nil:
		g.limited = c.limiter(nil, g.log)
		if err := g.shareDatabase(ctx, c.store.database, cmp.Or(c.store.timeout, databaseTimeout)); err != nil {
			return err
		}
	default:
		g.limited = c.limiter(nil, g.log)
		return nil
	}
	g.options.NameKey, g.options.SealKeys = c.store.nameKey, c.store.sealKeys
	if c.store.nameKey == nil {
		g.log.Warn("tokens are stored unsealed: DANGEROUSLY_UNSEALED")
	}
	return nil
}

// shareDatabase starts without a server that is away, and makes the table when
// it comes. A file that cannot be used is an error.
func (g *gateway) shareDatabase(ctx context.Context, d *database, timeout time.Duration) error {
	db, err := d.open()
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	db.SetConnMaxIdleTime(5 * time.Minute)
	store, err := sqlstore.New(db, d.dialect, sqlstore.Options{Listen: d.listen})
	if err != nil {
		return errors.Join(err, db.Close())
	}
	g.options.Store, g.options.StoreTimeout = store, timeout
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	g.closers = append(g.closers, func() error { stop(); <-ended; return nil }, store.Close, db.Close)
	first, cancel := context.WithTimeout(life, 3*timeout)
	defer cancel()
	err = store.Migrate(first)
	if err == nil || d.dialect == sqlstore.SQLite {
		close(ended)
		return err
	}
	go func() {
		defer close(ended)
		migrateLater(life, store, 3*timeout, g.log, err)
	}()
	return nil
}

// migrateLater tries until the table is there. Each try is short: while one
// waits for a lock of the table, all writes of the table wait.
func migrateLater(ctx context.Context, store *sqlstore.Store, limit time.Duration, log *slog.Logger, err error) {
	for pause := time.Second; err != nil; pause = min(2*pause, 30*time.Second) {
		log.Warn("the store's table is not there yet", "err", err, "again", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		try, cancel := context.WithTimeout(ctx, limit)
		err = store.Migrate(try)
		cancel()
	}
	log.Info("the store's table is there")
}

// cacheOptions are those of one vendor's cache.
func (g *gateway) cacheOptions(name string) tokencache.Options {
	o := g.options
	o.Namespace, o.Logger = name, g.log.With("vendor", name)
	o.Observer = g.telemetry.observer(name)
	return o
}
