package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A ring of keys: the one that names records, and one that seals.
const storeKeys = "names:bmFtZXMgbmFtZXMgbmFtZXMgbmFtZXMgbmFtZXMgbmE=,c2VhbHMgc2VhbHMgc2VhbHMgc2VhbHMgc2VhbHMgc2U="

func TestStoreVariables(t *testing.T) {
	name, seal, _ := strings.Cut(storeKeys, ",")
	for title, tt := range map[string]struct {
		vars map[string]string
		want string // "": no fault
	}{
		"none":                     {map[string]string{}, ""},
		"sqlite":                   {map[string]string{"DATABASE_URL": "sqlite:kit.db", "STORE_KEYS": storeKeys}, ""},
		"postgres":                 {map[string]string{"DATABASE_URL": "postgres://kit:" + planted + "@db.example/kit", "STORE_KEYS": storeKeys}, ""},
		"mysql":                    {map[string]string{"DATABASE_URL": "mysql://kit:" + planted + "@db.example/kit?tls=true", "STORE_KEYS": storeKeys}, ""},
		"redis":                    {map[string]string{"REDIS_URL": "redis://:" + planted + "@redis.example", "STORE_KEYS": storeKeys}, ""},
		"a rotated ring":           {map[string]string{"DATABASE_URL": "sqlite:kit.db", "STORE_KEYS": name + "\n" + strings.Replace(seal, "c2V", "d2V", 1) + "\n" + seal + "\n"}, ""},
		"a timeout":                {map[string]string{"REDIS_URL": "redis://redis.example", "STORE_KEYS": storeKeys, "STORE_TIMEOUT": "2s"}, ""},
		"a timeout that is none":   {map[string]string{"REDIS_URL": "redis://redis.example", "STORE_KEYS": storeKeys, "STORE_TIMEOUT": "soon"}, "STORE_TIMEOUT: not a duration"},
		"unsealed":                 {map[string]string{"DATABASE_URL": "sqlite:kit.db", "DANGEROUSLY_UNSEALED": "1"}, ""},
		"no keys":                  {map[string]string{"DATABASE_URL": "sqlite:kit.db"}, "STORE_KEYS missing"},
		"no keys with Redis":       {map[string]string{"REDIS_URL": "redis://:" + planted + "@redis.example"}, "STORE_KEYS missing"},
		"unsealed, almost":         {map[string]string{"DATABASE_URL": "sqlite:kit.db", "DANGEROUSLY_UNSEALED": "yes"}, "DANGEROUSLY_UNSEALED: neither"},
		"sealed and not":           {map[string]string{"DATABASE_URL": "sqlite:kit.db", "STORE_KEYS": storeKeys, "DANGEROUSLY_UNSEALED": "1"}, "STORE_KEYS and DANGEROUSLY_UNSEALED are both set"},
		"two stores":               {map[string]string{"DATABASE_URL": "sqlite:kit.db", "REDIS_URL": "redis://redis.example", "STORE_KEYS": storeKeys}, "REDIS_URL and DATABASE_URL are both set"},
		"keys for nothing":         {map[string]string{"STORE_KEYS": storeKeys}, "STORE_KEYS: only with"},
		"a ring without names":     {map[string]string{"DATABASE_URL": "sqlite:kit.db", "STORE_KEYS": seal}, "STORE_KEYS: names: is missing"},
		"a ring without a key":     {map[string]string{"DATABASE_URL": "sqlite:kit.db", "STORE_KEYS": name}, "STORE_KEYS: there is no key to seal with"},
		"two names":                {map[string]string{"DATABASE_URL": "sqlite:kit.db", "STORE_KEYS": name + "," + storeKeys}, "STORE_KEYS: names: stands there twice"},
		"a short key":              {map[string]string{"DATABASE_URL": "sqlite:kit.db", "STORE_KEYS": name + ",cGxhbnRlZA=="}, "STORE_KEYS: entry 2 is not 32 bytes"},
		"a key that is none":       {map[string]string{"DATABASE_URL": "sqlite:kit.db", "STORE_KEYS": name + "," + planted}, "STORE_KEYS: entry 2 is not 32 bytes"},
		"another database":         {map[string]string{"DATABASE_URL": "oracle://kit:" + planted + "@db/kit", "STORE_KEYS": storeKeys}, "DATABASE_URL: not like"},
		"postgres, broken":         {map[string]string{"DATABASE_URL": "postgres://kit:" + planted + "@db:port/kit", "STORE_KEYS": storeKeys}, "DATABASE_URL: not like"},
		"mysql without a database": {map[string]string{"DATABASE_URL": "mysql://kit:" + planted + "@db", "STORE_KEYS": storeKeys}, "DATABASE_URL: not like"},
		"mysql, unverified":        {map[string]string{"DATABASE_URL": "mysql://kit:" + planted + "@db/kit?tls=skip-verify", "STORE_KEYS": storeKeys}, "DATABASE_URL: not like"},
		"sqlite in memory":         {map[string]string{"DATABASE_URL": "sqlite::memory:", "STORE_KEYS": storeKeys}, "DATABASE_URL: not like"},
		"sqlite without a path":    {map[string]string{"DATABASE_URL": "sqlite:", "STORE_KEYS": storeKeys}, "DATABASE_URL: not like"},
	} {
		t.Run(title, func(t *testing.T) {
			c, err := readConfig(func(n string) string { return tt.vars[n] }, nil)
			if tt.want == "" {
				require.NoError(t, err)
				assert.Equal(t, tt.vars["STORE_KEYS"] != "", c.store.nameKey != nil && len(c.store.sealKeys) > 0)
				return
			}
			require.ErrorContains(t, err, tt.want)
			assert.NotContains(t, err.Error(), planted)
			assert.NotContains(t, err.Error(), seal)
		})
	}
}

