package redisstore

import (
	"context"
	"fmt"
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
	// Until it is known that the replicas have it, the write is in doubt.
	s.mu.Lock()
	s.unsure[name] = struct{}{}
	s.mu.Unlock()
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
	s.mu.Lock()
	delete(s.unsure, name)
	s.mu.Unlock()
	return n, nil
}

// assure makes sure, before name is read, that the replicas have its last
// write. Otherwise a reader could see a write that the replicas lack.
func (s *Store) assure(ctx context.Context, name string) error {
	if s.replicas == 0 {
		return nil
	}
	s.mu.Lock()
	_, unsure := s.unsure[name]
	s.mu.Unlock()
	if !unsure {
		return nil
	}
	_, err := s.runReplicated(ctx, "load", touchScript, name)
	return err
}

// master returns the client of the server that has name.
func (s *Store) master(ctx context.Context, name string) (redis.UniversalClient, error) {
	if c, ok := s.client.(*redis.ClusterClient); ok {
		return c.MasterForKey(ctx, name)
	}
	return s.client, nil
}
