package browser_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

var (
	screenshots = flag.String("screenshots", "", "directory that TestLayout writes to")
	binary      string
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "gateway")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "gateway")
	build := exec.Command("go", "build", "-o", binary, "./gateway")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s%v\n", out, err)
		return 1
	}
	return m.Run()
}

// transcript is text that several goroutines add to.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *transcript) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

var address = regexp.MustCompile(`bearerkit gateway on (http://\S+)`)

// gateway runs the program until the test ends and returns its address and all
// that it writes.
func gateway(t *testing.T, env ...string) (string, *transcript) {
	t.Helper()
	cmd := exec.Command(binary)
	cmd.Env = append([]string{"ADDR=127.0.0.1:0", "PATH=" + os.Getenv("PATH")}, env...)
	wrote := new(transcript)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = wrote
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	copied := make(chan struct{})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-copied
		_ = cmd.Wait()
	})
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	go func() { _, _ = io.Copy(wrote, lines); close(copied) }()
	at := address.FindStringSubmatch(first)
	if err != nil || at == nil {
		t.Fatalf("the gateway said %q: %v\n%s", first, err, wrote)
	}
	return at[1], wrote
}

// patience is how long a browser may take, to start and for a test.
const patience = 8 * time.Minute

// chromium starts a browser; without one the test fails.
func chromium(t *testing.T) context.Context {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.WSURLReadTimeout(patience)) // a busy machine needs long to start it
	if os.Geteuid() == 0 {
		opts = append(opts, chromedp.NoSandbox)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("Chromium (Debian: apt-get install chromium): %v", err)
	}
	return ctx
}

// tab opens another tab of the browser at url. said gets what the page logs,
// the URLs it asks for and what the browser says of it.
func tab(t *testing.T, browser context.Context, url string, said *transcript) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	err := chromedp.Listen(ctx, func(ev any) {
		switch ev := ev.(type) {
		case *runtime.EventConsoleAPICalled:
			for _, a := range ev.Args {
				_, _ = fmt.Fprintf(said, "console: %s %s\n", a.Value, a.Description)
			}
		case *runtime.EventExceptionThrown:
			_, _ = fmt.Fprintf(said, "exception: %s %+v\n", ev.ExceptionDetails.Text, ev.ExceptionDetails.Exception)
		case *log.EventEntryAdded:
			_, _ = fmt.Fprintf(said, "browser: %s %s\n", ev.Entry.Text, ev.Entry.URL)
		case *network.EventRequestWillBeSent:
			_, _ = fmt.Fprintf(said, "request: %s %s\n", ev.Request.Method, ev.Request.URL)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	do(t, ctx, chromedp.Navigate(url))
	return ctx
}

func do(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// eval runs JavaScript, awaits what it returns and decodes that.
func eval[T any](t *testing.T, ctx context.Context, script string) T {
	t.Helper()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return out
}

// counts is a side's part of /demo/state.
type counts struct {
	TokenCalls   int `json:"token_calls"`
	Unauthorized int
	TurnedAway   int `json:"turned_away"`
	Killed       int
	WaitedMS     int `json:"waited_ms"`
	Refused      int
	Limited      int
	Strayed      int
}

type both struct{ Sample, Kit counts }

// counted is what /demo/state answers.
type counted struct {
	Scenes       int
	Scene, Total both
}

// state is what the server counted for the visitor whose tab page is.
func state(t *testing.T, page context.Context) (s counted) {
	t.Helper()
	text := eval[string](t, page, `fetch("/demo/state").then((r) => r.text())`)
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// secrets finds tokens, which all are JWTs here, and the keys of the embedded
// vendors, which are of crypto/rand.Text.
var secrets = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+|\b[A-Z2-7]{26,}\b`)

func noSecret(t *testing.T, where, text string) {
	t.Helper()
	if found := secrets.FindString(text); found != "" {
		t.Errorf("%s: shows a secret of %d characters: %.6s…", where, len(found), found)
	}
}

func mustContain(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %q", want, text)
		}
	}
}
