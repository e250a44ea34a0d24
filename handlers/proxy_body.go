package handlers

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// callerBody is the body of a caller. It notes whether the body came too late,
// which is no fault of the upstream.
//
// If the caller waits for 100 Continue, Close only ends reading. Up to Go 1.25
// net/http reads such a body to its end when it is closed, and so waits for a
// caller that waits for the answer. The server closes the body itself after the
// answer.
type callerBody struct {
	io.ReadCloser
	waits   bool
	closed  atomic.Bool
	reading chan struct{} // held by Read
	overdue bool          // guarded by reading
}

func (b *callerBody) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	b.reading <- struct{}{}
	defer func() { <-b.reading }()
	n, err := b.ReadCloser.Read(p)
	b.overdue = b.overdue || errors.Is(err, os.ErrDeadlineExceeded)
	return n, err
}

func (b *callerBody) Close() error {
	if !b.waits {
		return b.ReadCloser.Close()
	}
	b.closed.Store(true)
	return nil
}

// late reports whether the body came later than the server's ReadTimeout.
// net/http cancels the request of such a body a moment before Read returns, so
// late waits for that Read.
func (b *callerBody) late(r *http.Request) bool {
	select {
	case b.reading <- struct{}{}:
	default:
		if !gone(r) {
			return false
		}
		timer := time.NewTimer(time.Second)
		defer timer.Stop()
		select {
		case b.reading <- struct{}{}:
		case <-timer.C:
			return false
		}
	}
	defer func() { <-b.reading }()
	return b.overdue
}
