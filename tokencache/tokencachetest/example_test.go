package tokencachetest_test

import (
	"testing"

	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/tokencachetest"
)

// What a Store of your own is tested with.
func ExampleRun() {
	_ = func(t *testing.T) { // TestStore
		tokencachetest.Run(t, func(*testing.T) tokencache.Store { return tokencache.NewMemory() })
	}
}
