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
	err := errors.Join(p.refused(1, "x"), p.refused(7, "x"), p.holds(0, "")) // not over nothing
	if err != nil {
		return err
	}
	a, err := p.swap(0, "a")
	if err != nil {
		return err
	}
	err = errors.Join(p.holds(a, "a"), p.refused(0, "x"), p.refused(a+1, "x"), p.refused(a-1, "x"), p.holds(a, "a"))
	if err != nil {
		return err
	}
	b, err := p.swap(a, "b")
	if err != nil {
		return err
	}
	if err := errors.Join(p.holds(b, "b"), p.refused(a, "x"), p.holds(b, "b")); err != nil {
		return err
	}
	again, err := p.swap(b, "b") // the same bytes are a new revision too
	return errors.Join(err, p.holds(again, "b"), p.refused(b, "x"))
}

// revisions lets a key expire and be made again: what was read before the end
// must not be taken for what is there after it.
func revisions(p *probe) error {
	var earlier []uint64
	for life := range 3 {
		first, err := p.keySwap(p.key, 0, "a", minute)
		if err != nil {
			return err
		}
		if err := p.refusedAll(earlier, "life %d of the key", life+1); err != nil {
			return err
		}
		last, err := p.keySwap(p.key, first, "b", short)
		if err != nil {
			return err
		}
		earlier = append(earlier, first, last)
		if err := p.gone(p.key); err != nil {
			return err
		}
		if err := p.refusedAll(earlier, "the key expired"); err != nil {
			return err
		}
	}
	// A count that begins with each key begins again with an empty Store.
	seen := map[uint64]bool{}
	for i := range 8 {
		rev, err := p.keySwap(p.key+"/"+strconv.Itoa(i), 0, "a", minute)
		if err != nil {
			return err
		}
		if seen[rev] {
			return fmt.Errorf("store: two new keys have the revision %d: what begins again with a key begins again with an empty Store", rev)
		}
		seen[rev] = true
	}
	return nil
}

func (p *probe) refusedAll(revs []uint64, when string, args ...any) error {
	for _, rev := range revs {
		if err := p.refused(rev, "x"); err != nil {
			return fmt.Errorf(when+": an earlier revision: %w", append(args, err)...)
		}
	}
	return nil
}

