// Package boltstore is a tokencache.Store over a file of bbolt, for one process
// on one machine. It is what a Store takes at the least: Load and CAS.
package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"time"

	"go.etcd.io/bbolt"
)

// Store keeps each value behind its revision and its end, 8 bytes each.
type Store struct{ DB *bbolt.DB }

var bucket = []byte("tokens")

// read is the value of key, revision 0 if it is absent or has expired.
func read(tx *bbolt.Tx, key string) (val []byte, rev uint64) {
	b := tx.Bucket(bucket)
	if b == nil {
		return nil, 0
	}
	row := b.Get([]byte(key))
	if len(row) < 16 || time.Now().UnixNano() >= int64(binary.BigEndian.Uint64(row[8:])) {
		return nil, 0
	}
	return bytes.Clone(row[16:]), binary.BigEndian.Uint64(row) // row ends with the transaction
}

// Load implements tokencache.Store.
func (s Store) Load(ctx context.Context, key string) (val []byte, rev uint64, err error) {
	err = s.DB.View(func(tx *bbolt.Tx) error {
		val, rev = read(tx, key)
		return ctx.Err()
	})
	return val, rev, err
}

// CAS implements tokencache.Store. A revision is random, so that none comes back.
func (s Store) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (next uint64, err error) {
	err = s.DB.Update(func(tx *bbolt.Tx) error {
		if _, current := read(tx, key); current != rev || ctx.Err() != nil {
			return ctx.Err()
		}
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		next = 1 + rand.Uint64N(1<<63)
		row := binary.BigEndian.AppendUint64(nil, next)
		row = binary.BigEndian.AppendUint64(row, uint64(time.Now().Add(ttl).UnixNano()))
		return b.Put([]byte(key), append(row, val...))
	})
	if err != nil {
		return 0, err
	}
	return next, nil
}
