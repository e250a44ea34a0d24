package tokencache_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ledgerStore is a Store whose values a test may read and change.
type ledgerStore struct {
	tokencache.Store
	mu   sync.Mutex
	vals map[string][]byte
}

func newLedgerStore() *ledgerStore {
	return &ledgerStore{Store: tokencache.NewMemory(), vals: map[string][]byte{}}
}

func (s *ledgerStore) CAS(ctx context.Context, key string, rev uint64, val []byte, ttl time.Duration) (uint64, error) {
	next, err := s.Store.CAS(ctx, key, rev, val, ttl)
	if next != 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.vals[key] = bytes.Clone(val)
	}
	return next, err
}

// all are the values by key.
func (s *ledgerStore) all() map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := map[string][]byte{}
	for k, v := range s.vals {
		m[k] = v
	}
	return m
}

// record is the one key of a record among all.
func (s *ledgerStore) records() (keys []string) {
	for k := range s.all() {
		if strings.HasPrefix(k, "t") {
			keys = append(keys, k)
		}
	}
	return keys
}

func (s *ledgerStore) set(t *testing.T, key string, val []byte) {
	t.Helper()
	_, rev, err := s.Load(t.Context(), key)
	require.NoError(t, err)
	next, err := s.CAS(t.Context(), key, rev, val, time.Hour)
	require.NoError(t, err)
	require.NotZero(t, next)
}

func key32(c string) []byte { return bytes.Repeat([]byte(c), 32) }

func sealed(s tokencache.Store, keys ...string) tokencache.Options {
	o := tokencache.Options{Store: s, Namespace: "vendor-namespace", NameKey: key32("n")}
	for _, k := range keys {
		o.SealKeys = append(o.SealKeys, key32(k))
	}
	return o
}

func TestSealedStoreShowsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newLedgerStore()
		p := &fake{mode: providers.Rotating, ttl: time.Hour}
		p.generate = func(context.Context, providers.Request) (providers.Token, error) {
			return providers.Token{AccessToken: "canary-access", RefreshToken: "canary-refresh", Expiry: time.Now().Add(time.Hour)}, nil
		}
		c := open(t, p, sealed(s, "a"))
		req := providers.Request{Tenant: "canary-tenant", Subject: "canary-subject"}
		_, err := c.Generate(t.Context(), req)
		require.NoError(t, err)
		require.NoError(t, c.Purge(t.Context(), req))
		_, err = c.Generate(t.Context(), req)
		require.NoError(t, err)
		synctest.Wait()
		kinds := map[string]bool{}
		for k, v := range s.all() {
			kind, _, _ := strings.Cut(k, "/")
			kinds[kind] = true
			for _, secret := range []string{"canary", "vendor-namespace", "access", "\"v\"", "{"} {
				if secret != "{" || len(v) > 0 && v[0] == '{' {
					assert.NotContains(t, k+string(v), secret, kind)
				}
			}
			assert.True(t, bytes.HasPrefix(v, []byte("bks\x02")), "not sealed: a value of the kind %s", kind)
			assert.LessOrEqual(t, len(k), 64)
		}
		assert.GreaterOrEqual(t, len(kinds), 3, "records, refresh tokens and notices: %v", kinds)
	})
}

// A plain digest of a subject can be guessed; a name under a key cannot.
func TestSealedNamesNeedTheNameKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := map[string]bool{}
		for _, key := range []string{"n", "m", ""} {
			s := newLedgerStore()
			o := sealed(s, "a")
			o.NameKey = key32(key)
			if key == "" {
				o.NameKey, o.SealKeys = nil, nil
			}
			_, err := open(t, &fake{mode: providers.Exclusive, ttl: time.Hour}, o).Generate(t.Context(), user)
			require.NoError(t, err)
			require.Len(t, s.records(), 1)
			names[s.records()[0]] = true
		}
		assert.Len(t, names, 3, "names do not depend on the NameKey")
	})
}

func TestSealKeysRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newLedgerStore()
		p := &fake{mode: providers.Exclusive, ttl: time.Hour}
		first, err := open(t, p, sealed(s, "a")).Generate(t.Context(), user)
		require.NoError(t, err)
		for _, ring := range [][]string{{"b", "a"}, {"a", "b"}, {"c", "b", "a"}} {
			tok, err := open(t, p, sealed(s, ring...)).Generate(t.Context(), user)
			require.NoError(t, err)
			assert.Equal(t, first.AccessToken, tok.AccessToken, "ring %v", ring)
		}
		assert.EqualValues(t, 1, p.calls.Load())
	})
}

