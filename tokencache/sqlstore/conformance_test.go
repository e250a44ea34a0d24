package sqlstore_test

import (
	"context"
	"testing"

	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/sqlstore"
	"github.com/bearerkit/bearerkit/tokencache/tokencachetest"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func TestConformance(t *testing.T) {
	onAll(t, func(t *testing.T, p place) {
		s := p.store(t, sqlstore.Options{})
		tokencachetest.Run(t, func(*testing.T) tokencache.Store { return s })
	})
}

func TestConformanceEmptied(t *testing.T) {
	onAll(t, func(t *testing.T, p place) {
		s, db := p.store(t, sqlstore.Options{}), p.db(t)
		require.NoError(t, tokencachetest.TestEmptied(s, func() {
			_, err := db.Exec("DELETE FROM bearerkit")
			require.NoError(t, err)
		}))
	})
}

func TestConformanceListening(t *testing.T) {
	t.Parallel()
	p := newPlace(t, sqlstore.Postgres)
	s := p.store(t, sqlstore.Options{Listen: listen(p.url)})
	tokencachetest.Run(t, func(*testing.T) tokencache.Store { return s })
}

// listen is how pgx fills Options.Listen.
func listen(url string) func(context.Context, string, func(string)) error {
	return func(ctx context.Context, channel string, woken func(string)) error {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
			return err
		}
		for woken(""); ; {
			n, err := conn.WaitForNotification(ctx)
			if err != nil {
				return err
			}
			woken(n.Payload)
		}
	}
}
