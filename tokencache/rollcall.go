package tokencache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

// confirm makes sure that the Store has lost nothing that a live replica knows.
// If it may have lost something, confirm makes every replica write back what it
// knows, waits for them, and returns true: the record must then be read again.
// If the bulletin is new, confirm waits until it is saveHeadStart old, so that
// live replicas can become members again. It always does so before a refresh
// token is spent. Before a generate it does so only if this replica has seen
// another bulletin.
func (h *replicas) confirm(ctx context.Context, key string, spend bool) (again bool, err error) {
	server := ""
	if h.epocher != nil {
		if server, err = try(ctx, h, func(ctx context.Context) (string, error) { return h.epocher.Epoch(ctx, key) }); err != nil {
			return false, err
		}
	}
	b, rev, err := h.readBulletin(ctx)
	if err != nil {
		return false, err
	}
	known := func(b *bulletin) bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		patient, ok := h.confirmed[b.Edition+"/"+server]
		return ok && (patient || !spend)
	}
	if rev != 0 && !h.rolledBack(&b) && known(&b) {
		return false, nil
	}
	// One roll call is for all attempts of this process.
	return h.confirms.Do(ctx, fmt.Sprint(spend, server), h.c.o.FetchTimeout, func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(h.c.ctx, cancel)() // Close cancels it
		return true, h.awaitRoll(ctx, server, spend)
	})
}

// awaitRoll calls the roll for server, unless another replica has done it, and
// waits until every member has written back what it knows.
func (h *replicas) awaitRoll(ctx context.Context, server string, spend bool) error {
	b, rev, err := h.readBulletin(ctx)
	if err != nil {
		return err
	}
	back := h.rolledBack(&b)
	roll, called := b.Rolls[server]
	if rev == 0 || back || !called {
		if roll, b, err = h.writeRoll(ctx, server); err != nil {
			return err
		}
	}
	patient := spend || h.replaced(&b)
	if patient {
		if err := h.awaitHeadStart(ctx, &b); err != nil {
			return err
		}
	}
	if err := h.awaitReceipts(ctx, roll, h.patience(true)); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.confirmed) > maxRolls {
		clear(h.confirmed)
	}
	h.confirmed[b.Edition+"/"+server] = patient || h.confirmed[b.Edition+"/"+server]
	return nil
}

// writeRoll writes a roll call into the bulletin and returns its number.
func (h *replicas) writeRoll(ctx context.Context, server string) (uint64, bulletin, error) {
	b, err := h.editBulletin(ctx, func(b *bulletin) {
		if _, called := b.Rolls[server]; called && !h.rolledBack(b) {
			return // another attempt was faster
		}
		h.renewEdition(b)
		if b.Rolls == nil || len(b.Rolls) >= maxRolls {
			b.Rolls = map[string]uint64{}
		}
		b.add(notice{})
		b.Rolls[server] = b.Seq
	})
	return b.Rolls[server], b, err
}

// callRoll makes every replica write back what the Store has lost.
func (h *replicas) callRoll(ctx context.Context) error {
	b, err := h.editBulletin(ctx, func(b *bulletin) { b.add(notice{}) })
	if err != nil {
		return err
	}
	return h.awaitReceipts(ctx, b.Seq, h.patience(false))
}

// restore writes in the background what the Store has lost and this process
// knows. Until that is done, this replica has read only up to before. If a
// restore is under way, it runs once more when it ends.
func (h *replicas) restore(before uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.restoring {
		h.again, h.restored = true, min(h.restored, before)
		return
	}
	h.restoring, h.restored = true, before
	h.tasks.Go(func() {
		for again := true; again; {
			h.restoreAll()
			h.mu.Lock()
			again, h.again = h.again, false
			h.restoring = again
			h.mu.Unlock()
		}
		h.wake()
	})
}

func (h *replicas) restoreAll() {
	c := h.c
	var wg sync.WaitGroup
	work := make(chan func())
	again := func(do func() error) { // a Store that has just come back may fail at first
		for wait := 50 * time.Millisecond; c.ctx.Err() == nil && do() != nil && sleep(c.ctx, wait) == nil; wait = min(2*wait, time.Second) {
		}
	}
	for range restorers {
		wg.Go(func() {
			for do := range work {
				do()
			}
		})
	}
	c.eachEntry(func(k id, e *entry) { work <- func() { again(func() error { return h.restoreEntry(&k, e) }) } })
	c.tombstones.each(func(k id, t tombstone) {
		if _, ok := c.find(&k); !ok {
			work <- func() { again(func() error { return c.storePurge(c.ctx, &k, t) }) }
		}
	})
	close(work)
	wg.Wait()
}

// restoreEntry writes k's record again if the Store has lost it. It first waits
// for an upstream call under way, because the record gets the result of the
// call only after it. It does not wait for a provider that ignores its context.
// A value that cannot be read is not lost.
func (h *replicas) restoreEntry(k *id, e *entry) error {
	c := h.c
	for {
		e.mu.Lock()
		own, a := e.record(), e.attempt
		calling := a != nil && a.calling && (!a.overdue || a.unsaved)
		if v := e.view.Load(); v != nil && v.overBelow > own.Token.Version {
			own.Token = providers.Token{}
		}
		e.mu.Unlock()
		if calling {
			select {
			case <-a.finished:
				continue
			case <-time.After(time.Second): // it may be overdue
				continue
			case <-c.ctx.Done():
				return c.ctx.Err()
			}
		}
		if own.Purges == 0 && (own.Empty() || c.rules.Mode == providers.Shared) {
			return nil
		}
		key := h.recordKey(k)
		stored, rev, err := h.read(c.ctx, key)
		if errors.Is(err, record.ErrFormat) {
			return nil
		}
		if err != nil {
			return err
		}
		r, change := record.Reconcile(stored, own, c.rules.Mode, c.wallNow())
		if !change.Lost {
			return nil
		}
		if next, err := h.write(c.ctx, key, rev, &r); err != nil || next != 0 {
			if err == nil {
				c.event(c.ctx, providers.Event{Kind: "store_lost"})
				c.restoreIndex(c.ctx, *k, &r)
			}
			return err
		}
	}
}
