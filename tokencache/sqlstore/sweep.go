package sqlstore

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	sweepEvery = time.Minute
	sweepBatch = 500
	sweepPause = 100 * time.Millisecond
	sweepTime  = 5 * time.Second
)

// sweepOn deletes expired rows until the Store is closed. A row is absent as
// soon as it expires. It is deleted within two hours after that, in small
// statements, by any of the processes.
func (s *Store) sweepOn() {
	for pause := sweepEvery; ; {
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
			return
		}
		pause = sweepEvery
		if n, err := s.sweep(s.ctx, sweepBatch); err == nil && n == sweepBatch {
			pause = sweepPause // there is more
		}
	}
}

// sweep deletes up to limit expired rows and returns how many.
func (s *Store) sweep(ctx context.Context, limit int) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	err = s.call(ctx, true, func() error {
		res, err := s.db.ExecContext(ctx, s.say.sweep.text, s.say.sweep.args(args{"limit": limit})...)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	return n, s.failed(ctx, "sweep", err)
}
