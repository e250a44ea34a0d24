package tokencachetest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// lock checks that owner gets the lease, or with want false that it does not.
func (p *probe) lock(owner string, ttl time.Duration, want bool) (uint64, error) {
	fence, err := p.locker.Lock(p.ctx, p.key, owner, ttl)
	switch {
	case err != nil:
		return 0, fmt.Errorf("store: Lock by %s: %w", owner, err)
	case fence != 0 != want:
		return 0, fmt.Errorf("store: Lock by %s: fence %d, want one: %t", owner, fence, want)
	}
	return fence, nil
}

func (p *probe) locked(owner string, want bool) error {
	_, err := p.lock(owner, minute/2, want)
	return err
}

func (p *probe) extend(owner string, ttl time.Duration, want bool) error {
	ok, err := p.locker.Extend(p.ctx, p.key, owner, ttl)
	switch {
	case err != nil:
		return fmt.Errorf("store: Extend by %s: %w", owner, err)
	case ok != want:
		return fmt.Errorf("store: Extend by %s: %t, want %t", owner, ok, want)
	}
	return nil
}

func (p *probe) unlock(owner string, want bool) error {
	ok, err := p.locker.Unlock(p.ctx, p.key, owner)
	switch {
	case err != nil:
		return fmt.Errorf("store: Unlock by %s: %w", owner, err)
	case ok != want:
		return fmt.Errorf("store: Unlock by %s: %t, want %t", owner, ok, want)
	}
	return nil
}

func lease(p *probe) error {
	if p.locker == nil {
		return errNoLocker
	}
	neighbour := *p
	neighbour.key += "/neighbour"
	return errors.Join(
		p.extend("a", minute/2, false), p.unlock("a", false), // nobody holds it
		p.locked("a", true),
		p.locked("b", false), p.extend("b", minute/2, false), p.unlock("b", false),
		p.locked("b", false),                               // b's attempts changed nothing
		p.extend("a", minute/2, true), p.locked("a", true), // the holder again
		neighbour.locked("b", true),
		p.written("v"), // a lease guards by agreement, not by force
		p.unlock("a", true), p.unlock("a", false), p.extend("a", minute/2, false),
		p.locked("b", true), p.locked("a", false), p.unlock("a", false),
		p.unlock("b", true), neighbour.unlock("b", true),
	)
}

// written checks that a new key can be written.
func (p *probe) written(val string) error {
	rev, err := p.swap(0, val)
	return errors.Join(err, p.holds(rev, val))
}

// leaseEnds waits for a lease to expire, which takes it from its owner.
func leaseEnds(p *probe) error {
	if p.locker == nil {
		return errNoLocker
	}
	begun := time.Now()
	first, err := p.lock("a", short, true)
	if err != nil {
		return err
	}
	var second uint64
	err = until("a lease to expire", func() (bool, error) {
		second, err = p.locker.Lock(p.ctx, p.key, "b", minute/2)
		if err == nil && second != 0 && early(begun, short) {
			err = fmt.Errorf("a lease with a ttl of %v was given away after %v", short, time.Since(begun))
		}
		return second != 0, err
	})
	if err != nil {
		return err
	}
	if second <= first {
		err = fmt.Errorf("fence %d after %d, which had expired", second, first)
	}
	return errors.Join(err, p.extend("a", minute/2, false), p.unlock("a", false), p.locked("a", false), p.unlock("b", true))
}

// leaseExtended holds a lease past its first ttl, by Extend and by Lock.
func leaseExtended(p *probe) error {
	if p.locker == nil {
		return errNoLocker
	}
	for _, how := range []struct {
		name   string
		extend func() error
	}{
		{"Extend", func() error { return p.extend("a", minute/2, true) }},
		{"a Lock by the holder", func() error { return p.locked("a", true) }},
	} {
		var begun time.Time
		err := inTime(2*short, func() error {
			_, err := p.lock("a", 2*short, true)
			begun = time.Now()
			return errors.Join(err, how.extend())
		})
		if err != nil {
			return err
		}
		err = until("time to pass", func() (bool, error) { return time.Since(begun) > 3*short, p.locked("b", false) })
		if err != nil {
			return fmt.Errorf("after %s: %w", how.name, err)
		}
		if err := p.unlock("a", true); err != nil {
			return err
		}
	}
	return nil
}

// fence takes a lease many times, whatever happens in between.
func fence(p *probe) error {
	if p.locker == nil {
		return errNoLocker
	}
	last := uint64(0)
	for i := range 24 {
		var got uint64
		owner := fmt.Sprint("owner ", i%5)
		life := minute / 2
		if i%8 == 0 {
			life = 20 * time.Millisecond
		}
		err := until("a lease", func() (_ bool, err error) {
			got, err = p.locker.Lock(p.ctx, p.key, owner, life)
			return got != 0, err
		})
		if err != nil {
			return err
		}
		if got <= last {
			return fmt.Errorf("fence %d after %d", got, last)
		}
		last = got
		switch i % 4 {
		case 0: // expires, or else is taken again by its holder
			if life == minute/2 {
				if last, err = p.lock(owner, minute/2, true); err == nil && last <= got {
					err = fmt.Errorf("fence %d after %d for the holder again", last, got)
				}
				err = errors.Join(err, p.unlock(owner, true))
			}
		case 1:
			_, err = p.keySwap(p.key, 0, "v", 20*time.Millisecond) // the value ends, and the fence does not
			err = errors.Join(err, p.unlock(owner, true), p.gone(p.key))
		default:
			err = p.unlock(owner, true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// exclusion lets many owners take turns: one at a time, fences in their order.
func exclusion(p *probe) error {
	if p.locker == nil {
		return errNoLocker
	}
	const owners, turns = 8, 4
	var inside, last atomic.Uint64
	return together(owners, func(i int) error {
		owner := fmt.Sprint("owner ", i)
		for range turns {
			err := contended(func() (bool, error) {
				fence, err := p.locker.Lock(p.ctx, p.key, owner, minute/2)
				if err != nil || fence == 0 {
					return false, err
				}
				if n := inside.Add(1); n != 1 {
					return false, fmt.Errorf("%d owners hold one lease", n)
				}
				if was := last.Swap(fence); fence <= was {
					return false, fmt.Errorf("fence %d after %d", fence, was)
				}
				time.Sleep(time.Millisecond) // time for others to break in
				_, rev, err := p.s.Load(p.ctx, p.key)
				if err == nil {
					_, err = p.swap(rev, owner)
				}
				inside.Add(^uint64(0))
				return true, errors.Join(err, p.unlock(owner, true))
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}
