package sqlstore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
)

// epochs are the queries that name a server and its history of writes.
//
// Postgres: the cluster, its timeline, and the start of the server. A promoted
// replica and a recovery from a base backup start a new timeline; a dump that is
// loaded into the running server does not. MySQL and MariaDB have none of the
// three; the server's name changes at a failover. A file of SQLite has no server
// that could fail.
var epochs = map[Dialect]string{
	Postgres: `SELECT concat_ws(' ', (SELECT system_identifier FROM pg_control_system()),
	left(pg_walfile_name(pg_current_wal_lsn()), 8), extract(epoch FROM pg_postmaster_start_time()))`,
	MySQL:  `SELECT CONCAT_WS(' ', @@hostname, @@port, @@server_id)`,
	SQLite: `SELECT 'SQLite'`,
}

// Epoch implements [tokencache.Epocher]. It is the same for all keys.
func (s *Store) Epoch(ctx context.Context, _ string) (string, error) {
	var text string
	err := s.call(ctx, false, func() error { return s.db.QueryRowContext(ctx, epochs[s.dialect]).Scan(&text) })
	if err != nil {
		return "", s.failed(ctx, "epoch", err)
	}
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:12]), nil
}
