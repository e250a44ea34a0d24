package redisstore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// The stored form of a value is its revision, 8 bytes, and the value. A
// revision is 63 random bits, new for each CAS: it never comes back, whatever
// the server loses. A lease is a hash: owner, at and until while it is held,
// and fence always. Every script uses one key, and so one slot.
const header = 8

// Times are the server's, in microseconds: exact in Lua's doubles until 2255.
const luaNow = `local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
`

// fenceMemory is how long the fence of an idle lease is remembered. After that,
// and on a server that restarted empty, only its clock makes fences rise.
const fenceMemory = time.Hour

var (
	// A client may send a command twice when a reply is lost. The second one
	// sees by the revision that the first has done the work.
	casScript = redis.NewScript(`
local cur = redis.call('GETRANGE', KEYS[1], 0, 7)
if cur == string.sub(ARGV[2], 1, 8) then return 1 end
if cur ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('PUBLISH', KEYS[1], '')
return 1`)

	// A lease that begins in the future was taken before the server's clock was
	// set back. The rest of it is unknown, so it begins again and ends at most
	// one ttl from now.
	lockScript = redis.NewScript(luaNow + `
local l = redis.call('HMGET', KEYS[1], 'owner', 'until', 'fence', 'at')
if l[1] and l[1] ~= ARGV[1] and tonumber(l[2]) > now then
  if tonumber(l[4] or 0) > now then
    local left = l[2] - l[4]
    redis.call('HSET', KEYS[1], 'at', string.format('%.0f', now), 'until', string.format('%.0f', now + left))
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(left / 1000) + ARGV[3] - ARGV[4]))
  end
  return 0
end
local fence = math.max(now, (tonumber(l[3]) or 0) + 1)
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'at', string.format('%.0f', now),
  'until', string.format('%.0f', now + ARGV[2]), 'fence', string.format('%.0f', fence))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return fence`)

	// epochScript names the server that has KEYS[1]: its run, and its history
	// of writes. A replica starts a new history when it is promoted.
	epochScript = redis.NewScript(`
return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')`)

	extendScript = redis.NewScript(luaNow + `
local l = redis.call('HMGET', KEYS[1], 'owner', 'until')
if l[1] ~= ARGV[1] or tonumber(l[2]) <= now then return 0 end
redis.call('HSET', KEYS[1], 'at', string.format('%.0f', now), 'until', string.format('%.0f', now + ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`)

	unlockScript = redis.NewScript(luaNow + `
local l = redis.call('HMGET', KEYS[1], 'owner', 'until')
if l[1] ~= ARGV[1] or tonumber(l[2]) <= now then return 0 end
redis.call('HDEL', KEYS[1], 'owner', 'at', 'until')
redis.call('PUBLISH', ARGV[2], '')
return 1`)
)

var (
	errForeign = errors.New("redisstore: the key holds something that is not ours")
	errTTL     = errors.New("redisstore: ttl: must be positive")
)

// run makes one call of script, which answers with an integer.
func (s *Store) run(ctx context.Context, op string, script *redis.Script, key string, args ...any) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, s.failed(ctx, op, err)
	}
	n, err := script.Run(ctx, s.client, []string{key}, args...).Int64()
	return n, s.failed(ctx, op, err)
}

// Load implements [tokencache.Store].
func (s *Store) Load(ctx context.Context, key string) (val []byte, rev uint64, err error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, s.failed(ctx, "load", err)
	}
	b, err := s.client.Get(ctx, s.name(key)).Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, 0, nil
	case err != nil:
		return nil, 0, s.failed(ctx, "load", err)
	case len(b) < header || binary.BigEndian.Uint64(b) == 0:
		return nil, 0, errForeign
	}
	if err := s.assure(ctx, s.name(key)); err != nil {
		return nil, 0, err
	}
	return b[header:], binary.BigEndian.Uint64(b), nil
}

// CAS implements [tokencache.Store].
func (s *Store) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (next uint64, err error) {
	if ttl <= 0 {
		return 0, errTTL
	}
	var old []byte
	if rev != 0 {
		old = binary.BigEndian.AppendUint64(nil, rev)
	}
	b := make([]byte, header, header+len(val))
	_, _ = rand.Read(b) // never fails
	b[0] &= 0x7f
	b[0] |= 0x40 // not 0
	next = binary.BigEndian.Uint64(b)
	run := s.run
	if s.replicas > 0 {
		run = s.runReplicated
	}
	n, err := run(ctx, "cas", casScript, s.name(key), old, append(b, val...), millis(ttl))
	if err != nil || n != 1 {
		return 0, err
	}
	return next, nil
}

// Epoch implements [tokencache.Epocher]. It changes when the server of key has
// restarted, was promoted, or is another one.
func (s *Store) Epoch(ctx context.Context, key string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", s.failed(ctx, "epoch", err)
	}
	text, err := epochScript.Run(ctx, s.client, []string{s.name(key)}).Text()
	if err != nil {
		return "", s.failed(ctx, "epoch", err)
	}
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:12]), nil
}

// Lock implements [tokencache.Locker].
func (s *Store) Lock(ctx context.Context, key, owner string, ttl time.Duration) (fence uint64, err error) {
	if ttl <= 0 {
		return 0, errTTL
	}
	n, err := s.run(ctx, "lock", lockScript, s.leaseName(key), owner, micros(ttl), millis(ttl+fenceMemory), millis(ttl))
	return uint64(max(n, 0)), err
}

// Extend implements [tokencache.Locker].
func (s *Store) Extend(ctx context.Context, key, owner string, ttl time.Duration) (ok bool, err error) {
	if ttl <= 0 {
		return false, errTTL
	}
	n, err := s.run(ctx, "extend", extendScript, s.leaseName(key), owner, micros(ttl), millis(ttl+fenceMemory))
	return n == 1, err
}

// Unlock implements [tokencache.Locker].
func (s *Store) Unlock(ctx context.Context, key, owner string) (ok bool, err error) {
	n, err := s.run(ctx, "unlock", unlockScript, s.leaseName(key), owner, s.name(key))
	return n == 1, err
}

// millis and micros round up, so that a positive time does not become zero.
func millis(d time.Duration) int64 { return roundUp(d, time.Millisecond) }
func micros(d time.Duration) int64 { return roundUp(d, time.Microsecond) }

func roundUp(d, unit time.Duration) int64 {
	n := int64(d / unit)
	if d%unit > 0 {
		n++
	}
	return n
}
