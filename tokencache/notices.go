package tokencache

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/internal/flight"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

// bulletin is one value in the Store. Replicas write in it that tokens have
// ended early, and detect by it that the Store has lost writes. Each member
// writes under a separate key how far it has read.
type bulletin struct {
	Edition string   `json:"e"` // random, chosen by the replica that found the Store empty
	Born    int64    `json:"b"` // when the replica did so, in Unix milliseconds
	Seq     uint64   `json:"s"` // of the last notice
	Notices []notice `json:"i,omitempty"`
	Members []string `json:"m,omitempty"`
	// Rolls are the sequence numbers of the roll calls, by epoch of the server.
	Rolls map[string]uint64 `json:"r,omitempty"`
}

// notice says that tokens of a record below a version have ended. With Purges
// the grant was signed out. A notice without an ID is a roll call: every member
// writes back what the Store has lost.
type notice struct {
	ID      []byte `json:"id,omitempty"`
	Version uint64 `json:"v,omitempty"`
	Purges  uint64 `json:"p,omitempty"`
	Ends    int64  `json:"x,omitempty"` // Unix seconds, see record.Record.Ends
	// Ended are the last refresh tokens that the sign-out ended, one digest
	// after the other: a replica that never had the grant restores them too.
	Ended []byte `json:"d,omitempty"`
}

const (
	maxNotices  = 256
	maxRolls    = 64
	noticeEvery = 2 * time.Second
	// memberTTL is how long a member counts without a new receipt.
	memberTTL = 6 * time.Second
	restorers = 16
	// keepBulletin is how long the bulletin outlives the last member.
	keepBulletin = 30 * 24 * time.Hour
)

// news is a replica's part in the bulletin.
type news struct {
	server    string        // the epoch of the bulletin's server; only listen uses it
	ready     chan struct{} // closed after the first look
	readyOnce sync.Once
	kick      chan struct{}  // wakes listen
	writing   chan struct{}  // held while notices are written
	tasks     sync.WaitGroup // what listen has started; Close waits for it

	signed moment // before the last receipt was written; only listen uses it

	lookBy struct{ wall, mono atomic.Int64 } // see informed

	mu         sync.Mutex
	looks      looks
	looked     chan struct{} // closed and replaced after each look
	seen       bulletin
	member     bool               // this replica has been a member
	first      string             // the first edition that this replica saw
	restoring  bool               // a restore is under way
	again      bool               // the restore must be done once more
	restored   uint64             // the sequence number before it
	receiptRev uint64             // revision of our own receipt
	outbox     []*draft           // notices that are not written yet
	confirmed  map[string]bool    // by edition of the bulletin and epoch of the server; whether new members were waited for
	confirms   flight.Group[bool] // by spend and server
}

// looks are the numbers of the last looks: one that has begun, one that has
// ended, and one that has read the bulletin. The first look is number 1.
type looks struct{ begun, ended, read uint64 }

// draft is a notice on its way into the bulletin.
type draft struct {
	notice
	seq atomic.Uint64 // 0: not written yet
}

func (n *news) init() {
	n.ready, n.kick, n.writing = make(chan struct{}), make(chan struct{}, 1), make(chan struct{}, 1)
	n.confirmed, n.looked = map[string]bool{}, make(chan struct{})
}

var (
	errEdition   = errors.New("tokencache: the store was emptied meanwhile")
	errContended = errors.New("tokencache: another process writes this replica's receipt")
)

func (h *replicas) bulletinKey() string { return h.sealer.name("n", h.c.digest("notices", "")) }

func (h *replicas) readBulletin(ctx context.Context) (b bulletin, rev uint64, err error) {
	v, err := h.fetch(ctx, h.bulletinKey())
	if err == nil && v.rev != 0 && json.Unmarshal(v.bytes, &b) != nil {
		err = record.ErrFormat
	}
	return b, v.rev, err
}

// editBulletin changes the bulletin, or makes it. If other replicas are faster,
// it retries until ctx ends. It stops at the first error of the Store.
func (h *replicas) editBulletin(ctx context.Context, edit func(*bulletin)) (bulletin, error) {
	for {
		b, rev, err := h.readBulletin(ctx)
		if err != nil && !errors.Is(err, record.ErrFormat) {
			return b, err
		}
		if b.Edition == "" {
			b = bulletin{Edition: rand.Text()[:12], Born: h.c.wallNow().UnixMilli()}
		}
		edit(&b)
		val, err := json.Marshal(b)
		if err != nil {
			return b, err
		}
		next, err := h.cas(ctx, h.bulletinKey(), rev, b.Seq, val, keepBulletin)
		if err != nil || next != 0 { // a notice that is written twice does no harm, so it need not be read back
			return b, err
		}
		// The pause is random, so that several writers do not meet again.
		if err := sleep(ctx, time.Duration(1+h.c.jitter()*20)*time.Millisecond); err != nil {
			return b, err
		}
	}
}