// Two gateways over one file of SQLite act as one, as two over Redis do.
func TestTwoGatewaysOverOneFile(t *testing.T) {
	vars, _, fakes := realVars(t)
	vars["DATABASE_URL"], vars["STORE_KEYS"] = "sqlite:"+filepath.Join(t.TempDir(), "a ?#%.db"), storeKeys
	vars["STORE_TIMEOUT"] = "20s" // a busy machine is no outage
	var gateways []*httptest.Server
	for range 2 {
		_, srv, _ := start(t, vars)
		gateways = append(gateways, srv)
	}
	var mu sync.Mutex
	tokens := map[any]int{}
	together(200, func(i int) {
		status, _, v := call(t, gateways[i%2], "POST", "/api/consent/token", "", `{"org_user_id":"ada"}`)
		mu.Lock()
		defer mu.Unlock()
		tokens[v["token"]]++
		assert.Equal(t, 200, status, v)
	})
	assert.Len(t, tokens, 1)
	assert.Equal(t, 1, fakes["redacto"].Stats().Generates)
	info, err := os.Stat(strings.TrimPrefix(vars["DATABASE_URL"], "sqlite:"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "others may read the file")
}

// A database that cannot be reached is no reason not to start, and its password
// is in no log. A file that cannot be used is one.
func TestDatabaseAway(t *testing.T) {
	for _, url := range []string{"postgres://kit:" + planted + "db@127.0.0.1:1/kit", "mysql://kit:" + planted + "db@127.0.0.1:1/kit"} {
		_, srv, logs := start(t, map[string]string{"DATABASE_URL": url, "STORE_KEYS": storeKeys})
		status, header, v := call(t, srv, "POST", "/api/consent/token", "", `{"org_user_id":"ada"}`)
		assert.Equal(t, 503, status, v)
		assert.NotEmpty(t, header.Get("Retry-After"))
		assert.NotContains(t, logs.String(), planted)
		assert.Contains(t, logs.String(), "the store's table is not there yet")
	}
	vars := map[string]string{"DATABASE_URL": "sqlite:" + t.TempDir(), "STORE_KEYS": storeKeys}
	c, err := readConfig(func(n string) string { return vars[n] }, nil)
	require.NoError(t, err)
	_, err = newGateway(t.Context(), c, slog.New(slog.DiscardHandler))
	assert.ErrorContains(t, err, "DATABASE_URL: ")
}

// running is the binary at work.
type running struct {
	*httptest.Server // for its client and URL alone
	cmd              *exec.Cmd
}

func launch(t *testing.T, bin string, vars map[string]string) *running {
	t.Helper()
	r := &running{Server: httptest.NewServer(nil), cmd: exec.Command(bin)}
	t.Cleanup(r.Server.Close)
	r.cmd.Env = []string{"ADDR=127.0.0.1:0"}
	for name, value := range vars {
		r.cmd.Env = append(r.cmd.Env, name+"="+value)
	}
	var stdout lockedBuffer
	r.cmd.Stdout, r.cmd.Stderr = &stdout, os.Stderr
	require.NoError(t, r.cmd.Start())
	t.Cleanup(r.kill)
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if first, _, ok := strings.Cut(stdout.String(), "\n"); ok {
			_, addr, _ := strings.Cut(first, "http://")
			r.URL = "http://" + addr
			return r
		}
		require.True(t, time.Now().Before(end), "the gateway does not start")
	}
}

