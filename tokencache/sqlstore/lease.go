package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// fenceMemory is how long the fence of a lease is remembered after its end.
// After that only the database's clock makes fences rise.
const fenceMemory = time.Hour

func leaseName(key string) string { return "!" + key }

func leaseArgs(key, owner string, ttl time.Duration) args {
	return args{"name": leaseName(key), "key": key, "owner": owner, "ttl": millis(ttl), "keep": millis(ttl + fenceMemory)}
}

func checkLease(key, owner string, ttl time.Duration) error {
	switch {
	case ttl <= 0:
		return errTTL
	case !printable(key):
		return errKey
	case !printable(owner):
		return errOwner
	}
	return nil
}

// Lock implements [tokencache.Locker]. The lease is a row with an end by the
// database's clock. It occupies no connection and no transaction. A lease that
// begins in the future was taken before that clock was set back. It begins
// again and ends at most one ttl from now.
func (s *Store) Lock(ctx context.Context, key, owner string, ttl time.Duration) (fence uint64, err error) {
	if err := checkLease(key, owner, ttl); err != nil {
		return 0, err
	}
	a := leaseArgs(key, owner, ttl)
	var got int64
	err = s.call(ctx, true, func() (err error) {
		if s.say.lockNew != nil {
			got, err = s.lockInSteps(ctx, a)
			return err
		}
		err = s.db.QueryRowContext(ctx, s.say.lock.text, s.say.lock.args(a)...).Scan(&got)
		if errors.Is(err, sql.ErrNoRows) {
			got, err = 0, nil
		}
		return err
	})
	if err != nil {
		return 0, s.failed(ctx, "lock", err)
	}
	return uint64(max(got, 0)), nil
}

// lockInSteps is for MySQL, which returns nothing from an INSERT. One statement
// takes a lease that exists, a second makes one.
func (s *Store) lockInSteps(ctx context.Context, a args) (int64, error) {
	done, res, err := s.exec(ctx, s.say.lock, a)
	if err != nil {
		return 0, err
	}
	if done {
		return res.LastInsertId()
	}
	_, _, err = s.exec(ctx, s.say.lockNew, a)
	if _, k := s.dialect.codeOf(err); k == duplicate { // another owner holds it
		_, _, err = s.exec(ctx, s.say.restart, a)
		return 0, err
	}
	if err != nil {
		return 0, err
	}
	var fence int64
	err = s.db.QueryRowContext(ctx, s.say.fence.text, s.say.fence.args(a)...).Scan(&fence)
	if errors.Is(err, sql.ErrNoRows) { // it ended early and is held by another owner now
		return 0, nil
	}
	return fence, err
}

// Extend implements [tokencache.Locker].
func (s *Store) Extend(ctx context.Context, key, owner string, ttl time.Duration) (ok bool, err error) {
	if err := checkLease(key, owner, ttl); err != nil {
		return false, err
	}
	a := leaseArgs(key, owner, ttl)
	err = s.call(ctx, true, func() (err error) {
		ok, _, err = s.exec(ctx, s.say.extend, a)
		return err
	})
	return ok && err == nil, s.failed(ctx, "extend", err)
}

// Unlock implements [tokencache.Locker].
func (s *Store) Unlock(ctx context.Context, key, owner string) (ok bool, err error) {
	if err := checkLease(key, owner, 1); err != nil {
		return false, err
	}
	a := leaseArgs(key, owner, 1)
	err = s.call(ctx, true, func() (err error) {
		ok, _, err = s.exec(ctx, s.say.unlock, a)
		return err
	})
	if err != nil {
		return false, s.failed(ctx, "unlock", err)
	}
	if ok {
		s.watches.wake(key)
	}
	return ok, nil
}
