package redisstore

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// watches are all watches of a Store, over one connection that go-redis keeps.
type watches struct {
	client redis.UniversalClient
	kick   chan struct{}

	mu      sync.Mutex
	pubsub  *redis.PubSub // nil until the first watch
	closed  bool
	signals map[string]map[chan struct{}]struct{} // by channel of the server
	changed map[string]struct{}                   // channels to subscribe to or leave
}

var errClosed = errors.New("redisstore: closed")

func (w *watches) init(client redis.UniversalClient) {
	w.client = client
	w.kick = make(chan struct{}, 1)
	w.signals = map[string]map[chan struct{}]struct{}{}
	w.changed = map[string]struct{}{}
}

// Watch implements [tokencache.Watcher]. It never waits for the server. The
// channel also yields when the server confirms a subscription, the first one
// and each after a lost connection, because the key may have changed before.
func (s *Store) Watch(ctx context.Context, key string) (<-chan struct{}, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w, name, ch := &s.watches, s.name(key), make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, errClosed
	}
	if w.pubsub == nil {
		w.start()
	}
	if w.signals[name] == nil {
		w.signals[name] = map[chan struct{}]struct{}{}
		w.change(name)
	}
	w.signals[name][ch] = struct{}{}
	context.AfterFunc(ctx, func() { w.drop(name, ch) })
	return ch, nil
}

// start begins to listen. Callers hold w.mu.
func (w *watches) start() {
	w.pubsub = w.client.Subscribe(context.Background())
	events := w.pubsub.ChannelWithSubscriptions()
	go func() {
		for e := range events {
			switch e := e.(type) {
			case *redis.Subscription:
				w.wake(e.Channel)
			case *redis.Message:
				w.wake(e.Channel)
			}
		}
	}()
	go w.subscribe(w.pubsub)
}

// change asks subscribe to update the subscription of name. Callers hold w.mu.
func (w *watches) change(name string) {
	w.changed[name] = struct{}{}
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// subscribe keeps the subscriptions up to date. It runs in a separate
// goroutine, because a call may wait for a connection. If a call fails,
// go-redis subscribes again after it has reconnected.
func (w *watches) subscribe(pubsub *redis.PubSub) {
	for range w.kick {
		w.mu.Lock()
		if w.closed {
			w.mu.Unlock()
			return
		}
		var join, leave []string
		for name := range w.changed {
			if w.signals[name] != nil {
				join = append(join, name)
			} else {
				leave = append(leave, name)
			}
		}
		clear(w.changed)
		w.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if len(join) > 0 {
			_ = pubsub.Subscribe(ctx, join...)
		}
		if len(leave) > 0 {
			_ = pubsub.Unsubscribe(ctx, leave...)
		}
		cancel()
	}
}

func (w *watches) wake(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.signals[name] {
		select {
		case ch <- struct{}{}:
		default: // a signal is waiting
		}
	}
}

func (w *watches) drop(name string, ch chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.signals[name][ch]; !ok {
		return
	}
	delete(w.signals[name], ch)
	if len(w.signals[name]) == 0 {
		delete(w.signals, name)
		w.change(name)
	}
}

// close ends every watch and closes its channel.
func (w *watches) close() {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return
	}
	w.closed = true
	for _, all := range w.signals {
		for ch := range all {
			close(ch)
		}
	}
	clear(w.signals)
	w.change("")
	pubsub := w.pubsub
	w.mu.Unlock()
	if pubsub != nil {
		_ = pubsub.Close() // may wait for a connection being made
	}
}