func (b *bulletin) add(n notice) {
	b.Seq++
	b.Notices = append(b.Notices, n)
	b.Notices = b.Notices[max(0, len(b.Notices)-maxNotices):]
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// listen reads the bulletin until the cache ends.
func (h *replicas) listen() {
	defer close(h.left)
	ctx := h.c.ctx
	defer h.leave()
	var signal <-chan struct{}
	next := h.c.since() // when the bulletin may be watched again
	for ctx.Err() == nil {
		if signal == nil && h.watcher != nil && h.c.since() >= next {
			next = h.c.since() + noticeEvery
			signal, _ = h.watch(ctx, h.bulletinKey())
		}
		h.look(ctx)
		tick := time.NewTimer(noticeEvery)
		select {
		case _, ok := <-signal:
			if !ok {
				signal = nil
			}
		case <-h.kick:
		case <-tick.C:
		case <-ctx.Done():
		}
		tick.Stop()
	}
}

// look reads the bulletin, applies it, and writes a receipt. If the last receipt
// may have ended, look writes one before and reads again: then a sign-out
// elsewhere either waits for this replica, or its notice is already there.
func (h *replicas) look(ctx context.Context) {
	defer h.readyOnce.Do(func() { close(h.ready) })
	number, read := h.beginLook(), false
	defer func() { h.endLook(number, read) }()
	begun := h.c.now()
	b, rev, err := h.readBulletin(ctx)
	unsigned := begun.mono-h.signed.mono >= int64(memberTTL) || begun.wall-h.signed.wall >= int64(memberTTL)
	if err == nil && unsigned && h.sign(ctx) == nil {
		b, rev, err = h.readBulletin(ctx)
	}
	switch {
	case errors.Is(err, record.ErrFormat): // any token may have ended
		h.outdateAll()
		read = true
		return
	case err != nil:
		h.serveWithoutStore(begun)
		return
	}
	read = true
	b, err = h.join(ctx, b, rev)
	if b.Edition != "" {
		h.follow(b)
	}
	if err != nil {
		return
	}
	h.lookAtServer(ctx)
	if h.sign(ctx) == nil {
		h.inform(begun)
	}
	_ = h.flush(ctx)
	h.c.retryPurges(ctx)
}

// serveWithoutStore lets this replica serve valid tokens although a look, which
// began at begun, could not read the bulletin. It does not if the look took so
// long that this process may have been stopped meanwhile.
func (h *replicas) serveWithoutStore(begun moment) {
	long := int64(min(memberTTL/2, 2*h.c.o.StoreTimeout+time.Second))
	if now := h.c.now(); now.mono-begun.mono < long && now.wall-begun.wall < long {
		h.inform(begun)
	}
}

// join makes this replica a member in b, which was just read, and gives b
// another edition if it was rolled back. If the Store does not take that, join
// returns b as it was read, and the error.
func (h *replicas) join(ctx context.Context, b bulletin, rev uint64) (bulletin, error) {
	if rev == 0 || !slices.Contains(b.Members, h.replica) || h.rolledBack(&b) {
		next, err := h.editBulletin(ctx, func(b *bulletin) {
			h.renewEdition(b)
			if !slices.Contains(b.Members, h.replica) {
				b.Members = append(b.Members, h.replica)
			}
		})
		if err != nil {
			return b, err
		}
		b = next
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.member = true
	return b, nil
}

// lookAtServer restores what the Store may have lost if its server has changed.
// Work that spends a refresh token checks the server itself, see confirm.
func (h *replicas) lookAtServer(ctx context.Context) {
	if h.epocher == nil {
		return
	}
	server, err := try(ctx, h, func(ctx context.Context) (string, error) { return h.epocher.Epoch(ctx, h.bulletinKey()) })
	if err != nil {
		return
	}
	if h.server != "" && h.server != server {
		h.mu.Lock()
		seq := h.seen.Seq
		h.mu.Unlock()
		h.restore(seq)
	}
	h.server = server
}

// rolledBack reports whether b has lost notices that this replica has read.
func (h *replicas) rolledBack(b *bulletin) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen.Edition == b.Edition && b.Seq < h.seen.Seq
}

// renewEdition makes every replica notice that b was rolled back. Otherwise its
// numbers would soon be higher than those that the replicas have read.
func (h *replicas) renewEdition(b *bulletin) {
	if h.rolledBack(b) {
		b.Edition, b.Born = rand.Text()[:12], h.c.wallNow().UnixMilli()
	}
}

// awaitJoin waits for the end of the first look. This replica is then a member,
// or the Store was away.
func (h *replicas) awaitJoin(ctx context.Context) {
	select {
	case <-h.ready:
	case <-ctx.Done():
	}
}

// joined reports whether this replica has been a member.
func (h *replicas) joined() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.member
}

