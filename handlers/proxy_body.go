package handlers

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// callerBody is the body of a caller. It notes whether the body came too late or
// broke off, which is no fault of the upstream.
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
	failed  error         // the answer to a body that could not be read; guarded by reading
}

func (b *callerBody) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	b.reading <- struct{}{}
	defer func() { <-b.reading }()
	n, err := b.ReadCloser.Read(p)
	if b.failed == nil {
		b.failed = callersFault(err)
	}
	return n, err
}

// callersFault returns the answer to a body whose Read returned err, or nil if
// the caller is not to blame. It has nil for a wrapper's bound, too: lost
// answers that.
func callersFault(err error) error {
	var large *http.MaxBytesError
	switch {
	case err == nil, err == io.EOF, errors.Is(err, http.ErrBodyReadAfterClose), errors.As(err, &large):
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(codeTimedOut, "")
	}
	return refuse(providers.CodeInvalidField, "The body could not be read to its end.")
}

func (b *callerBody) Close() error {
	if !b.waits {
		return b.ReadCloser.Close()
	}
	b.closed.Store(true)
	return nil
}

// fault returns the answer to a body that came later than the server's
// ReadTimeout or broke off, else nil. net/http cancels the request of a late body
// a moment before Read returns, so fault waits for that Read.
func (b *callerBody) fault(r *http.Request) error {
	select {
	case b.reading <- struct{}{}:
	default:
		if !gone(r) {
			return nil
		}
		timer := time.NewTimer(time.Second)
		defer timer.Stop()
		select {
		case b.reading <- struct{}{}:
		case <-timer.C:
			return nil
		}
	}
	defer func() { <-b.reading }()
	return b.failed
}
