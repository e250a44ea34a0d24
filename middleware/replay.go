package middleware

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
	errReplayRevoked = errors.New("middleware: the body went to a second send of the request")
	errReplayClosed  = errors.New("middleware: read of a closed request body")
)

// replay gives a request's body to at most two sends. Each sees the whole body
// or an error, and the caller's body is closed exactly once.
type replay interface {
	// first is the body of the first send.
	first() io.ReadCloser
	// freeze holds the first send's reads back until settle or second, so
	// that an upload under way does not outrun what can be kept.
	freeze()
	// second takes the body away from the first send. ok is false, and the
	// first send keeps it, if the whole body can no longer be had.
	second() (body io.ReadCloser, ok bool)
	// settle says that there will be no second send.
	settle()
	// sent reports whether the first send read the body to its end.
	sent() bool
}

func newReplay(req *http.Request, limit int) replay {
	switch {
	case req.Body == nil || req.Body == http.NoBody:
		return replayNone{req.Body}
	case req.GetBody != nil:
		return &replayGetBody{req: req, small: smallInMemory(req)}
	case limit == 0:
		limit = defaultReplayBody
	}
	t := &tape{src: req.Body, limit: max(limit, 0)}
	t.cond.L = &t.mu
	t.current = &tapeView{tape: t}
	return t
}

type replayNone struct{ body io.ReadCloser }

func (r replayNone) first() io.ReadCloser          { return r.body }
func (replayNone) freeze()                         {}
func (r replayNone) second() (io.ReadCloser, bool) { return r.body, true }
func (replayNone) settle()                         {}
func (replayNone) sent() bool                      { return true }

type replayGetBody struct {
	req   *http.Request
	small bool
	once  sync.Once
	eof   atomic.Bool
}

// first leaves a small body in memory as it is: net/http sends one that it
// recognizes in one write with the headers.
func (r *replayGetBody) first() io.ReadCloser {
	if r.small {
		return r.req.Body
	}
	return r
}

func (r *replayGetBody) Read(p []byte) (int, error) {
	n, err := r.req.Body.Read(p)
	if err == io.EOF {
		r.eof.Store(true)
	}
	return n, err
}

func (r *replayGetBody) Close() (err error) {
	r.once.Do(func() { err = r.req.Body.Close() })
	return err
}

func (*replayGetBody) freeze()      {}
func (*replayGetBody) settle()      {}
func (r *replayGetBody) sent() bool { return r.small || r.eof.Load() }

func (r *replayGetBody) second() (io.ReadCloser, bool) {
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

// smallInMemory reports a body as http.NewRequest makes it, whose Close does
// nothing and which the connection takes whole, whether or not it is read there.
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
	err     error // src's last word
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

func (t *tape) first() io.ReadCloser { return t.current }

func (t *tape) freeze() {
	t.mu.Lock()
	t.frozen = true
	t.mu.Unlock()
}

func (t *tape) second() (io.ReadCloser, bool) {
	t.mu.Lock()
	if !t.lost {
		t.current = &tapeView{tape: t}
		t.release()
		defer t.mu.Unlock()
		return t.current, true
	}
	t.mu.Unlock()
	t.settle()
	return nil, false
}

func (t *tape) settle() {
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

func (t *tape) sent() bool {
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
			return 0, errReplayRevoked
		case v.closed:
			return 0, errReplayClosed
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
		return 0, errReplayRevoked
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
