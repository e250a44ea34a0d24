package sqlstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// A watch is polled soon after it began or its key changed, and then less
	// and less often.
	pollFirst = 20 * time.Millisecond
	pollLast  = 250 * time.Millisecond
	// pollKeys bounds the keys of one statement.
	pollKeys = 100
	pollTime = 2 * time.Second
	// listenPause is how long a Store polls before it listens again.
	listenPause = time.Second
)

// watches are all watches of a Store. The Store's own writes wake them. Polling
// or listening wakes them for writes of other processes.
type watches struct {
	s         *Store
	listen    func(context.Context, string, func(string)) error
	listening atomic.Bool
	kick      chan struct{}

	mu      sync.Mutex
	started bool
	closed  bool
	keys    map[string]*watched
}

// watched is a key with at least one watch.
type watched struct {
	signals map[chan struct{}]struct{}
	next    time.Time     // when it is polled
	every   time.Duration // how often
	last    string        // the last state seen
	seen    bool          // last is set
}

func (w *watches) init(s *Store, listen func(context.Context, string, func(string)) error) {
	w.s, w.listen = s, listen
	w.kick = make(chan struct{}, 1)
	w.keys = map[string]*watched{}
}

// Watch implements [tokencache.Watcher]. It never waits for the database. The
// channel also yields when the Store has read the key for the first time,
// because it may have changed before.
func (s *Store) Watch(ctx context.Context, key string) (<-chan struct{}, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !printable(key) {
		return nil, errKey
	}
	w, ch := &s.watches, make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, errClosed
	}
	if !w.started {
		w.started = true
		s.work.Go(w.poll)
		if w.listen != nil {
			s.work.Go(w.hear)
		}
	}
	k := w.keys[key]
	if k == nil {
		k = &watched{signals: map[chan struct{}]struct{}{}, every: pollFirst}
		w.keys[key] = k
	}
	k.every, k.next = pollFirst, time.Now()
	k.signals[ch] = struct{}{}
	w.soon()
	context.AfterFunc(ctx, func() { w.drop(key, ch) })
	return ch, nil
}

// soon makes poll read again what is due.
func (w *watches) soon() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

func (w *watches) drop(key string, ch chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := w.keys[key]
	if k == nil {
		return
	}
	delete(k.signals, ch)
	if len(k.signals) == 0 {
		delete(w.keys, key)
	}
}

// wake signals the watches of key; "" means all.
func (w *watches) wake(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if key != "" {
		w.keys[key].wake()
		return
	}
	for _, k := range w.keys {
		k.wake()
	}
}

func (k *watched) wake() {
	if k == nil {
		return
	}
	for ch := range k.signals {
		select {
		case ch <- struct{}{}:
		default: // a signal is waiting
		}
	}
}

// hear listens, and polls while it cannot.
func (w *watches) hear() {
	for w.s.ctx.Err() == nil {
		_ = w.listenOnce()
		w.listening.Store(false)
		w.soon()
		timer := time.NewTimer(listenPause/2 + rand.N(listenPause))
		select {
		case <-timer.C:
		case <-w.s.ctx.Done():
			timer.Stop()
		}
	}
}

// listenOnce recovers a panic of the caller's function.
func (w *watches) listenOnce() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("sqlstore: Options.Listen: panic: %v", r)
		}
	}()
	return w.listen(w.s.ctx, w.s.table, func(payload string) {
		if payload == "" {
			w.listening.Store(true)
		}
		w.wake(payload)
	})
}

// poll reads the watched keys until the Store is closed.
func (w *watches) poll() {
	for {
		due, wait := w.due(time.Now())
		if len(due) > 0 {
			w.ask(due)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-w.kick:
		case <-w.s.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// due returns the keys to read now, or how long there are none.
func (w *watches) due(now time.Time) (keys []string, wait time.Duration) {
	wait = time.Hour
	if w.listening.Load() || w.s.ctx.Err() != nil {
		return nil, wait
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, k := range w.keys {
		left := k.next.Sub(now)
		if left <= 0 && len(keys) < pollKeys {
			keys = append(keys, key)
			k.every = min(k.every*3/2, pollLast)
			k.next = now.Add(k.every/2 + rand.N(k.every))
		}
		wait = min(wait, max(left, 0))
	}
	return keys, wait
}

// ask reads keys and wakes the watches of those that have changed. If it cannot
// read, the next reading counts as the first.
func (w *watches) ask(keys []string) {
	now, err := w.look(keys)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, key := range keys {
		k := w.keys[key]
		if k == nil {
			continue
		}
		if err != nil {
			k.seen = false
			continue
		}
		if !k.seen || k.last != now[key] {
			k.every = pollFirst
			k.wake()
		}
		k.last, k.seen = now[key], true
	}
}

// look returns the state of keys: the revision, and the holder of the lease.
func (w *watches) look(keys []string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(w.s.ctx, pollTime)
	defer cancel()
	names := make([]any, 0, 2*len(keys))
	for _, key := range keys {
		names = append(names, key, leaseName(key))
	}
	rows, err := w.s.db.QueryContext(ctx, w.s.dialect.changes(w.s.table, len(names)), names...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	value, lease := map[string]string{}, map[string]string{}
	for rows.Next() {
		var name, owner string
		var rev int64
		if err := rows.Scan(&name, &rev, &owner); err != nil {
			return nil, err
		}
		if name[0] == '!' {
			lease[name[1:]] = fmt.Sprint(rev, " ", owner)
		} else {
			value[name] = fmt.Sprint(rev)
		}
	}
	seen := map[string]string{}
	for _, key := range keys {
		seen[key] = value[key] + " " + lease[key]
	}
	return seen, rows.Err()
}

// close ends every watch and closes its channel.
func (w *watches) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.closed = true
	for _, k := range w.keys {
		for ch := range k.signals {
			close(ch)
		}
	}
	clear(w.keys)
}
