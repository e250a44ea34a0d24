package sqlstore_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/sqlstore"
	"github.com/jackc/pgx/v5"
)

// Postgres by pgx, with changes known at once.
func ExampleNew() {
	const url = "postgres://kit@db.example/kit?sslmode=verify-full"
	db, err := sql.Open("pgx", url)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(16)
	listen := func(ctx context.Context, channel string, woken func(payload string)) error {
		conn, err := pgx.Connect(ctx, url)
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
	store, err := sqlstore.New(db, sqlstore.Postgres, sqlstore.Options{Listen: listen})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = store.Close() }()
	o := tokencache.Options{
		Store: store, Namespace: "redacto",
		NameKey: bytes.Repeat([]byte("n"), 32), SealKeys: [][]byte{bytes.Repeat([]byte("v"), 32)}, // random keys, from where secrets are kept
	}
	fmt.Println(o.Store)
	// Output: sqlstore.Store
}

// One machine: a file of SQLite outlives the process.
func ExampleStore_Migrate() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "tokens.db"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = db.Close() }()
	store, err := sqlstore.New(db, sqlstore.SQLite, sqlstore.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = store.Close() }()
	fmt.Println(store.Migrate(context.Background()))
	// Output: <nil>
}

// The DDL, for a database whose tables somebody else makes.
func ExampleSchema() {
	ddl, err := sqlstore.Schema(sqlstore.SQLite, "staging_")
	fmt.Println(ddl, err)
	// Output:
	// CREATE TABLE IF NOT EXISTS staging_bearerkit (
	// 	name  TEXT NOT NULL PRIMARY KEY,
	// 	rev   INTEGER NOT NULL,
	// 	owner TEXT NOT NULL DEFAULT '',
	// 	val   BLOB NOT NULL DEFAULT x'',
	// 	begun INTEGER NOT NULL DEFAULT 0,
	// 	ends  INTEGER NOT NULL,
	// 	swept INTEGER NOT NULL
	// );
	//
	// CREATE INDEX IF NOT EXISTS staging_bearerkit_swept ON staging_bearerkit (swept);
	//  <nil>
}
