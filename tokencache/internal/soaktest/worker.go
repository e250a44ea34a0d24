//go:build unix

package soaktest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/bits"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/redacto"
	"github.com/bearerkit/bearerkit/tokencache"
)

const (
	workerEnv = "BEARERKIT_SOAK_WORKER"
	tenant    = "11111111-1111-4111-8111-111111111111:22222222-2222-4222-8222-222222222222"
	apiKey    = "key"
	callEvery = 100 * time.Millisecond
)

// Open opens the Store at an address, and returns how to close it.
type Open func(address string) (store tokencache.Store, closed func() error, err error)

// Main is what TestMain calls first. In a process that a [Rig] started, it
// works until the rig has seen enough, and does not return.
func Main(open Open) {
	v := os.Getenv(workerEnv)
	if v == "" {
		return
	}
	var c workerConfig
	err := json.Unmarshal([]byte(v), &c)
	if err == nil {
		err = c.work(open)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// workerConfig is what a worker process is told.
type workerConfig struct {
	ID, Store, Vendor string
	Callers           int
	FetchTimeout      time.Duration
}

// Report is what callers saw.
type Report struct {
	Calls int
	// Raced counts tokens that were superseded on their way to the vendor's
	// API, so that a 401 came and Renew had the successor; Dead those for which
	// that did not help.
	Raced, Dead int
	Errors      map[string]int
	FirstError  time.Time
	LastError   time.Time
	Slowest     time.Duration
	Waits       Waits // for a token
}

func (r *Report) add(o Report) {
	r.Calls += o.Calls
	r.Raced += o.Raced
	r.Dead += o.Dead
	r.Slowest = max(r.Slowest, o.Slowest)
	for i, n := range o.Waits {
		r.Waits[i] += n
	}
	for k, n := range o.Errors {
		if r.Errors == nil {
			r.Errors = map[string]int{}
		}
		r.Errors[k] += n
	}
	if !o.FirstError.IsZero() && (r.FirstError.IsZero() || o.FirstError.Before(r.FirstError)) {
		r.FirstError = o.FirstError
	}
	if o.LastError.After(r.LastError) {
		r.LastError = o.LastError
	}
}

// Waits counts times by their size: the i-th holds those below 2^i µs.
type Waits [32]int

func (w *Waits) add(d time.Duration) {
	w[min(bits.Len64(uint64(d.Microseconds())), len(w)-1)]++
}

// Quantile is a time that the part q of all stayed below, within a factor of
// two.
func (w *Waits) Quantile(q float64) time.Duration {
	all, sum := 0, 0
	for _, n := range w {
		all += n
	}
	for i, n := range w {
		if sum += n; float64(sum) >= q*float64(all) {
			return time.Microsecond << i
		}
	}
	return 0
}

// tagged says on every request which worker sends it, and tells of a refresh
// before it is sent.
type tagged struct {
	http.RoundTripper
	id string
}

func (t tagged) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Worker", t.id)
	if strings.HasSuffix(r.URL.Path, "/tokens/refresh") {
		if err := t.aboutToRefresh(r); err != nil {
			return nil, err
		}
	}
	return t.RoundTripper.RoundTrip(r)
}

// aboutToRefresh is where the process may be stopped before r is sent. When it
// wakes up, r's deadline has passed. The runtime may see that a moment after the
// answer that is read here; where r is sent in that moment, it is a call that
// was [Overtaken].
func (t tagged) aboutToRefresh(r *http.Request) error {
	ask, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), http.MethodGet, r.URL.ResolveReference(&url.URL{Path: aboutToRefresh}).String(), nil)
	if err != nil {
		return err
	}
	ask.Header.Set("X-Worker", t.id)
	res, err := t.RoundTripper.RoundTrip(ask)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if res.StatusCode == http.StatusAccepted {
		<-r.Context().Done()
	}
	return nil
}