func (r *running) kill() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// kill -9 of a gateway with a file of SQLite loses no grant: after the restart
// every caller gets the pair that it had, and every refresh token works. The
// file shows neither a token nor whose it is.
func TestGrantsSurviveKillWithSQLite(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary")
	}
	const grants = 1000
	bin, file := build(t), filepath.Join(t.TempDir(), "kit.db")
	vars, _, fakes := realVars(t)
	vars["DATABASE_URL"], vars["STORE_KEYS"], vars["STORE_TIMEOUT"] = "sqlite:"+file, storeKeys, "20s"
	g := launch(t, bin, vars)
	pairs := make([]map[string]any, grants)
	each := func(f func(i int)) {
		together(16, func(worker int) {
			for i := worker; i < grants; i += 16 {
				f(i)
			}
		})
	}
	ask := func(i int) map[string]any {
		status, _, v := call(t, g.Server, "POST", "/api/consent/token", "", fmt.Sprintf(`{"org_user_id":"canary-user-%d"}`, i))
		assert.Equal(t, 200, status, v)
		return v
	}
	each(func(i int) { pairs[i] = ask(i) })
	require.Equal(t, grants, fakes["redacto"].Stats().Generates)
	g.kill()

	var stored []byte
	for _, name := range []string{file, file + "-wal"} {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		stored = append(stored, b...)
	}
	for _, secret := range []string{"canary-user", org, workspace, "redacto", fmt.Sprint(pairs[0]["token"]), fmt.Sprint(pairs[1]["refresh_token"])} {
		require.NotEmpty(t, secret)
		assert.False(t, bytes.Contains(stored, []byte(secret)), "the file shows %q", secret)
	}

	g = launch(t, bin, vars)
	each(func(i int) { assert.Equal(t, pairs[i]["token"], ask(i)["token"], "grant %d", i) })
	each(func(i int) {
		status, _, v := call(t, g.Server, "POST", "/api/consent/refresh-token", "",
			fmt.Sprintf(`{"refresh_token":%q,"organisation_uuid":%q,"workspace_uuid":%q}`, pairs[i]["refresh_token"], org, workspace))
		assert.Equal(t, 200, status, "grant %d: %v", i, v)
		assert.NotEqual(t, pairs[i]["token"], v["token"])
	})
	s := fakes["redacto"].Stats()
	assert.Equal(t, []int{grants, grants, 0}, []int{s.Generates, s.Refreshes, s.Refused}, "generates, refreshes and refusals of the vendor")
}
