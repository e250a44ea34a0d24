package tokencachetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
)

// TestEmptied tests what must hold when s loses its data, and returns every
// violation, joined: values are absent, an earlier revision is refused and does
// not come back, and fences rise over the loss. empty removes all that s keeps,
// as a restart of a server without its files does. It may take a moment in
// which calls may fail.
func TestEmptied(s tokencache.Store, empty func()) error {
	ctx, cancel := context.WithTimeout(context.Background(), minute)
	defer cancel()
	p := &probe{ctx: ctx, s: s, mu: new(sync.Mutex), seen: map[write]bool{}, key: "test/" + rand.Text()}
	p.locker, _ = s.(tokencache.Locker)
	var errs []error
	for round := range 3 {
		if err := p.emptied(empty); err != nil {
			errs = append(errs, fmt.Errorf("emptied %d times: %w", round+1, err))
		}
	}
	return errors.Join(errs...)
}

func (p *probe) emptied(empty func()) error {
	first, err := p.swap(0, "a")
	if err != nil {
		return err
	}
	last, err := p.swap(first, "b")
	if err != nil {
		return err
	}
	fence := uint64(0)
	if p.locker != nil {
		if fence, err = p.lock("a", minute/2, true); err != nil {
			return err
		}
	}
	time.Sleep(5 * time.Millisecond) // a clock makes fences rise
	empty()
	if err := until("the Store to come back", func() (bool, error) {
		_, _, err := p.s.Load(p.ctx, p.key)
		return err == nil, nil
	}); err != nil {
		return err
	}
	if err := errors.Join(p.holds(0, ""), p.refusedAll([]uint64{first, last}, "nothing is there")); err != nil {
		return err
	}
	again, err := p.swap(0, "c")
	if err != nil {
		return err
	}
	if err := p.refusedAll([]uint64{first, last}, "the key is there again"); err != nil {
		return err
	}
	if _, err := p.keySwap(p.key, again, "d", short); err != nil {
		return err
	}
	if p.locker != nil {
		next, err := p.lock("b", minute/2, true)
		if err == nil && next <= fence {
			err = fmt.Errorf("fence %d after %d", next, fence)
		}
		if err := errors.Join(err, p.unlock("b", true)); err != nil {
			return err
		}
	}
	return p.gone(p.key)
}
