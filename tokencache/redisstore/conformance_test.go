package redisstore_test

import (
	"os/exec"
	"testing"

	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/redisstore"
	"github.com/bearerkit/bearerkit/tokencache/tokencachetest"
	"github.com/stretchr/testify/require"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	s := serve(t)
	tokencachetest.Run(t, func(t *testing.T) tokencache.Store { return open(t, s.url(), redisstore.Options{}) })
}

func TestConformanceEmptied(t *testing.T) {
	t.Parallel()
	s := serve(t)
	require.NoError(t, tokencachetest.TestEmptied(open(t, s.url(), redisstore.Options{}), func() { s.do("FLUSHALL") }))
}

func TestConformanceRestarted(t *testing.T) {
	t.Parallel()
	s := serve(t)
	require.NoError(t, tokencachetest.TestEmptied(open(t, s.url(), redisstore.Options{}), func() {
		s.kill()
		s.start()
	}))
}

// TestValkey runs the suite over Valkey, where the machine has it: Debian has
// since its release 13.
func TestValkey(t *testing.T) {
	path, err := exec.LookPath("valkey-server")
	if err != nil {
		t.Skip("no valkey-server in PATH")
	}
	t.Parallel()
	s := &server{t: t, program: path, port: freePort(t)}
	s.start()
	t.Cleanup(s.kill)
	tokencachetest.Run(t, func(t *testing.T) tokencache.Store { return open(t, s.url(), redisstore.Options{}) })
	require.NoError(t, tokencachetest.TestEmptied(open(t, s.url(), redisstore.Options{}), func() { s.do("FLUSHALL") }))
}
