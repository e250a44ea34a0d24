package tokencachetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func absent(p *probe) error { return p.holds(0, "") }

func cas(p *probe) error {
	return errors.Join(
		p.swap(1, "x", false), p.swap(7, "x", false), p.holds(0, ""), // not over nothing
		p.swap(0, "a", true), p.holds(1, "a"),
		p.swap(0, "x", false), p.swap(2, "x", false), p.holds(1, "a"),
		p.swap(1, "b", true), p.holds(2, "b"),
		p.swap(1, "x", false), p.holds(2, "b"),
		p.swap(2, "b", true), p.holds(3, "b"), // the same bytes are a new revision too
	)
}

func remove(p *probe) error {
	return errors.Join(
		p.delete(), // absent
		p.swap(0, "a", true), p.swap(1, "b", true),
		p.delete(), p.holds(0, ""),
		p.swap(2, "x", false), p.holds(0, ""),
		p.swap(0, "c", true), p.holds(1, "c"),
	)
}

// oneWins lets many writers go at one revision, with equal bytes too.
func oneWins(p *probe) error {
	const rounds, writers = 20, 8
	for rev := range uint64(rounds) {
		val := func(w int) string { return strconv.Itoa(int(rev)*writers + w*int(rev%2)) }
		var won atomic.Int64
		winner := make([]string, writers)
		err := together(writers, func(w int) error {
			ok, err := p.s.CAS(p.ctx, p.key, rev, []byte(val(w)), minute)
			if ok {
				won.Add(1)
				winner[w] = val(w)
			}
			return err
		})
		if err != nil {
			return err
		}
		if n := won.Load(); n != 1 {
			return fmt.Errorf("%d of %d concurrent CAS at revision %d succeeded, want 1", n, writers, rev)
		}
		if err := p.holds(rev+1, strings.Join(winner, "")); err != nil {
			return fmt.Errorf("after concurrent CAS: %w", err)
		}
	}
	return nil
}

