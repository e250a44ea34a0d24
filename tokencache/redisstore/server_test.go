package redisstore_test

import (
	"cmp"
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/internal/freeport"
	"github.com/bearerkit/bearerkit/tokencache/internal/soaktest"
	"github.com/bearerkit/bearerkit/tokencache/redisstore"
	"github.com/redis/go-redis/v9"
)

// server is a real redis-server on a free loopback port.
type server struct {
	t       testing.TB
	program string // "": redis-server
	port    string
	args    []string
	cmd     *exec.Cmd
}

// serve starts a redis-server, or fails the test. An argument may say PORT.
func serve(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{t: t, port: freePort(t), args: args}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func freePort(t testing.TB) string {
	t.Helper()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// start runs the server, empty, and waits until it listens.
func (s *server) start() {
	s.t.Helper()
	path, err := exec.LookPath(cmp.Or(s.program, "redis-server"))
	if err != nil {
		s.t.Fatal("these tests need redis-server, version 7 or later, in PATH: apt-get install redis-server")
	}
	args := []string{"--port", s.port, "--bind", "127.0.0.1", "--save", "", "--dir", s.t.TempDir()}
	for _, a := range s.args {
		args = append(args, strings.ReplaceAll(a, "PORT", s.port))
	}
	s.cmd = exec.Command(path, args...)
	var out soaktest.Output
	s.cmd.Stdout, s.cmd.Stderr = &out, &out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	soaktest.Eventually(s.t, "redis-server to start", func() bool { return strings.Contains(out.String(), "Ready to accept connections") },
		func() string { return out.String() })
}

// kill ends the server as kill -9 does.
func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// via is the URL that leads through p.
func via(p *soaktest.Proxy) string { return url(p.Port()) }

func (s *server) url() string { return url(s.port) }

// url leads to a port of this machine. On a busy one, a connection may take
// longer than the second that it has otherwise.
func url(port string) string { return "redis://127.0.0.1:" + port + "?dial_timeout=20s" }

// admin is a client for what a test does behind a Store's back.
func (s *server) admin() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + s.port})
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *server) do(args ...any) {
	s.t.Helper()
	if err := s.admin().Do(context.Background(), args...).Err(); err != nil {
		s.t.Fatalf("%v: %v", args[0], err)
	}
}

func open(t testing.TB, url string, o redisstore.Options) *redisstore.Store {
	t.Helper()
	s, err := redisstore.Open(url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// field is the value of name in what INFO answered.
func field(info, name string) string {
	_, rest, _ := strings.Cut(info, name+":")
	value, _, _ := strings.Cut(rest, "\r\n")
	return value
}
