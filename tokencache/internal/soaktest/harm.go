//go:build unix

package soaktest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Eventually waits until ok, or fails the test with more. It waits for a minute:
// that costs nothing where the machine is fast.
func Eventually(t testing.TB, what string, ok func() bool, more ...func() string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			for _, m := range more {
				t.Log(m())
			}
			t.Fatal("waited too long for", what)
		}
	}
}

// Freeze stops a process as SIGSTOP does, and returns when each of its threads
// stands still. The kernel stops them one by one as they come to run: on a busy
// machine, one may work on for tens of milliseconds after the signal.
func Freeze(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		still := true
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid)) // none where there is no /proc
		for _, task := range tasks {
			stat, err := os.ReadFile(task)
			_, state, _ := strings.Cut(string(stat), ") ")
			still = still && (err != nil || strings.HasPrefix(state, "T"))
		}
		switch {
		case still:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("process %d does not stop", pid)
		}
	}
}

// Thaw lets a frozen process go on.
func Thaw(pid int) { _ = syscall.Kill(pid, syscall.SIGCONT) }

func portOf(l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// Output is what a process wrote.
type Output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// String is all of it.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// Proxy passes connections on to a server, until it is told of another.
type Proxy struct {
	net.Listener
	mu      sync.Mutex
	target  string // "": nobody is let in
	awaited string // a command that arms swallow
	swallow bool   // drops the next reply, and its connection
	conns   map[net.Conn]bool
}

// NewProxy returns a Proxy that leads to target, a host and port.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Listener: l, target: target, conns: map[net.Conn]bool{}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.pass(c)
		}
	}()
	t.Cleanup(func() { _ = l.Close(); p.Lead("") })
	return p
}

// Port is where it listens.
func (p *Proxy) Port() string { return portOf(p) }

// Lead ends all connections and leads the next ones to target; "" lets nobody
// in.
func (p *Proxy) Lead(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
	for c := range p.conns {
		_ = c.Close()
	}
}

// Cut ends every connection.
func (p *Proxy) Cut() {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	p.Lead(target)
}

// Swallow loses the reply to the next request that holds command, in lower
// case, and its connection.
func (p *Proxy) Swallow(command string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.awaited = command
}

// Swallowed reports that no reply is still to be lost.
func (p *Proxy) Swallowed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.awaited == "" && !p.swallow
}

func (p *Proxy) pass(near net.Conn) {
	defer func() { _ = near.Close() }()
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	if target == "" {
		return
	}
	far, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = far.Close() }()
	p.mu.Lock()
	led := p.target == target // and not elsewhere meanwhile
	if led {
		p.conns[near], p.conns[far] = true, true
	}
	p.mu.Unlock()
	if !led {
		return
	}
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, near)
		delete(p.conns, far)
	}()
	go func() {
		_, _ = io.Copy(far, &requests{near, p})
		_ = far.Close()
	}()
	_, _ = io.Copy(near, &replies{far, p})
}

// requests arms the proxy when the awaited command passes.
type requests struct {
	net.Conn
	p *Proxy
}

func (r *requests) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	if r.p.awaited != "" && strings.Contains(strings.ToLower(string(b[:n])), r.p.awaited) {
		r.p.awaited, r.p.swallow = "", true
	}
	return n, err
}

// replies loses one where the proxy is armed.
type replies struct {
	net.Conn
	p *Proxy
}

func (r *replies) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	if r.p.swallow {
		r.p.swallow = false
		return 0, io.EOF
	}
	return n, err
}
