package tokencachetest_test

import (
	"fmt"
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

// Without a *testing.T, for example in a bubble of testing/synctest.
func ExampleTest() {
	fmt.Println(tokencachetest.Test(tokencache.NewMemory()))
	// Output: <nil>
}

// What must hold when the Store's server restarts without its data.
func ExampleTestEmptied() {
	server := &restartable{Store: tokencache.NewMemory()}
	fmt.Println(tokencachetest.TestEmptied(server, func() { server.Store = tokencache.NewMemory() }))
	// Output: <nil>
}

type restartable struct{ tokencache.Store }
