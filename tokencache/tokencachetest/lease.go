package tokencachetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
)

func checkLease(ctx context.Context, s tokencache.Store) error {
	l, ok := s.(tokencache.Locker)
	if !ok {
		return errMissing
	}
	key := newKey()
	if fence, err := l.Lock(ctx, key, "a", long); err != nil || fence == 0 {
		return fmt.Errorf("store: Lock of a free key: fence %d, %v", fence, err)
	}
	if fence, err := l.Lock(ctx, key, "b", long); err != nil || fence != 0 {
		return fmt.Errorf("store: Lock of a key that another owner holds: fence %d, %v", fence, err)
	}
	if fence, err := l.Lock(ctx, key, "a", long); err != nil || fence == 0 {
		return fmt.Errorf("store: Lock by the holder itself: fence %d, %v", fence, err)
	}
	if ok, err := l.Extend(ctx, key, "a", long); err != nil || !ok {
		return fmt.Errorf("store: Extend by the holder: %v, %v", ok, err)
	}
	if ok, err := l.Unlock(ctx, key, "a"); err != nil || !ok {
		return fmt.Errorf("store: Unlock by the holder: %v, %v", ok, err)
	}
	if ok, err := l.Extend(ctx, key, "a", long); err != nil || ok {
		return fmt.Errorf("store: Extend of a lease that has ended: %v, %v", ok, err)
	}
	if fence, err := l.Lock(ctx, key, "b", short); err != nil || fence == 0 {
		return fmt.Errorf("store: Lock after Unlock: fence %d, %v", fence, err)
	}
	if err := eventually(ctx, func() (bool, error) {
		fence, err := l.Lock(ctx, key, "c", long)
		return fence != 0, err
	}); err != nil {
		return fmt.Errorf("a lease outlives its ttl of %v: %w", short, err)
	}
	return nil
}

func checkNonOwner(ctx context.Context, s tokencache.Store) error {
	l, ok := s.(tokencache.Locker)
	if !ok {
		return errMissing
	}
	key := newKey()
	if fence, err := l.Lock(ctx, key, "a", long); err != nil || fence == 0 {
		return fmt.Errorf("store: Lock: fence %d, %v", fence, err)
	}
	if ok, err := l.Extend(ctx, key, "b", long); err != nil || ok {
		return fmt.Errorf("store: Extend by another owner: %v, %v", ok, err)
	}
	if ok, err := l.Unlock(ctx, key, "b"); err != nil || ok {
		return fmt.Errorf("store: Unlock by another owner: %v, %v", ok, err)
	}
	if fence, err := l.Lock(ctx, key, "b", long); err != nil || fence != 0 {
		return fmt.Errorf("another owner's Unlock ended the lease: fence %d, %v", fence, err)
	}
	return nil
}

// checkFence locks in every way that a key can come free.
func checkFence(ctx context.Context, s tokencache.Store) error {
	l, ok := s.(tokencache.Locker)
	if !ok {
		return errMissing
	}
	key, last := newKey(), uint64(0)
	lock := func(after, owner string, ttl time.Duration) error {
		var fence uint64
		err := eventually(ctx, func() (_ bool, err error) {
			fence, err = l.Lock(ctx, key, owner, ttl)
			return fence != 0, err
		})
		if err != nil {
			return fmt.Errorf("store: Lock after %s: %w", after, err)
		}
		if fence <= last {
			return fmt.Errorf("after %s the fence went from %d to %d", after, last, fence)
		}
		last = fence
		return nil
	}
	for range 3 {
		if err := lock("nothing", "a", long); err != nil {
			return err
		}
		if err := lock("a Lock by the holder", "a", long); err != nil {
			return err
		}
		_, err := l.Unlock(ctx, key, "a")
		if err := errors.Join(err, lock("Unlock", "b", short)); err != nil {
			return err
		}
		if err := errors.Join(lock("expiry", "c", long), s.Delete(ctx, key)); err != nil {
			return err
		}
		_, err = l.Unlock(ctx, key, "c")
		if err := errors.Join(err, lock("Delete and Unlock", "d", short)); err != nil {
			return err
		}
	}
	return nil
}

func checkOneHolder(ctx context.Context, s tokencache.Store) error {
	l, ok := s.(tokencache.Locker)
	if !ok {
		return errMissing
	}
	key := newKey()
	var inside holders
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for n := range 8 {
		wg.Go(func() {
			owner := fmt.Sprint("owner ", n)
			for done := 0; done < 10; {
				fence, err := l.Lock(ctx, key, owner, long)
				if err != nil {
					errs <- err
					return
				}
				if fence == 0 {
					continue
				}
				done++
				inside.enter()
				time.Sleep(time.Millisecond) // time for another to break in
				_, rev, err := s.Load(ctx, key)
				ok, casErr := s.CAS(ctx, key, rev, []byte(owner), long)
				inside.now.Add(-1)
				_, unlockErr := l.Unlock(ctx, key, owner)
				if err := errors.Join(err, casErr, unlockErr); err != nil {
					errs <- err
					return
				}
				if !ok {
					errs <- errors.New("a value changed under its lease")
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	if err := <-errs; err != nil {
		return err
	}
	if n := inside.most.Load(); n != 1 {
		return fmt.Errorf("%d held the lease at once", n)
	}
	return nil
}

func checkWatch(ctx context.Context, s tokencache.Store) error {
	w, ok := s.(tokencache.Watcher)
	if !ok {
		return errMissing
	}
	key := newKey()
	signal, err := w.Watch(ctx, key)
	if err != nil {
		return fmt.Errorf("store: Watch: %w", err)
	}
	told := func(what string) error {
		select {
		case _, ok := <-signal:
			if ok {
				return nil
			}
			return errors.New("the watch ended early")
		case <-ctx.Done():
			return fmt.Errorf("no signal after %s", what)
		}
	}
	if ok, err := s.CAS(ctx, key, 0, []byte("x"), long); err != nil || !ok {
		return fmt.Errorf("store: CAS: %v, %v", ok, err)
	}
	if err := told("CAS"); err != nil {
		return err
	}
	if err := errors.Join(s.Delete(ctx, key), told("Delete")); err != nil {
		return err
	}
	if l, ok := s.(tokencache.Locker); ok {
		if fence, err := l.Lock(ctx, key, "a", long); err != nil || fence == 0 {
			return fmt.Errorf("store: Lock: fence %d, %v", fence, err)
		}
		if _, err := l.Unlock(ctx, key, "a"); err != nil {
			return err
		}
		if err := told("Unlock"); err != nil {
			return err
		}
	}
	return nil
}
