// Package replay lets a RoundTripper send the body of one request twice.
package replay

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

var (
	errRevoked = errors.New("replay: the body went to a second send of the request")
	errClosed  = errors.New("replay: read of a closed request body")
)

const defaultLimit = 256 << 10

// Body gives a request's body to at most two sends. Each sees the whole body
// or an error, and the caller's body is closed exactly once.
type Body interface {
	// First is the body of the first send.
	First() io.ReadCloser
	// Freeze holds the first send's reads back until Settle or Second, so
	// that an upload under way does not outrun what can be kept.
	Freeze()
	// Second takes the body away from the first send. ok is false, and the
	// first send keeps it, if the whole body can no longer be had.
	Second() (body io.ReadCloser, ok bool)
	// Settle says that there will be no second send.
	Settle()
	// Sent reports whether the first send read the body to its end.
	Sent() bool
}

// New returns the body of req for two sends. Of a body without GetBody at most
// limit bytes are kept: 0 means 256 KiB, negative none.
func New(req *http.Request, limit int) Body {
	switch {
	case req.Body == nil || req.Body == http.NoBody:
		return noBody{req.Body}
	case req.GetBody != nil:
		return &repeatable{req: req, small: smallInMemory(req)}
	case limit == 0:
		limit = defaultLimit
	}
	t := &tape{src: req.Body, limit: max(limit, 0)}
	t.cond.L = &t.mu
	t.current = &tapeView{tape: t}
	return t
}

type noBody struct{ body io.ReadCloser }

func (r noBody) First() io.ReadCloser          { return r.body }
func (noBody) Freeze()                         {}
func (r noBody) Second() (io.ReadCloser, bool) { return r.body, true }
func (noBody) Settle()                         {}
func (noBody) Sent() bool                      { return true }

type repeatable struct {
	req   *http.Request
	small bool
	once  sync.Once
	eof   atomic.Bool
}

// First leaves a small body in memory as it is: net/http sends one that it
// recognizes in one write with the headers.
func (r *repeatable) First() io.ReadCloser {
	if r.small {
		return r.req.Body
	}
	return r
}

func (r *repeatable) Read(p []byte) (int, error) {
	n, err := r.req.Body.Read(p)
	if err == io.EOF {
		r.eof.Store(true)
	}
	return n, err
}

func (r *repeatable) Close() (err error) {
	r.once.Do(func() { err = r.req.Body.Close() })
	return err
}

func (*repeatable) Freeze()      {}
func (*repeatable) Settle()      {}
func (r *repeatable) Sent() bool { return r.small || r.eof.Load() }

func (r *repeatable) Second() (io.ReadCloser, bool) {
	body, err := r.req.GetBody()
	return body, err == nil
}

var nopClosers = [...]reflect.Type{
	reflect.TypeOf(io.NopCloser(nil)),
	reflect.TypeOf(io.NopCloser(struct {
		io.Reader
		io.WriterTo
	}{})),
}

// smallInMemory reports whether the body is one that http.NewRequest makes,
// whose Close does nothing. It is at most 16 KiB, so the whole of it fits into
// the connection's buffers even if the server does not read it.
func smallInMemory(req *http.Request) bool {
	if req.ContentLength <= 0 || req.ContentLength > 16<<10 || req.Header.Get("Expect") != "" {
		return false
	}
	if !slices.Contains(nopClosers[:], reflect.TypeOf(req.Body)) {
		return false
	}
	switch reflect.ValueOf(req.Body).Field(0).Interface().(type) {
	case *bytes.Reader, *bytes.Buffer, *strings.Reader:
		return true
	}
	return false
}

// tape reads a body once and keeps what was read, up to limit, for a second
// reader. Only the current view may read; a read already inside src when its
// view loses the body leaves what it gets on the tape for the next one.
type tape struct {
	src   io.ReadCloser
	limit int

	mu      sync.Mutex
	cond    sync.Cond
	kept    tapeBuffer
	err     error // of the last Read of src
	current *tapeView
	lost    bool // more was read than was kept
	reading bool // a view is inside src.Read
	frozen  bool
	settled bool // current is the last view
	closed  bool // src is closed
}

