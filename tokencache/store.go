package tokencache

import (
	"context"
	"time"
)

// Store keeps records as bytes under string keys, for several processes. It is
// safe for concurrent use. Package tokencachetest tests an implementation.
//
// Keys consist of ASCII letters, digits, "-", "_" and "/", and have at most 64
// bytes. Upper and lower case are different. Values are any bytes.
//
// Every call has a context that ends within [Options].StoreTimeout. An error
// means that the outcome is unknown; the cache then reads the value.
//
// # Revisions
//
// A revision names one write of one key. It is not 0 and has no order. It never
// comes back: not when the key expires and is written again, not when the Store
// loses its data, and not when a failover takes its last writes away. Otherwise
// a CAS that began before such a loss could overwrite a value that it has not
// read. The simplest way is to draw 63 random bits for each write. A counter
// that starts again with the key, or with an empty Store, is wrong.
type Store interface {
	// Load returns the value and its revision. Revision 0 means that the key
	// is absent or has expired. Load sees every CAS that returned before.
	Load(ctx context.Context, key string) (val []byte, rev uint64, err error)
	// CAS writes val if the key's revision is rev, which is 0 for an absent
	// key, and returns the new revision. Next 0 means that the key has another
	// revision and that nothing was written. The value expires after ttl, which
	// is positive.
	CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (next uint64, err error)
}

// Locker is a [Store] with leases. Without it, replicas that share a Store
// exclude each other by intents alone, which needs clocks that agree to about a
// second.
type Locker interface {
	// Lock takes the lease on key for owner. The fence rises strictly from
	// one successful Lock of a key to the next; 0 means that another owner
	// holds the lease. The holder may Lock again, which extends the lease.
	Lock(ctx context.Context, key, owner string, ttl time.Duration) (fence uint64, err error)
	// Extend makes owner's lease end ttl from now. It returns false if owner
	// does not hold the lease.
	Extend(ctx context.Context, key, owner string, ttl time.Duration) (ok bool, err error)
	// Unlock ends owner's lease. It returns false if owner does not hold it.
	Unlock(ctx context.Context, key, owner string) (ok bool, err error)
}

// Watcher is a [Store] that reports changes. Without it, the cache polls.
type Watcher interface {
	// Watch returns a channel that yields after a CAS or Unlock of key that
	// happens after Watch returned. Several changes may be one signal, and a
	// signal may be lost. The watch ends with ctx. A channel that is closed
	// early ends the watch; the cache then polls.
	Watch(ctx context.Context, key string) (<-chan struct{}, error)
}

// Epocher is a [Store] that reports when it may have lost writes. Without it,
// the cache notices a Store that was emptied, and one whose notices were rolled
// back. It does not notice a failover that lost only a record.
type Epocher interface {
	// Epoch names the history of writes to key. It changes whenever
	// acknowledged writes may be lost: the server restarted, or a replica was
	// promoted. The cache asks once before it spends a refresh token.
	Epoch(ctx context.Context, key string) (string, error)
}