// What cannot be opened is not absent: it would be generated again and written
// over, by a replica that has the wrong keys.
func TestSealedValueIsRefused(t *testing.T) {
	const noKey, altered, plain = "under a key that is not among SealKeys", "was altered, or belongs to another record", "is not sealed, and SealKeys are set"
	for name, tt := range map[string]struct {
		keys   []string
		change func(mine, other []byte) []byte
		logged string
	}{
		"sealed under a key that is not in the ring": {[]string{"b"}, func(mine, _ []byte) []byte { return mine }, noKey},
		"not sealed":                {[]string{"a"}, func(_, _ []byte) []byte { return []byte(`{"f":1,"n":"x","v":9}`) }, plain},
		"not sealed, and long":      {[]string{"a"}, func(_, _ []byte) []byte { return []byte(`{"f":2,"n":"of a record without keys","v":9}`) }, plain},
		"empty":                     {[]string{"a"}, func(_, _ []byte) []byte { return nil }, plain},
		"cut short":                 {[]string{"a"}, func(mine, _ []byte) []byte { return mine[:20] }, altered},
		"cut to less than a header": {[]string{"a"}, func(mine, _ []byte) []byte { return mine[:15] }, plain},
		"another record's":          {[]string{"a"}, func(_, other []byte) []byte { return other }, altered},
		"with another version":      {[]string{"a"}, func(mine, _ []byte) []byte { mine[14]++; return mine }, altered},
		"with another key's number": {[]string{"a"}, func(mine, _ []byte) []byte { mine[5]++; return mine }, noKey},
		"with a changed last byte":  {[]string{"a"}, func(mine, _ []byte) []byte { mine[len(mine)-1]++; return mine }, altered},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newLedgerStore()
				p := &fake{mode: providers.Exclusive, ttl: time.Hour}
				c := open(t, p, sealed(s, "a"))
				_, err := c.Generate(t.Context(), user)
				require.NoError(t, err)
				mine := s.records()[0]
				_, err = c.Generate(t.Context(), providers.Request{Subject: "another user"})
				require.NoError(t, err)
				require.Len(t, s.records(), 2)
				var other string
				for _, k := range s.records() {
					if k != mine {
						other = k
					}
				}
				calls := p.calls.Load()
				changed := tt.change(bytes.Clone(s.all()[mine]), bytes.Clone(s.all()[other]))
				s.set(t, mine, changed)
				o, log := sealed(s, tt.keys...), &lockedBuilder{}
				o.Logger = slog.New(slog.NewTextHandler(log, nil))
				reader := open(t, p, o)
				_, err = reader.Generate(t.Context(), user)
				assert.Error(t, err)
				assert.Contains(t, log.String(), tt.logged)
				assert.Equal(t, calls, p.calls.Load(), "the upstream was called")
				assert.True(t, bytes.Equal(changed, s.all()[mine]), "the value was written over")
			})
		})
	}
}

func TestSealKeysAreChecked(t *testing.T) {
	for name, tt := range map[string]struct {
		name []byte
		keys [][]byte
		want []string
	}{
		"short":           {key32("n"), [][]byte{[]byte("short")}, []string{"SealKeys[0]: must be 32 bytes, and is 5"}},
		"no name key":     {nil, [][]byte{key32("a")}, []string{"NameKey: must be 32 bytes with SealKeys, and is 0"}},
		"name key alone":  {key32("n"), nil, []string{"NameKey: only with SealKeys"}},
		"one key for two": {key32("a"), [][]byte{key32("a")}, []string{"SealKeys[0]: is the NameKey too"}},
		"all at once":     {[]byte("n"), [][]byte{nil, key32("a"), key32("")}, []string{"SealKeys[0]", "SealKeys[2]", "NameKey"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tokencache.New(&fake{}, tokencache.Options{NameKey: tt.name, SealKeys: tt.keys})
			require.Error(t, err)
			for _, w := range tt.want {
				assert.ErrorContains(t, err, w)
			}
		})
	}
}