// leave removes this replica from the members.
func (h *replicas) leave() {
	h.inform(never)
	ctx, cancel := context.WithTimeout(context.Background(), h.c.o.StoreTimeout)
	defer cancel()
	_, _ = h.editBulletin(ctx, func(b *bulletin) {
		b.Members = slices.DeleteFunc(b.Members, func(m string) bool { return m == h.replica })
	})
}

// follow applies what is new in b.
func (h *replicas) follow(b bulletin) {
	h.mu.Lock()
	seen := h.seen
	// A bulletin that was rolled back, and could not get another edition, is not
	// remembered as seen: it must get one later.
	back := seen.Edition == b.Edition && b.Seq < seen.Seq
	if !back {
		h.seen = b
	}
	if h.first == "" {
		h.first = b.Edition
	}
	h.mu.Unlock()
	fresh := b.Seq - seen.Seq
	switch {
	case seen.Edition == "": // what was read before may have ended meanwhile
		h.outdateAll()
		return
	case seen.Edition != b.Edition || back:
		// Any of its notices may be new, and others may be lost.
		h.outdateAll()
		h.restore(0)
		seen.Seq, fresh = 0, uint64(len(b.Notices))
	case fresh > uint64(len(b.Notices)): // some were missed
		h.outdateAll()
		h.restore(seen.Seq)
		return
	}
	for i, n := range b.Notices[uint64(len(b.Notices))-fresh:] {
		switch {
		case len(n.ID) == 0:
			h.restore(seen.Seq + uint64(i))
		case len(n.ID) != len(id{}):
		case n.Purges > 0:
			h.c.signedOut(id(n.ID), n)
		default:
			if e, ok := h.c.find((*id)(n.ID)); ok {
				h.c.outdate(e, n.Version)
			}
		}
	}
}

// outdateAll outdates every token.
func (h *replicas) outdateAll() {
	h.c.eachEntry(func(_ id, e *entry) { h.c.outdate(e, 0) })
}

// outdate stops serving e's token if it is below version, until the record has
// been read again. Version 0 means any token.
func (c *Cache) outdate(e *entry, version uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	v := e.view.Load()
	if v == nil || version != 0 && v.Token.Version >= version || e.attempt != nil && e.attempt.unsaved {
		return
	}
	over := *v
	over.unverified = true
	over.overBelow = max(v.overBelow, version)
	e.view.Store(&over)
}

func (h *replicas) wake() {
	select {
	case h.kick <- struct{}{}:
	default:
	}
}

// announceLater writes n into the bulletin soon.
func (h *replicas) announceLater(n notice) {
	h.mu.Lock()
	h.outbox = append(h.outbox, &draft{notice: n})
	h.mu.Unlock()
	h.wake()
}

// announce writes n into the bulletin and waits until every member has read it.
func (h *replicas) announce(ctx context.Context, n notice) error {
	d := &draft{notice: n}
	h.mu.Lock()
	h.outbox = append(h.outbox, d)
	h.mu.Unlock()
	for d.seq.Load() == 0 {
		if err := h.flush(ctx); err != nil {
			if ctx.Err() != nil {
				return err
			}
			if err := sleep(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		}
	}
	if err := h.awaitMembers(ctx); err != nil {
		return err
	}
	return h.awaitReceipts(ctx, d.seq.Load(), h.patience(false))
}

// awaitMembers gives the members a moment to write their receipts, if the
// bulletin replaces one that was lost.
func (h *replicas) awaitMembers(ctx context.Context) error {
	b, _, err := h.readBulletin(ctx)
	if err != nil || !h.replaced(&b) {
		return err
	}
	return h.awaitHeadStart(ctx, &b)
}

// replaced reports whether this replica has seen another bulletin before b.
func (h *replicas) replaced(b *bulletin) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.first != "" && h.first != b.Edition
}

// awaitHeadStart waits until b is saveHeadStart old.
func (h *replicas) awaitHeadStart(ctx context.Context, b *bulletin) error {
	age := h.c.wallNow().Sub(time.UnixMilli(b.Born))
	return sleep(ctx, min(saveHeadStart-age, saveHeadStart))
}

// flush writes the notices of all callers in the outbox at once.
func (h *replicas) flush(ctx context.Context) error {
	select {
	case h.writing <- struct{}{}:
		defer func() { <-h.writing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	h.mu.Lock()
	batch := slices.Clone(h.outbox)
	h.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	b, err := h.editBulletin(ctx, func(b *bulletin) {
		h.renewEdition(b)
		for _, d := range batch {
			b.add(d.notice)
		}
	})
	if err != nil {
		return err
	}
	for i, d := range batch {
		d.seq.Store(b.Seq - uint64(len(batch)-1-i))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.outbox = h.outbox[len(batch):]
	return nil
}
