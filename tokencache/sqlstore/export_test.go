package sqlstore

import "context"

// Sweep deletes up to limit rows that have expired.
func (s *Store) Sweep(ctx context.Context, limit int) (int64, error) { return s.sweep(ctx, limit) }