// work calls until standard input ends, then writes its report.
func (c workerConfig) work(open Open) error {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.MaxIdleConnsPerHost = c.Callers
	client := &http.Client{Transport: tagged{base, c.ID}}
	p, err := redacto.New(redacto.Config{BaseURL: c.Vendor, Tenants: []string{tenant}, APIKey: apiKey, HTTPClient: client})
	if err != nil {
		return err
	}
	o := tokencache.Options{
		Namespace: "soak", FetchTimeout: c.FetchTimeout,
		StoreTimeout: 3 * time.Second, // a busy machine is no outage
		Logger:       slog.New(slog.NewTextHandler(os.Stderr, nil)).With("worker", c.ID),
	}
	if c.Store != "" {
		store, closed, err := open(c.Store)
		if err != nil {
			return err
		}
		defer func() { _ = closed() }()
		o.Store = store
	}
	cache, err := tokencache.New(p, o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	reports := make([]Report, c.Callers)
	for i := range reports {
		wg.Go(func() {
			caller := &caller{cache: cache, client: client, url: c.Vendor + "/consent/me", report: &reports[i]}
			for ctx.Err() == nil {
				// The callers of all processes come at the same moment.
				time.Sleep(callEvery - time.Duration(time.Now().UnixNano())%callEvery)
				caller.call()
			}
		})
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	cancel()
	wg.Wait()
	var sum Report
	for _, r := range reports {
		sum.add(r)
	}
	closing, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	if err := cache.Close(closing); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(sum)
}

type caller struct {
	cache  *tokencache.Cache
	client *http.Client
	url    string
	report *Report
}

// call gets the user's token and uses it, as a Transport does.
func (c *caller) call() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req := providers.Request{Tenant: tenant, Subject: "ada"}
	c.report.Calls++
	begun := time.Now()
	tok, err := c.cache.Generate(ctx, req)
	c.report.Slowest = max(c.report.Slowest, time.Since(begun))
	c.report.Waits.add(time.Since(begun))
	if err != nil || c.accepted(ctx, tok) {
		c.failed("generate", err)
		return
	}
	c.report.Raced++
	next, err := c.cache.Renew(ctx, req, tok)
	if err != nil {
		c.failed("renew", err)
		return
	}
	// On a machine that stands still for a moment, the next renewal may lie
	// between Renew and the look: then the cache has a newer token by itself.
	for !c.accepted(ctx, next) {
		last, err := c.cache.Generate(ctx, req)
		if err != nil || last.Version <= next.Version {
			c.report.Dead++
			return
		}
		next = last
	}
}

func (c *caller) failed(op string, err error) {
	if err == nil {
		return
	}
	if c.report.Errors == nil {
		c.report.Errors = map[string]int{}
		c.report.FirstError = time.Now()
	}
	c.report.Errors[op+": "+providers.AsError(err).Error()]++
	c.report.LastError = time.Now()
}

func (c *caller) accepted(ctx context.Context, tok providers.Token) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err == nil {
		r.Header.Set("Authorization", "Bearer "+tok.AccessToken)
		var res *http.Response
		if res, err = c.client.Do(r); err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			return res.StatusCode != http.StatusUnauthorized
		}
	}
	c.failed("vendor's API", err)
	return true
}

// worker is a process at work.
type worker struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
	log   Output
}

func startWorker(t testing.TB, c workerConfig) *worker {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{cmd: exec.Command(self)}
	w.cmd.Env = append(os.Environ(), workerEnv+"="+string(text))
	stdin, err1 := w.cmd.StdinPipe()
	stdout, err2 := w.cmd.StdoutPipe()
	w.cmd.Stderr = &w.log
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	w.stdin, w.out = stdin, bufio.NewReader(stdout)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return w
}

// stop ends the work and returns what came of it.
func (w *worker) stop() (r Report, err error) {
	_ = w.stdin.Close()
	err = json.NewDecoder(w.out).Decode(&r)
	if waitErr := w.cmd.Wait(); err == nil {
		err = waitErr
	}
	return r, err
}

// kill ends the process as kill -9 does.
func (w *worker) kill() {
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}