type tapeView struct {
	tape   *tape
	off    int
	closed bool
}

func (t *tape) First() io.ReadCloser { return t.current }

func (t *tape) Freeze() {
	t.mu.Lock()
	t.frozen = true
	t.mu.Unlock()
}

func (t *tape) Second() (io.ReadCloser, bool) {
	t.mu.Lock()
	if !t.lost {
		t.current = &tapeView{tape: t}
		t.release()
		defer t.mu.Unlock()
		return t.current, true
	}
	t.mu.Unlock()
	t.Settle()
	return nil, false
}

func (t *tape) Settle() {
	t.mu.Lock()
	t.kept.free()
	t.current.off = 0
	t.release()
	closeSrc := t.closeOnce()
	t.mu.Unlock()
	if closeSrc {
		_ = t.src.Close()
	}
}

func (t *tape) Sent() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err == io.EOF
}

// release makes the current view the last one.
func (t *tape) release() {
	t.frozen, t.settled = false, true
	t.cond.Broadcast()
}

// closeOnce reports whether src is to be closed now: its last view is closed.
func (t *tape) closeOnce() bool {
	if t.closed || !t.settled || !t.current.closed {
		return false
	}
	t.closed = true
	t.kept.free()
	return true
}

// Close lets go of the body; src is closed with the last view.
func (v *tapeView) Close() error {
	t := v.tape
	t.mu.Lock()
	v.closed = true
	closeSrc := t.closeOnce()
	t.cond.Broadcast()
	t.mu.Unlock()
	if closeSrc {
		return t.src.Close()
	}
	return nil
}

func (v *tapeView) Read(p []byte) (int, error) {
	t := v.tape
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		switch {
		case v != t.current:
			return 0, errRevoked
		case v.closed:
			return 0, errClosed
		case t.frozen || t.reading && v.off == t.kept.size:
			t.cond.Wait()
		case v.off < t.kept.size:
			n := copy(p, t.kept.from(v.off))
			v.off += n
			return n, nil
		case t.err != nil:
			return 0, t.err
		case len(p) == 0:
			return 0, nil
		default:
			return v.pull(p)
		}
	}
}

// pull reads on from src, with the lock released meanwhile.
func (v *tapeView) pull(p []byte) (int, error) {
	t := v.tape
	t.reading = true
	t.mu.Unlock()
	n, err := t.src.Read(p)
	t.mu.Lock()
	t.reading = false
	t.err = err
	t.cond.Broadcast()
	if v != t.current {
		t.kept.append(p[:n])
		return 0, errRevoked
	}
	switch {
	case t.settled || t.lost:
	case t.kept.size+n <= t.limit:
		t.kept.append(p[:n])
		v.off = t.kept.size
	case n > 0:
		t.lost = true
		t.kept.free()
		v.off = 0
	}
	return n, err
}

// tapeBuffer keeps bytes in chunks that are used again: an upload that succeeds
// at once, as nearly all do, leaves no garbage behind.
type tapeBuffer struct {
	chunks []*tapeChunk
	size   int
}

type tapeChunk [8 << 10]byte

var tapeChunks = sync.Pool{New: func() any { return new(tapeChunk) }}

func (b *tapeBuffer) append(p []byte) {
	for len(p) > 0 {
		if b.size == len(b.chunks)*len(tapeChunk{}) {
			b.chunks = append(b.chunks, tapeChunks.Get().(*tapeChunk))
		}
		n := copy(b.chunks[len(b.chunks)-1][b.size%len(tapeChunk{}):], p)
		b.size += n
		p = p[n:]
	}
}

// from is what is kept at off and after it in one piece.
func (b *tapeBuffer) from(off int) []byte {
	i := off / len(tapeChunk{})
	return b.chunks[i][off%len(tapeChunk{}) : min(len(tapeChunk{}), b.size-i*len(tapeChunk{}))]
}

func (b *tapeBuffer) free() {
	for _, c := range b.chunks {
		tapeChunks.Put(c)
	}
	*b = tapeBuffer{}
}
