package main

import (
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/freeport"
)

// startRedis runs a redis-server of its own and returns its URL.
func startRedis(t *testing.T) string {
	t.Helper()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = conn.Close()
			return "redis://127.0.0.1:" + port
		}
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not listen:", err)
		}
	}
}

// Two gateways behind one Redis, and a Redacto that ends a user's earlier
// tokens: 400 concurrent calls of one user cost one vendor call and no 401.
func TestTwoGatewaysActAsOne(t *testing.T) {
	vars, issuer, fakes := realVars(t)
	vars["REDIS_URL"], vars["STORE_KEYS"] = startRedis(t), storeKeys
	vars["RATE_LIMIT"], vars["STORE_TIMEOUT"] = "off", "20s" // a busy machine is no outage
	var gateways []*httptest.Server
	for range 2 {
		_, srv, _ := start(t, vars)
		gateways = append(gateways, srv)
	}
	bearer, err := issuer.Token(map[string]any{"sub": "ada"})
	if err != nil {
		t.Fatal(err)
	}
	path := "/consent/organisations/" + org + "/workspaces/" + workspace + "/purposes"
	var mu sync.Mutex
	tokens := map[any]int{}
	together(400, func(i int) {
		if i%4 < 2 {
			status, _, v := call(t, gateways[i%2], "POST", "/api/consent/token", "", `{"org_user_id":"ada"}`)
			mu.Lock()
			defer mu.Unlock()
			tokens[v["token"]]++
			if status != 200 {
				t.Errorf("token: %d %v", status, v)
			}
			return
		}
		if status, _, v := call(t, gateways[i%2], "GET", path, bearer, ""); status != 200 {
			t.Errorf("%s: %d %v", path, status, v)
		}
	})
	if s := fakes["redacto"].Stats(); s.Generates != 1 || s.Refreshes != 0 || len(tokens) != 1 {
		t.Errorf("%d generates, %d refreshes, %d tokens", s.Generates, s.Refreshes, len(tokens))
	}
}

// RATE_LIMIT counts a caller's requests to all gateways.
func TestTwoGatewaysShareTheRateLimit(t *testing.T) {
	vars := map[string]string{"REDIS_URL": startRedis(t), "STORE_KEYS": storeKeys, "RATE_LIMIT": "10/1000h", "STORE_TIMEOUT": "20s"}
	limited := 0
	var gateways []*httptest.Server
	for range 2 {
		_, srv, _ := start(t, vars)
		gateways = append(gateways, srv)
	}
	for i := range 20 {
		status, _, v := call(t, gateways[i%2], "POST", "/api/consent/token", "", `{"org_user_id":"ada"}`)
		if status == 429 {
			limited++
		} else if status != 200 {
			t.Fatal(status, v)
		}
	}
	if limited != 10 {
		t.Errorf("%d of 20 refused, want 10", limited)
	}
}

// kitRules is the ACL that redisstore documents, and rateRules what README.md
// adds to it for the rate limit.
const (
	kitRules  = "resetkeys resetchannels ~bearerkit:* &bearerkit:* -@all +get +getrange +set +hmget +hset +hdel +pexpire +time +info +eval +evalsha +publish +subscribe +unsubscribe +ping"
	rateRules = "+mget +multi +exec +incrby +expire"
)

// With the documented ACL the gateways share the rate limit. Without the
// commands for it each counts alone, and says so.
func TestTheRateLimitUnderTheDocumentedACL(t *testing.T) {
	for _, file := range []struct{ path, rules string }{{"../../tokencache/redisstore/doc.go", kitRules}, {"README.md", rateRules}} {
		text, err := os.ReadFile(file.path)
		require.NoError(t, err)
		require.Contains(t, strings.Join(strings.Fields(strings.ReplaceAll(string(text), "//", "")), " "), file.rules)
	}
	for name, tt := range map[string]struct {
		rules   string
		limited int
		warned  bool
	}{
		"with":    {kitRules + " " + rateRules, 10, false},
		"without": {kitRules, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			address := startRedis(t)
			admin := redis.NewClient(&redis.Options{Addr: strings.TrimPrefix(address, "redis://")})
			defer func() { _ = admin.Close() }()
			args := []any{"ACL", "SETUSER", "kit", "on", ">" + planted}
			for _, r := range strings.Fields(tt.rules) {
				args = append(args, r)
			}
			require.NoError(t, admin.Do(t.Context(), args...).Err())
			address = strings.Replace(address, "redis://", "redis://kit:"+planted+"@", 1)
			vars := map[string]string{"REDIS_URL": address, "STORE_KEYS": storeKeys, "RATE_LIMIT": "10/1000h", "STORE_TIMEOUT": "20s"}
			limited := 0
			var logs []*logBuffer
			var gateways []*httptest.Server
			for range 2 {
				_, srv, log := start(t, vars)
				gateways, logs = append(gateways, srv), append(logs, log)
			}
			for i := range 20 {
				status, _, v := call(t, gateways[i%2], "POST", "/api/consent/token", "", `{"org_user_id":"ada"}`)
				if status == 429 {
					limited++
				} else {
					require.Equal(t, 200, status, v)
				}
			}
			assert.Equal(t, tt.limited, limited, "calls refused of 20")
			for _, log := range logs {
				assert.Equal(t, tt.warned, strings.Contains(log.String(), "RATE_LIMIT counts the calls at this gateway alone"), log)
				assert.LessOrEqual(t, strings.Count(log.String(), "RATE_LIMIT counts"), 1)
				assert.NotContains(t, log.String(), planted)
			}
		})
	}
}

// A Redis that cannot be reached is no reason not to start, and its password
// is in no log.
func TestRedisAway(t *testing.T) {
	_, srv, logs := start(t, map[string]string{"REDIS_URL": "redis://user:" + planted + "redis@127.0.0.1:1", "STORE_KEYS": storeKeys})
	status, header, v := call(t, srv, "POST", "/api/consent/token", "", `{"org_user_id":"ada"}`)
	if status != 503 || header.Get("Retry-After") == "" {
		t.Errorf("an exclusive grant without the store: %d %v %v", status, header, v)
	}
	if status, _, v := call(t, srv, "GET", "/fhir/R4/Patient", demoBearer(t, srv, "ada"), ""); status != 200 {
		t.Errorf("a shared grant without the store: %d %v", status, v)
	}
	if s := logs.String(); strings.Contains(s, planted) || !strings.Contains(s, "store") {
		t.Error(s)
	}
	if _, err := readConfig(func(n string) string { return map[string]string{"REDIS_URL": "http://" + planted}[n] }, nil); err == nil || strings.Contains(err.Error(), planted) {
		t.Error(err)
	}
}
