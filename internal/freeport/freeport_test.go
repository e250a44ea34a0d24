package freeport_test

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/freeport"
)

func TestAServerCanListenAtTheFoundPort(t *testing.T) {
	for range 50 {
		port, err := freeport.Find()
		require.NoError(t, err)
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })
	}
}

// Linux gives ports from 32768 up to those that ask for any.
func TestTheFoundPortIsGivenToNoOther(t *testing.T) {
	for range 50 {
		port, err := freeport.Find()
		require.NoError(t, err)
		n, err := strconv.Atoi(port)
		require.NoError(t, err)
		assert.Less(t, n, 32768)
		assert.Greater(t, n, 1023)
	}
}
