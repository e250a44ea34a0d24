package tokencachetest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// quiet is the time without a signal after which no earlier signal is expected.
const quiet = 100 * time.Millisecond

func (p *probe) watch() (<-chan struct{}, error) {
	ch, err := p.watcher.Watch(p.ctx, p.key)
	if err == nil && ch == nil {
		err = errors.New("no channel")
	}
	if err != nil {
		return nil, fmt.Errorf("store: Watch: %w", err)
	}
	return ch, nil
}

// settle takes what signals are on their way.
func settle(ch <-chan struct{}) error {
	for begun := time.Now(); time.Since(begun) < patience; {
		select {
		case _, ok := <-ch:
			if !ok {
				return errors.New("a watch ended before its context")
			}
		case <-time.After(quiet):
			return nil
		}
	}
	return errors.New("a watch yields without end")
}

func woken(what string, ch <-chan struct{}) error {
	select {
	case _, ok := <-ch:
		if !ok {
			return errors.New("a watch ended before its context")
		}
		return nil
	case <-time.After(patience):
		return fmt.Errorf("no signal of %s within %v", what, patience)
	}
}

// watch checks each kind of change, for two who watch.
func watch(p *probe) error {
	if p.watcher == nil {
		return errNoWatcher
	}
	one, err := p.watch()
	if err != nil {
		return err
	}
	two, err := p.watch()
	if err != nil {
		return err
	}
	rev := uint64(0)
	write := func() (err error) {
		rev, err = p.swap(rev, "a")
		return err
	}
	changes := []struct {
		name string
		make func() error
	}{
		{"a first CAS", write},
		{"a second CAS", write},
		{"an Unlock", func() error {
			if p.locker == nil {
				return write()
			}
			return errors.Join(p.locked("a", true), settle(one), settle(two), p.unlock("a", true))
		}},
	}
	for _, c := range changes {
		if err := errors.Join(settle(one), settle(two), c.make()); err != nil {
			return err
		}
		if err := errors.Join(woken(c.name, one), woken(c.name, two)); err != nil {
			return err
		}
	}
	return nil
}

// watchAtOnce changes a key the moment that Watch has returned.
func watchAtOnce(p *probe) error {
	if p.watcher == nil {
		return errNoWatcher
	}
	base := p.key
	for i := range 20 {
		p.key = fmt.Sprint(base, i)
		ch, err := p.watch()
		if err != nil {
			return err
		}
		if _, err := p.swap(0, "a"); err != nil {
			return err
		}
		if err := woken("a CAS right after Watch", ch); err != nil {
			return err
		}
	}
	return nil
}

// watchUnread leaves signals unread: the Store must not wait for a reader.
func watchUnread(p *probe) error {
	if p.watcher == nil {
		return errNoWatcher
	}
	ch, err := p.watch()
	if err != nil {
		return err
	}
	rev := uint64(0)
	for range 300 {
		if rev, err = p.swap(rev, "v"); err != nil {
			return err
		}
	}
	return errors.Join(woken("300 CAS", ch), settle(ch))
}

// watchEnds ends one of two watches.
func watchEnds(p *probe) error {
	if p.watcher == nil {
		return errNoWatcher
	}
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	if _, err := p.watcher.Watch(ctx, p.key); err != nil {
		return fmt.Errorf("store: Watch: %w", err)
	}
	stays, err := p.watch()
	if err != nil {
		return err
	}
	cancel()
	if err := settle(stays); err != nil {
		return err
	}
	rev, err := p.swap(0, "a")
	if err := errors.Join(err, woken("a CAS, after another watch had ended", stays)); err != nil {
		return err
	}
	again, err := p.watch()
	if err != nil {
		return err
	}
	if err := settle(again); err != nil {
		return err
	}
	_, err = p.swap(rev, "b")
	return errors.Join(err, woken("a CAS, watched again", again))
}
