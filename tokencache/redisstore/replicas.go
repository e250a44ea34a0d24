package redisstore

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// touchScript writes the value as it is, so that replicas get it again.
var touchScript = redis.NewScript(`
local left = redis.call('PTTL', KEYS[1])
if left > 0 then redis.call('PEXPIRE', KEYS[1], left) end
return 1`)

// waitAtMost bounds a WAIT whose context ends late or never. A replica on a busy
// machine may take a second to answer. go-redis waits for 3 s for an answer,
// unless it is told otherwise.
const waitAtMost = 2 * time.Second

// runReplicated makes one call of script and waits until s.replicas replicas
// have the write. WAIT is about the writes of its own connection, so both are
// in one pipeline.
func (s *Store) runReplicated(ctx context.Context, op string, script *redis.Script, name string, args ...any) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, s.failed(ctx, op, err)
	}
	client, err := s.master(ctx, name)
	if err != nil {
		return 0, s.failed(ctx, op, err)
	}
	began := s.doubts.begin(name)
	replicated := false
	defer func() { s.doubts.end(name, began, replicated) }()
	send := func(call func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd) (done, have *redis.Cmd) {
		limit := waitAtMost
		if end, ok := ctx.Deadline(); ok {
			limit = min(limit, time.Until(end)*3/4)
		}
		pipe := client.Pipeline()
		done = call(ctx, pipe, []string{name}, args...)
		have = pipe.Do(ctx, "WAIT", s.replicas, max(limit.Milliseconds(), 1)) // 0 waits for ever
		_, _ = pipe.Exec(ctx)                                                 // each command has its own error
		return done, have
	}
	first := script.EvalSha
	if script == touchScript { // short, and not to be waited for twice
		first = script.Eval
	}
	done, have := send(first)
	if redis.HasErrorPrefix(done.Err(), "NOSCRIPT") {
		done, have = send(script.Eval)
	}
	n, err := done.Int64()
	var replicas int64
	if err == nil {
		replicas, err = have.Int64()
	}
	switch {
	case err != nil:
		return 0, s.failed(ctx, op, err)
	case n == 1 && replicas < int64(s.replicas):
		return 0, fmt.Errorf("redisstore: %s: %d of %d replicas have the write", op, replicas, s.replicas)
	}
	// A refused write without replicas is no error, but the value that it was
	// refused for may lack them.
	replicated = replicas >= int64(s.replicas)
	return n, nil
}

// assure makes sure, after name was read, that the replicas have what was read,
// if this process wrote it. Writes of other processes are covered when this
// process writes.
func (s *Store) assure(ctx context.Context, name string) error {
	if s.replicas == 0 || !s.doubts.about(name) {
		return nil
	}
	_, err := s.runReplicated(ctx, "load", touchScript, name)
	return err
}

// doubts are the names whose last write may lack replicas. It is safe for
// concurrent use.
type doubts struct {
	oneServer bool // a WAIT covers the writes of all names
	mu        sync.Mutex
	time      uint64 // counts beginnings and failures
	underWay  map[string]int
	failed    map[string]uint64 // when the last call without replicas ended
}

// begin is called before a call of name is sent.
func (d *doubts) begin(name string) (began uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.underWay[name]++
	d.time++
	return d.time
}

// end is called when the call that began at began has ended. If the replicas
// have its write, they have all writes that the server got earlier, and so those
// of the calls that had failed when it began.
func (d *doubts) end(name string, began uint64, replicated bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.underWay[name]--; d.underWay[name] == 0 {
		delete(d.underWay, name)
	}
	switch {
	case !replicated:
		d.time++
		d.failed[name] = d.time
	case d.oneServer:
		maps.DeleteFunc(d.failed, func(_ string, at uint64) bool { return at < began })
	case d.failed[name] < began:
		delete(d.failed, name)
	}
}

// about reports whether a write of name is under way or failed.
func (d *doubts) about(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.underWay[name] > 0 || d.failed[name] > 0
}

// master returns the client of the server that has name.
func (s *Store) master(ctx context.Context, name string) (redis.UniversalClient, error) {
	if c, ok := s.client.(*redis.ClusterClient); ok {
		return c.MasterForKey(ctx, name)
	}
	return s.client, nil
}
