//go:build unix

package soaktest

import (
	"net/http"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/providers/providertest"
)

// aboutToRefresh is what a worker asks for before it sends a refresh.
const aboutToRefresh = "/about-to-refresh"

// Moment is when a process stands still that refreshes.
type Moment int

const (
	// Unsent is the moment before the call is sent.
	Unsent Moment = iota
	// Unread is the moment after the vendor has worked: its answer lies in the
	// kernel.
	Unread
	// Overtaken is the moment before the vendor works. It does so only when
	// another process's call has come and gone.
	Overtaken
)

// stop is a process that stands still at one moment of its refresh. All but
// worker is set when it is made.
type stop struct {
	at     Moment
	worker string
	frozen chan error    // yields when the process stands still
	arrive chan struct{} // Overtaken: closed when the vendor may work
	served chan struct{} // closed when the vendor has worked
}

// takes reports whether the process that sends req is the one to be stopped.
// The rig's lock is held.
func (s *stop) takes(req *http.Request) bool {
	if s == nil || s.worker != "" {
		return false
	}
	if s.at == Unsent {
		return req.URL.Path == aboutToRefresh
	}
	return strings.HasSuffix(req.URL.Path, "/tokens/refresh")
}

// happen stops the process. The worker answers for what it does with the
// answer: see tagged.
func (s *stop) happen(vendor *providertest.Fake, holder *worker, w http.ResponseWriter, req *http.Request) {
	s.frozen <- Freeze(holder.cmd.Process.Pid)
	switch s.at {
	case Unsent:
		w.WriteHeader(http.StatusAccepted)
	case Overtaken:
		<-s.arrive
		fallthrough
	case Unread:
		vendor.ServeHTTP(w, req)
	}
	close(s.served)
}

// Stop freezes the process that refreshes next, at a moment, for as long as it
// takes another one to bring a new pair: longer than its lease. It returns when
// the process has worked on for two more pairs.
func (r *Rig) Stop(at Moment) {
	r.t.Helper()
	s := &stop{at: at, frozen: make(chan error, 1), arrive: make(chan struct{}), served: make(chan struct{})}
	r.mu.Lock()
	r.stop = s
	r.mu.Unlock()
	select {
	case err := <-s.frozen:
		if err != nil {
			r.t.Fatal(err)
		}
	case <-time.After(time.Minute):
		close(s.arrive)
		r.t.Fatal("no refresh came")
	}
	if at != Overtaken {
		<-s.served
	}
	before := r.vendor.Stats().Issued
	Eventually(r.t, "another process to bring a pair", func() bool { return r.vendor.Stats().Issued > before })
	close(s.arrive)
	<-s.served
	r.mu.Lock()
	holder, calls := r.workers[s.worker], r.calls[s.worker]
	r.mu.Unlock()
	Thaw(holder.cmd.Process.Pid)
	before = r.vendor.Stats().Issued
	Eventually(r.t, "the process to work on", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.vendor.Stats().Issued >= before+2 && r.calls[s.worker] >= calls+2*callers
	})
}
