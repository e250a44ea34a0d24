package boltstore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/boltstore"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/tokencachetest"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
)

func open(t testing.TB, file string) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{Timeout: time.Second, NoSync: true}) // a test outlives no power cut
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestStore(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "tokens.db"))
	tokencachetest.Run(t, func(*testing.T) tokencache.Store { return boltstore.Store{DB: db} })
}

// issuer issues numbered tokens.
type issuer struct{ n int }

func (i *issuer) Generate(context.Context, providers.Request) (providers.Token, error) {
	i.n++
	return providers.Token{AccessToken: fmt.Sprint("token ", i.n), Expiry: time.Now().Add(time.Hour)}, nil
}

func ExampleStore() {
	dir, err := os.MkdirTemp("", "boltstore")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	vendor := &issuer{}
	for range 2 { // the process starts twice
		db, err := bbolt.Open(filepath.Join(dir, "tokens.db"), 0o600, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		cache, err := tokencache.New(vendor, tokencache.Options{Store: boltstore.Store{DB: db}, Namespace: "vendor"})
		if err != nil {
			fmt.Println(err)
			return
		}
		tok, err := cache.Generate(context.Background(), providers.Request{Subject: "ada"})
		fmt.Println(tok.AccessToken, err)
		_ = cache.Close(context.Background())
		_ = db.Close()
	}
	// Output:
	// token 1 <nil>
	// token 1 <nil>
}

// The page in docs shows the Store that is tested here.
func TestThePageHasTheCode(t *testing.T) {
	page, err := os.ReadFile("../../docs/store.md")
	require.NoError(t, err)
	code, err := os.ReadFile("boltstore.go")
	require.NoError(t, err)
	require.Contains(t, string(page), "```go\n"+string(code)+"```\n")
	require.LessOrEqual(t, strings.Count(strings.SplitN(string(code), "\n)\n", 2)[1], "\n"), 60)
}
