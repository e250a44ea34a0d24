package tokencachetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
)

const (
	// patience bounds calls that should take no time.
	patience = 10 * time.Second
	// minute is a life that no case outlasts.
	minute = time.Minute
	// short is a life whose end a case waits for.
	short = 300 * time.Millisecond
)

type check struct {
	name string
	run  func(*probe) error
}

// Run tests the Stores that open returns, one for each case, as subtests. It
// takes a few seconds. Cases about leases, watches or epochs are skipped if the
// Store has none. [TestEmptied] tests what must hold when a Store loses its
// data.
func Run(t *testing.T, open func(t *testing.T) tokencache.Store) {
	t.Helper()
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			switch err := c.on(open(t)); {
			case errors.Is(err, errors.ErrUnsupported):
				t.Skip(err)
			case err != nil:
				t.Error(err)
			}
		})
	}
}

// Test tests s as Run does, and returns every violation, joined. It needs no
// *testing.T, so it can run in a bubble of testing/synctest.
func Test(s tokencache.Store) error {
	var errs []error
	for _, c := range checks() {
		if err := c.on(s); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			errs = append(errs, fmt.Errorf("%s: %w", c.name, err))
		}
	}
	return errors.Join(errs...)
}

func checks() []check {
	return []check{
		{"absent", absent}, {"cas", cas}, {"revisions", revisions}, {"one of many writers", oneWins}, {"counter", counter},
		{"lost replies", lostReplies}, {"ttl", ttl}, {"context", ended}, {"keys", keys}, {"values", values}, {"isolation", isolation},
		{"lease", lease}, {"lease ends", leaseEnds}, {"lease extended", leaseExtended}, {"fence", fence}, {"exclusion", exclusion},
		{"epoch", epoch}, {"watch", watch}, {"watch at once", watchAtOnce}, {"watch unread", watchUnread}, {"watch ends", watchEnds},
	}
}

func (c check) on(s tokencache.Store) error {
	ctx, cancel := context.WithTimeout(context.Background(), minute)
	defer cancel()
	p := &probe{ctx: ctx, s: s, mu: new(sync.Mutex), seen: map[write]bool{}, key: "test/" + rand.Text()}
	p.locker, _ = s.(tokencache.Locker)
	p.watcher, _ = s.(tokencache.Watcher)
	p.epocher, _ = s.(tokencache.Epocher)
	return c.run(p)
}

// probe is one case at work. Each of its methods makes one call and returns
// what was wrong with the outcome.
type probe struct {
	ctx     context.Context
	s       tokencache.Store
	key     string
	locker  tokencache.Locker
	watcher tokencache.Watcher
	epocher tokencache.Epocher

	mu   *sync.Mutex
	seen map[write]bool // what was written, by this case
}

type write struct {
	key string
	rev uint64
}

var (
	errNoLocker  = fmt.Errorf("the Store is no tokencache.Locker: %w", errors.ErrUnsupported)
	errNoEpocher = fmt.Errorf("the Store is no tokencache.Epocher: %w", errors.ErrUnsupported)
	errNoWatcher = fmt.Errorf("the Store is no tokencache.Watcher: %w", errors.ErrUnsupported)
)

// holds checks that the key has val at rev; rev 0: that it is absent.
func (p *probe) holds(rev uint64, val string) error { return p.keyHolds(p.key, rev, val) }

func (p *probe) keyHolds(key string, rev uint64, val string) error {
	got, at, err := p.s.Load(p.ctx, key)
	switch {
	case err != nil:
		return fmt.Errorf("store: Load: %w", err)
	case at != rev:
		return fmt.Errorf("store: Load: revision %d, want %d", at, rev)
	case !bytes.Equal(got, []byte(val)):
		return fmt.Errorf("store: Load: %s, want %s", brief(got), brief([]byte(val)))
	}
	return nil
}

// swap checks that a CAS of the key succeeds, and returns the new revision.
func (p *probe) swap(rev uint64, val string) (uint64, error) {
	return p.keySwap(p.key, rev, val, minute)
}

func (p *probe) keySwap(key string, rev uint64, val string, ttl time.Duration) (uint64, error) {
	next, err := p.s.CAS(p.ctx, key, rev, []byte(val), ttl)
	switch {
	case err != nil:
		return 0, fmt.Errorf("store: CAS at revision %d: %w", rev, err)
	case next == 0:
		return 0, fmt.Errorf("store: CAS at revision %d: refused", rev)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	w := write{key, next}
	if p.seen[w] {
		return 0, fmt.Errorf("store: CAS at revision %d: revision %d comes a second time", rev, next)
	}
	p.seen[w] = true
	return next, nil
}

// refused checks that a CAS of the key at rev writes nothing.
func (p *probe) refused(rev uint64, val string) error {
	switch next, err := p.s.CAS(p.ctx, p.key, rev, []byte(val), minute); {
	case err != nil:
		return fmt.Errorf("store: CAS at revision %d: %w", rev, err)
	case next != 0:
		return fmt.Errorf("store: CAS at revision %d: done, and the key does not have it", rev)
	}
	return nil
}

// gone waits until key has expired.
func (p *probe) gone(key string) error {
	return until("a value to expire", func() (bool, error) {
		_, rev, err := p.s.Load(p.ctx, key)
		return rev == 0, err
	})
}

// brief shows the beginning of b.
func brief(b []byte) string {
	if len(b) > 40 {
		return fmt.Sprintf("%q… (%d bytes)", b[:40], len(b))
	}
	return fmt.Sprintf("%q", b)
}

// until calls done every few milliseconds until it says true or fails; too long
// is a failure.
func until(what string, done func() (bool, error)) error {
	begun := time.Now()
	for {
		switch ok, err := done(); {
		case err != nil:
			return err
		case ok:
			return nil
		case time.Since(begun) > patience:
			return fmt.Errorf("%s: not within %v", what, patience)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// inTime makes a step whose calls rely on something that lasts for life. If the
// step fails and took longer, the machine was busy, and the step is made again.
func inTime(life time.Duration, step func() error) error {
	const tries = 5
	for try := 1; ; try++ {
		begun := time.Now()
		if err := step(); err == nil || try == tries || early(begun, life) {
			return err
		}
	}
}

// contended repeats try, a change that others may forestall, until it succeeds.
// The context of the case ends it.
func contended(try func() (bool, error)) error {
	for {
		if done, err := try(); done || err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// early says that what should have lasted for life did not: by the caller's
// clock, to a tenth.
func early(begun time.Time, life time.Duration) bool { return time.Since(begun) < life*9/10 }