// oneWins lets many writers go at one revision, with equal bytes too.
func oneWins(p *probe) error {
	const rounds, writers = 20, 8
	rev := uint64(0)
	for round := range rounds {
		val := func(w int) string { return strconv.Itoa(round*writers + w*(round%2)) }
		var won atomic.Int64
		var next atomic.Uint64
		winner := make([]string, writers)
		err := together(writers, func(w int) error {
			got, err := p.s.CAS(p.ctx, p.key, rev, []byte(val(w)), minute)
			if got != 0 {
				won.Add(1)
				next.Store(got)
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
		rev = next.Load()
		if err := p.holds(rev, strings.Join(winner, "")); err != nil {
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
			err := contended(func() (bool, error) {
				val, rev, err := p.s.Load(p.ctx, p.key)
				if err != nil {
					return false, err
				}
				n, _ := strconv.Atoi(string(val))
				next, err := p.s.CAS(p.ctx, p.key, rev, []byte(strconv.Itoa(n+1)), minute)
				return next != 0, err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	val, _, err := p.s.Load(p.ctx, p.key)
	if err == nil && string(val) != strconv.Itoa(writers*each) {
		err = fmt.Errorf("%d additions by %d writers left %s", writers*each, writers, brief(val))
	}
	return err
}

// lostReplies cuts calls short at every point and reads what they did. A call
// that failed may still be on its way and happen after the reading.
func lostReplies(p *probe) error {
	last, rev := "", uint64(0)
	late := map[string]bool{} // values of calls that failed at rev
	for i := range 60 {
		next := fmt.Sprint("value ", i)
		ctx, cancel := context.WithTimeout(p.ctx, time.Duration(i)*25*time.Microsecond)
		got, err := p.s.CAS(ctx, p.key, rev, []byte(next), minute)
		cancel()
		if err == nil && got == 0 && len(late) == 0 {
			return fmt.Errorf("store: CAS at revision %d: refused, although there is no other writer", rev)
		}
		late[next] = err != nil
		val, at, loadErr := p.s.Load(p.ctx, p.key)
		switch {
		case loadErr != nil:
			return fmt.Errorf("store: Load after a CAS that was cut short: %w", loadErr)
		case err == nil && got != 0 && at == got && string(val) == next:
		case at != 0 && at != rev && late[string(val)]:
		case at == rev && string(val) == last && err != nil:
		default:
			return fmt.Errorf("a CAS at revision %d that returned %d, %v left %s at revision %d", rev, got, err, brief(val), at)
		}
		if at != rev {
			last, rev = string(val), at
			clear(late)
		}
		if i%2 == 0 {
			continue
		}
		got, err = p.s.CAS(p.ctx, p.key, rev, []byte("settled"), minute)
		if err != nil {
			return fmt.Errorf("store: CAS: %w", err)
		}
		if got != 0 {
			last, rev = "settled", got
		} else if val, rev, err = p.s.Load(p.ctx, p.key); err != nil {
			return fmt.Errorf("store: Load: %w", err)
		} else {
			last = string(val)
		}
		clear(late)
	}
	return p.holds(rev, last)
}

func ttl(p *probe) error {
	begun := time.Now()
	first, err := p.keySwap(p.key, 0, "a", short)
	if err != nil {
		return err
	}
	other := p.key + "/renewed"
	var otherRev uint64
	err = inTime(short, func() (err error) {
		if otherRev, err = p.keySwap(other, 0, "a", short); err == nil {
			otherRev, err = p.keySwap(other, otherRev, "b", minute)
		}
		return err
	})
	if err != nil {
		return err
	}
	err = until("a value to expire", func() (bool, error) {
		_, rev, err := p.s.Load(p.ctx, p.key)
		if err == nil && rev == 0 && early(begun, short) {
			err = fmt.Errorf("a value with a ttl of %v was gone after %v", short, time.Since(begun))
		}
		return rev == 0, err
	})
	if err != nil {
		return err
	}
	if err := p.refused(first, "x"); err != nil { // absent, as if never there
		return err
	}
	again, err := p.swap(0, "c")
	return errors.Join(err, p.holds(again, "c"), p.keyHolds(other, otherRev, "b")) // the last CAS says how long
}

// ended makes every call with a context that has ended.
func ended(p *probe) error {
	rev, err := p.swap(0, "a")
	if err != nil {
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
	_, _, err = p.s.Load(ctx, p.key)
	refused("Load", err)
	_, err = p.s.CAS(ctx, p.key, rev, []byte("x"), minute)
	refused("CAS", err)
	errs = append(errs, p.holds(rev, "a"))
	if p.locker == nil {
		return errors.Join(errs...)
	}
	_, err = p.locker.Lock(ctx, p.key, "a", short)
	refused("Lock", err)
	_, lockErr := p.lock("b", minute/2, true)
	errs = append(errs, lockErr)
	_, err = p.locker.Extend(ctx, p.key, "b", short)
	refused("Extend", err)
	_, err = p.locker.Unlock(ctx, p.key, "b")
	refused("Unlock", err)
	return errors.Join(append(errs, p.unlock("b", true))...)
}

// keys tells keys apart that a cache makes: letters of both cases, digits,
// "-", "_" and "/", up to 64 bytes.
func keys(p *probe) error {
	odd := []string{"a", "A", "b", "B", "-", "_", "/", "//", "a/b", "a_b", "a-b", "0", "00", "k", "K", "lease", "/lease"}
	odd = append(odd, strings.Repeat("x", 64-len(p.key)), strings.Repeat("X", 64-len(p.key)))
	var errs []error
	revs := make([]uint64, len(odd))
	for i, k := range odd {
		rev, err := p.keySwap(p.key+k, 0, fmt.Sprint(i), minute)
		revs[i] = rev
		if err != nil {
			errs = append(errs, fmt.Errorf("key …%s: %w", k, err))
		}
	}
	for i, k := range odd {
		if err := p.keyHolds(p.key+k, revs[i], fmt.Sprint(i)); err != nil {
			errs = append(errs, fmt.Errorf("key …%s: %w", k, err))
		}
	}
	if p.locker == nil || len(errs) > 0 {
		return errors.Join(errs...)
	}
	for i, k := range odd {
		q := *p
		q.key += k
		if err := q.locked(fmt.Sprint("owner ", i), true); err != nil {
			errs = append(errs, fmt.Errorf("key …%s: %w", k, err))
		}
	}
	return errors.Join(errs...)
}

func values(p *probe) error {
	large := make([]byte, 1<<20)
	for i := range large {
		large[i] = byte(i ^ i>>8 ^ i>>16)
	}
	rev := uint64(0)
	for _, v := range []string{"", "\x00", "\r\n", "\xff\xfe\x00{\"", string(large), "a", ""} {
		next, err := p.swap(rev, v)
		if err := errors.Join(err, p.holds(next, v)); err != nil {
			return err
		}
		rev = next
	}
	return nil
}

// isolation changes slices after they were given and after they were got.
func isolation(p *probe) error {
	val := []byte("value")
	rev, err := p.s.CAS(p.ctx, p.key, 0, val, minute)
	if err != nil || rev == 0 {
		return fmt.Errorf("store: CAS of a new key: %d, %w", rev, err)
	}
	copy(val, "XXXXX")
	if err := p.holds(rev, "value"); err != nil {
		return fmt.Errorf("after the written slice was changed: %w", err)
	}
	got, _, err := p.s.Load(p.ctx, p.key)
	if err != nil {
		return fmt.Errorf("store: Load: %w", err)
	}
	copy(got, "XXXXX")
	_ = append(got, "more"...)
	if err := p.holds(rev, "value"); err != nil {
		return fmt.Errorf("after the loaded slice was changed: %w", err)
	}
	return nil
}

// epoch reads the name of the Store's history of writes, which must not change
// during a case.
func epoch(p *probe) error {
	if p.epocher == nil {
		return errNoEpocher
	}
	first, err := p.epocher.Epoch(p.ctx, p.key)
	if err == nil && first == "" {
		err = errors.New("no name")
	}
	if err != nil {
		return fmt.Errorf("store: Epoch: %w", err)
	}
	rev, err := p.swap(0, "a")
	if err != nil {
		return err
	}
	if _, err := p.swap(rev, "b"); err != nil {
		return err
	}
	if again, err := p.epocher.Epoch(p.ctx, p.key); err != nil || again != first {
		return fmt.Errorf("store: Epoch: %q after %q although nothing was lost, %w", again, first, err)
	}
	ctx, cancel := context.WithCancel(p.ctx)
	cancel()
	if _, err := p.epocher.Epoch(ctx, p.key); err == nil {
		return errors.New("Epoch with a context that has ended: no error")
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
