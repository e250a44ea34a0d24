package tokencache

import (
	"context"
	"time"
)

// Store keeps records as bytes under string keys, for several processes. It
// is safe for concurrent use. Package tokencachetest proves an implementation.
//
// Every call is made with a context that ends within [Options].StoreTimeout;
// an error means that the outcome is unknown, and the cache reads back.
type Store interface {
	// Load returns the value and its revision. Revision 0 means that the key
	// is absent or has expired.
	Load(ctx context.Context, key string) (val []byte, rev uint64, err error)
	// CAS writes val if the key's revision is rev, 0 for an absent key, and
	// reports whether it did. The new revision is rev+1. The value expires
	// after ttl, which is positive.
	CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (ok bool, err error)
	// Delete removes the key, if present.
	Delete(ctx context.Context, key string) error
}

// Locker is a [Store] with leases. Without it, replicas that share a Store
// keep apart by intents alone, which needs clocks that agree to about a second.
type Locker interface {
	// Lock takes the lease on key for owner. The fence rises strictly from
	// one successful Lock of a key to the next; 0 means that another owner
	// holds the lease. The holder may Lock again, which extends the lease.
	Lock(ctx context.Context, key, owner string, ttl time.Duration) (fence uint64, err error)
	// Extend makes owner's lease end ttl from now; false if owner does not
	// hold it.
	Extend(ctx context.Context, key, owner string, ttl time.Duration) (ok bool, err error)
	// Unlock ends owner's lease; false if owner does not hold it.
	Unlock(ctx context.Context, key, owner string) (ok bool, err error)
}

// Watcher is a [Store] that tells of changes. Without it, the cache polls.
type Watcher interface {
	// Watch returns a channel that yields after a CAS, Delete or Unlock of
	// key that happens after Watch returned. Several changes may be one
	// signal and a signal may be lost. The watch ends with ctx.
	Watch(ctx context.Context, key string) (<-chan struct{}, error)
}
