package sqlstore_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/sqlstore"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// canary is a provider all of whose tokens can be found.
type canary struct{}

func (canary) Generate(context.Context, providers.Request) (providers.Token, error) {
	return providers.Token{AccessToken: "canary-access", RefreshToken: "canary-refresh", Expiry: time.Now().Add(time.Hour)}, nil
}

func (c canary) Refresh(ctx context.Context, req providers.Request, _ string) (providers.Token, error) {
	return c.Generate(ctx, req)
}

// dump is all that a copy of the database shows.
func (p place) dump(t *testing.T) []byte {
	t.Helper()
	if p.dialect == sqlstore.SQLite {
		var all []byte
		files, err := filepath.Glob(strings.TrimPrefix(p.url, "file:") + "*")
		require.NoError(t, err)
		for _, name := range files {
			b, err := os.ReadFile(name)
			require.NoError(t, err)
			all = append(all, b...)
		}
		return all
	}
	s := servers[p.dialect].get(t, p.dialect)
	database := strings.Split(p.url[strings.LastIndex(p.url, "/")+1:], "?")[0]
	name, args := "mariadb-dump", []string{"--no-defaults", "-h", "127.0.0.1", "-P", s.port, "-u", "root", "--skip-ssl", database}
	if p.dialect == sqlstore.Postgres {
		name, args = "pg_dump", []string{"-h", "127.0.0.1", "-p", s.port, "-U", "kit", "--inserts", database}
	}
	cmd, err := s.command(name, args...)
	require.NoError(t, err)
	out, err := cmd.Output()
	require.NoError(t, err)
	return out
}

// A dump shows no token and not whose it is. Without keys it does, or this
// test would not look in the right place.
func TestADumpShowsNothing(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		t.Run(fmt.Sprintf("sealed %t", sealed), func(t *testing.T) {
			onAll(t, func(t *testing.T, p place) {
				o := tokencache.Options{Store: p.store(t, sqlstore.Options{}), Namespace: "canary-namespace", StoreTimeout: 5 * time.Second}
				if sealed {
					o.NameKey, o.SealKeys = bytes.Repeat([]byte("n"), 32), [][]byte{bytes.Repeat([]byte("v"), 32)}
				}
				c, err := tokencache.New(canary{}, o)
				require.NoError(t, err)
				req := providers.Request{Tenant: "canary-tenant", Subject: "canary-subject"}
				_, err = c.Generate(t.Context(), req)
				require.NoError(t, err)
				require.NoError(t, c.Purge(t.Context(), providers.Request{Subject: "canary-gone"}))
				require.NoError(t, c.Close(t.Context()))
				dump := string(p.dump(t))
				require.Contains(t, dump, "bearerkit")
				require.Contains(t, dump, "t2/")
				shown := strings.Contains(dump, "canary") || strings.Contains(strings.ToLower(dump), hex.EncodeToString([]byte("canary")))
				assert.Equal(t, !sealed, shown)
			})
		})
	}
}