// counter adds by many writers: none may be lost.
func counter(p *probe) error {
	const writers, each = 8, 10
	err := together(writers, func(int) error {
		for range each {
			err := until("a CAS that finds its revision", func() (bool, error) {
				val, rev, err := p.s.Load(p.ctx, p.key)
				if err != nil {
					return false, err
				}
				n, _ := strconv.Atoi(string(val))
				return p.s.CAS(p.ctx, p.key, rev, []byte(strconv.Itoa(n+1)), minute)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, p.holds(writers*each, strconv.Itoa(writers*each)))
}

// lostReplies cuts calls short at every point, and reads back what they did.
func lostReplies(p *probe) error {
	last, rev := "", uint64(0)
	for i := range 60 {
		next := fmt.Sprint("value ", i)
		ctx, cancel := context.WithTimeout(p.ctx, time.Duration(i)*25*time.Microsecond)
		ok, err := p.s.CAS(ctx, p.key, rev, []byte(next), minute)
		cancel()
		if err == nil && !ok {
			return fmt.Errorf("store: CAS at revision %d: refused, although nobody else writes", rev)
		}
		// One that failed may still be on its way: the next CAS cannot tell, so
		// neither outcome may be lost to it.
		val, at, loadErr := p.s.Load(p.ctx, p.key)
		switch {
		case loadErr != nil:
			return fmt.Errorf("store: Load after a CAS that was cut short: %w", loadErr)
		case at == rev+1 && string(val) == next:
			last, rev = next, at
		case at == rev && string(val) == last && err != nil:
		default:
			return fmt.Errorf("a CAS at revision %d that returned %t, %v left %s at revision %d", rev, ok, err, brief(val), at)
		}
		if i%2 == 0 {
			continue
		}
		ok, err = p.s.CAS(p.ctx, p.key, rev, []byte("settled"), minute)
		if err != nil {
			return fmt.Errorf("store: CAS: %w", err)
		}
		if ok {
			last, rev = "settled", rev+1
		} else if val, rev, err = p.s.Load(p.ctx, p.key); err != nil {
			return fmt.Errorf("store: Load: %w", err)
		} else {
			last = string(val)
		}
	}
	return p.holds(rev, last)
}

func ttl(p *probe) error {
	begun := time.Now()
	if err := p.keySwap(p.key, 0, "a", short, true); err != nil {
		return err
	}
	other := p.key + "/renewed"
	if err := errors.Join(p.keySwap(other, 0, "a", short, true), p.keySwap(other, 1, "b", minute, true)); err != nil {
		return err
	}
	err := until("a value to expire", func() (bool, error) {
		_, rev, err := p.s.Load(p.ctx, p.key)
		if err == nil && rev == 0 && early(begun, short) {
			err = fmt.Errorf("a value with a ttl of %v was gone after %v", short, time.Since(begun))
		}
		return rev == 0, err
	})
	if err != nil {
		return err
	}
	return errors.Join(
		p.swap(1, "x", false), p.swap(0, "c", true), p.holds(1, "c"), // absent, as if never there
		p.keyHolds(other, 2, "b"), // the last CAS says how long
	)
}

// ended makes every call with a context that has ended.
func ended(p *probe) error {
	if err := p.swap(0, "a", true); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(p.ctx)
	cancel()
	var errs []error
	refused := func(call string, err error) {
		if err == nil {
			errs = append(errs, fmt.Errorf("%s with a context that has ended: no error", call))
		}
	}
	_, _, err := p.s.Load(ctx, p.key)
	refused("Load", err)
	_, err = p.s.CAS(ctx, p.key, 1, []byte("x"), minute)
	refused("CAS", err)
	refused("Delete", p.s.Delete(ctx, p.key))
	errs = append(errs, p.holds(1, "a"))
	if p.locker == nil {
		return errors.Join(errs...)
	}
	_, err = p.locker.Lock(ctx, p.key, "a", short)
	refused("Lock", err)
	_, lockErr := p.lock("b", short, true)
	errs = append(errs, lockErr)
	_, err = p.locker.Extend(ctx, p.key, "b", short)
	refused("Extend", err)
	_, err = p.locker.Unlock(ctx, p.key, "b")
	refused("Unlock", err)
	return errors.Join(append(errs, p.unlock("b", true))...)
}

func keys(p *probe) error {
	var all []byte
	for b := range 256 {
		all = append(all, byte(b))
	}
	odd := []string{
		"", " ", "\n", "\x00", "a\x00", "a\x00b", "\xff\xfe", "é", "e\u0301", "K", "k", "{", "}", "{}", "{a}", "a}b{c", "*", "?", "[a]", "%00", "../",
		"':lease", "}:lease", ":lease", string(all), strings.Repeat("long", 256),
	}
	var errs []error
	for i, k := range odd {
		errs = append(errs, p.keySwap(p.key+k, 0, fmt.Sprint(i), minute, true))
	}
	for i, k := range odd {
		if err := p.keyHolds(p.key+k, 1, fmt.Sprint(i)); err != nil {
			errs = append(errs, fmt.Errorf("key …%s: %w", brief([]byte(k)), err))
		}
	}
	return errors.Join(errs...)
}

func values(p *probe) error {
	large := make([]byte, 1<<20)
	for i := range large {
		large[i] = byte(i ^ i>>8 ^ i>>16)
	}
	var errs []error
	for i, v := range []string{"", "\x00", "\r\n", "\xff\xfe\x00{\"", string(large), "a", ""} {
		errs = append(errs, p.swap(uint64(i), v, true), p.holds(uint64(i)+1, v))
	}
	return errors.Join(errs...)
}

// isolation changes slices after they were given and after they were got.
func isolation(p *probe) error {
	val := []byte("value")
	if ok, err := p.s.CAS(p.ctx, p.key, 0, val, minute); err != nil || !ok {
		return fmt.Errorf("store: CAS: %t, %w", ok, err)
	}
	copy(val, "XXXXX")
	if err := p.holds(1, "value"); err != nil {
		return fmt.Errorf("after the written slice was changed: %w", err)
	}
	got, _, err := p.s.Load(p.ctx, p.key)
	if err != nil {
		return fmt.Errorf("store: Load: %w", err)
	}
	copy(got, "XXXXX")
	_ = append(got, "more"...)
	if err := p.holds(1, "value"); err != nil {
		return fmt.Errorf("after the loaded slice was changed: %w", err)
	}
	return nil
}

// together runs n calls at once and joins their errors.
func together(n int, call func(i int) error) error {
	errs := make([]error, n)
	gate := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-gate
			errs[i] = call(i)
		})
	}
	close(gate)
	wg.Wait()
	return errors.Join(errs...)
}
