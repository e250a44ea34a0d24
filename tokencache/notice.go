package tokencache

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// notices is one value in the Store by which replicas tell each other that
// tokens ended before their time, and notice that the Store was emptied.
type notices struct {
	Epoch string   `json:"e"` // drawn by whoever found the Store empty
	Seq   uint64   `json:"s"` // of the last item
	Items []notice `json:"i"`
}

// notice says that tokens of a record below a version are over.
type notice struct {
	ID      []byte `json:"id"`
	Version uint64 `json:"v"`
}

const (
	maxNotices  = 64
	noticeEvery = 2 * time.Second
	restorers   = 16
)

func (c *Cache) noticeKey() string { return c.sealer.name("n", c.digest("notices", "")) }

func (c *Cache) readNotices(ctx context.Context) (n notices, rev uint64, err error) {
	val, rev, err := c.fetch(ctx, c.noticeKey())
	if err == nil && rev != 0 && json.Unmarshal(val, &n) != nil {
		err = errFormat
	}
	return n, rev, err
}

// editNotices changes the notices, or creates them.
func (c *Cache) editNotices(ctx context.Context, edit func(*notices)) error {
	key := c.noticeKey()
	for range maxTurns {
		n, rev, err := c.readNotices(ctx)
		if err != nil {
			return err
		}
		if n.Epoch == "" {
			n.Epoch = rand.Text()
		}
		edit(&n)
		val, err := json.Marshal(n)
		if err != nil {
			return err
		}
		if val, err = c.sealer.seal(key, n.Seq, val); err != nil {
			return err
		}
		var next uint64
		err = c.budget(ctx, func(ctx context.Context) (err error) {
			next, err = c.o.Store.CAS(ctx, key, rev, val, keepRefresh)
			return err
		})
		if err != nil || next != 0 { // a notice given twice does no harm, so no reading back
			return err
		}
	}
	return errFormat
}

// announce tells the other replicas that tokens of k below version are over.
// They find out for themselves if it fails, later.
func (c *Cache) announce(ctx context.Context, k id, version uint64) {
	if c.o.Store == nil {
		return
	}
	err := c.editNotices(ctx, func(n *notices) {
		n.Seq++
		n.Items = append(n.Items, notice{k[:], version})
		n.Items = n.Items[max(0, len(n.Items)-maxNotices):]
	})
	if err != nil {
		c.o.Logger.Warn("tokencache: other replicas were not told of a superseded token", "error", err)
	}
}

// listen heeds notices until the cache ends.
func (c *Cache) listen() {
	defer close(c.deaf)
	var signal <-chan struct{}
	var seen notices
	for c.ctx.Err() == nil {
		if signal == nil && c.watcher != nil {
			signal, _ = c.watcher.Watch(c.ctx, c.noticeKey())
		}
		if n, rev, err := c.readNotices(c.ctx); err == nil {
			if rev == 0 {
				_ = c.editNotices(c.ctx, func(made *notices) { n = *made })
			}
			c.heed(&seen, n)
		}
		tick := time.NewTimer(noticeEvery)
		select {
		case _, ok := <-signal:
			if !ok {
				signal = nil
				<-tick.C
			}
		case <-tick.C:
		case <-c.ctx.Done():
		}
		tick.Stop()
	}
}

func (c *Cache) heed(seen *notices, n notices) {
	defer func() { *seen = n }()
	switch {
	case seen.Epoch == "":
		return
	case seen.Epoch != n.Epoch || n.Seq < seen.Seq:
		c.restore()
		return
	case n.Seq-seen.Seq > uint64(len(n.Items)): // some were missed
		c.table.each(func(e *entry) { c.outdate(e, ^uint64(0)) })
		return
	}
	for _, i := range n.Items[uint64(len(n.Items))-(n.Seq-seen.Seq):] {
		if len(i.ID) != len(id{}) {
			continue
		}
		if k := id(i.ID); c.table.find(&k) != nil {
			c.outdate(c.table.find(&k), i.Version)
		}
	}
}

// outdate stops serving e's token if it is below version, until the record has
// been read again.
func (c *Cache) outdate(e *entry, version uint64) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	st := e.cur.Load()
	if st == nil || st.tok.Version >= version || e.fl != nil && e.fl.saving {
		return
	}
	over := *st
	over.tok.AccessToken, over.wall, over.mono = "", 0, 0
	if over.tok.RefreshToken == "" {
		e.cur.Store(nil)
		return
	}
	e.cur.Store(&over)
}

// restore writes to an emptied Store what this process still knows. Others
// may know less, and must not spend a refresh token that has been replaced.
func (c *Cache) restore() {
	if c.mode == providers.Shared {
		return
	}
	work := make(chan *entry)
	var wg sync.WaitGroup
	for range restorers {
		wg.Go(func() {
			for e := range work {
				c.restoreOne(e)
			}
		})
	}
	c.table.each(func(e *entry) { work <- e })
	close(work)
	wg.Wait()
}

func (c *Cache) restoreOne(e *entry) {
	e.mu.Lock()
	var f *flight
	if e.fl == nil && e.cur.Load() != nil {
		f = c.start(e, job{kind: restore}, true)
	}
	e.mu.Unlock()
	if f != nil {
		<-f.done
	}
}
