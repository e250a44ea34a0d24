package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

const uploadBytes = 200_000

// calloutScene is the client of page_callout.go, an API, and the server that
// gives out its tokens.
type calloutScene struct {
	tokens *authServer
	client *http.Client
	api    *tally
	url    string // of the API
	seen   map[int]int

	mu       sync.Mutex
	waiting  int           // callers with the revoked token that have arrived
	together chan struct{} // closed when all have
	once     sync.Once
	refused  chan struct{} // closed when an upload was refused
	got      [sha256.Size]byte
}

func playCallout(ctx context.Context, log *slog.Logger, tell func(step)) (err error) {
	c := &calloutScene{seen: map[int]int{}, together: make(chan struct{}), refused: make(chan struct{})}
	var end func() error
	if c.tokens, end, err = newAuthServer(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders", c.orders)
	mux.HandleFunc("POST /files", c.files)
	c.api = &tally{Handler: mux}
	stop, err := listen(func(url string) (http.Handler, error) { c.url = url; return c.api, nil })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	client, cache, err := callout(c.tokens.URL+"/token", c.tokens.clientID, c.tokens.secret, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cache.Close(ctx)) }()
	c.client = client
	for _, play := range []func(context.Context) (step, error){c.first, c.ten, c.upload} {
		line, err := play(ctx)
		if err != nil {
			return err
		}
		tell(line)
	}
	tell(step{Sum: fmt.Sprintf("The callers got %s. The API refused %s with 401, which no caller saw. The authorization server got %s.",
		statuses(c.seen), many(c.api.of(http.StatusUnauthorized), "request", "requests"), many(c.tokens.calls(), "token call", "token calls"))})
	return nil
}

func (c *calloutScene) first(ctx context.Context) (step, error) {
	seen, err := c.get(ctx, 5)
	return step{
		Did: "The service calls the API five times, for the first time since it started.",
		Saw: fmt.Sprintf("%s, from %s.", statuses(seen), many(c.tokens.calls(), "token call", "token calls")),
	}, err
}

func (c *calloutScene) ten(ctx context.Context) (step, error) {
	c.tokens.revoke()
	calls, refused := c.tokens.calls(), c.api.of(http.StatusUnauthorized)
	seen, err := c.get(ctx, 10)
	return step{
		Did: "The API stops accepting the token long before its end. Ten callers arrive with it at once.",
		Saw: fmt.Sprintf("The API refused %d of them with 401. One renewal for all of them took %s. The callers saw %s.",
			c.api.of(http.StatusUnauthorized)-refused, many(c.tokens.calls()-calls, "token call", "token calls"), statuses(seen)),
	}, err
}

// upload sends a body that cannot be read twice, and whose second half is not
// there yet when the API refuses the token.
func (c *calloutScene) upload(ctx context.Context) (step, error) {
	file := make([]byte, uploadBytes)
	_, _ = rand.Read(file) // never fails
	body, source := io.Pipe()
	go func() {
		if _, err := source.Write(file[:uploadBytes/2]); err != nil {
			return
		}
		select {
		case <-c.refused:
			_, err := source.Write(file[uploadBytes/2:])
			_ = source.CloseWithError(err)
		case <-ctx.Done():
			_ = source.CloseWithError(ctx.Err())
		}
	}()
	c.tokens.revoke()
	calls := c.tokens.calls()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/files", body)
	if err != nil {
		return step{}, err
	}
	status, err := c.do(r)
	if err != nil {
		return step{}, err
	}
	c.seen[status]++
	c.mu.Lock()
	defer c.mu.Unlock()
	whole := "The API did not get the file."
	if c.got == sha256.Sum256(file) {
		whole = "The API got the whole file: its SHA-256 is the same."
	}
	return step{
		Did: fmt.Sprintf("A caller uploads %d kB. The API reads %d kB and then refuses the token.", uploadBytes/1000, uploadBytes/2000),
		Saw: fmt.Sprintf("The caller saw %d %s. The token was renewed with %s, and the upload was sent again. %s",
			status, http.StatusText(status), many(c.tokens.calls()-calls, "token call", "token calls"), whole),
	}, nil
}

// get makes n calls at once and returns how often each status came.
func (c *calloutScene) get(ctx context.Context, n int) (map[int]int, error) {
	statuses, errs := make([]int, n), make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/orders", nil)
			if err == nil {
				statuses[i], err = c.do(r)
			}
			errs[i] = err
		})
	}
	all.Wait()
	seen := map[int]int{}
	for _, status := range statuses {
		seen[status]++
		c.seen[status]++
	}
	return seen, errors.Join(errs...)
}

func (c *calloutScene) do(r *http.Request) (status int, err error) {
	res, err := c.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

// orders refuses callers with a revoked token once all ten have arrived, so that
// none of them profits from the renewal of another.
func (c *calloutScene) orders(w http.ResponseWriter, r *http.Request) {
	if c.tokens.accepts(r) {
		_, _ = io.WriteString(w, "orders")
		return
	}
	c.mu.Lock()
	if c.waiting++; c.waiting == 10 {
		close(c.together)
	}
	c.mu.Unlock()
	select {
	case <-c.together:
	case <-time.After(5 * time.Second):
	case <-r.Context().Done():
	}
	refuse(w)
}

// files reads half of a body before it looks at the token.
func (c *calloutScene) files(w http.ResponseWriter, r *http.Request) {
	out := http.NewResponseController(w)
	_ = out.EnableFullDuplex() // answers before the body has come, as many servers do
	half := make([]byte, uploadBytes/2)
	if _, err := io.ReadFull(r.Body, half); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if !c.tokens.accepts(r) {
		w.Header().Set("Connection", "close")
		refuse(w)
		_ = out.Flush()
		c.once.Do(func() { close(c.refused) })
		return
	}
	rest, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = sha256.Sum256(bytes.Join([][]byte{half, rest}, nil))
	w.WriteHeader(http.StatusOK)
}

func refuse(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	w.WriteHeader(http.StatusUnauthorized)
}
