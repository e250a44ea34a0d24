package browser_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// firefox is a Firefox that is driven over WebDriver BiDi.
type firefox struct {
	conn *websocket.Conn
	ctx  context.Context
	n    int
}

var bidi = regexp.MustCompile(`WebDriver BiDi listening on (ws://\S+)`)

// prefs keep the browser from calling anybody but this machine.
const prefs = `user_pref("network.proxy.type", 1);
user_pref("network.proxy.http", "127.0.0.1");
user_pref("network.proxy.http_port", 9);
user_pref("network.proxy.ssl", "127.0.0.1");
user_pref("network.proxy.ssl_port", 9);
user_pref("app.normandy.enabled", false);
user_pref("app.update.disabledForTesting", true);
user_pref("toolkit.telemetry.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
`

func startFirefox(t *testing.T) *firefox {
	t.Helper()
	binary, err := exec.LookPath("firefox-esr")
	if err != nil {
		binary, err = exec.LookPath("firefox")
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("Firefox is not installed (Debian: apt-get install firefox-esr)")
		}
		t.Skip("Firefox is not installed")
	}
	profile, err := os.MkdirTemp("", "firefox")
	if err != nil {
		t.Fatal(err)
	}
	// A process of the browser may still write when the browser has ended. What
	// it leaves there fails no test.
	t.Cleanup(func() { _ = os.RemoveAll(profile) })
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(prefs), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0", "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+profile, "MOZ_CRASHREPORTER_DISABLE=1")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found := make(chan string, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(stderr)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if m := bidi.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = cmd.Wait()
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	var url string
	select {
	case url = <-found:
	case <-ended:
		t.Fatal("Firefox ended")
	case <-ctx.Done():
		t.Fatal("Firefox does not listen")
	}
	conn, _, err := websocket.Dial(ctx, url+"/session", nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(1 << 24)
	t.Cleanup(func() { _ = conn.CloseNow() })
	f := &firefox{conn: conn, ctx: ctx}
	f.call(t, "session.new", map[string]any{"capabilities": map[string]any{}}, nil)
	return f
}

// call makes one BiDi call. Events are left out.
func (f *firefox) call(t *testing.T, method string, params, result any) {
	t.Helper()
	f.n++
	b, err := json.Marshal(map[string]any{"id": f.n, "method": method, "params": params})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.conn.Write(f.ctx, websocket.MessageText, b); err != nil {
		t.Fatal(err)
	}
	for {
		_, b, err := f.conn.Read(f.ctx)
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		var answer struct {
			ID      int             `json:"id"`
			Type    string          `json:"type"`
			Message string          `json:"message"`
			Result  json.RawMessage `json:"result"`
		}
		if err := json.Unmarshal(b, &answer); err != nil {
			t.Fatal(err)
		}
		if answer.ID != f.n {
			continue
		}
		if answer.Type == "error" {
			t.Fatalf("%s: %s", method, answer.Message)
		}
		if result != nil {
			if err := json.Unmarshal(answer.Result, result); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
}

// tab opens a tab at url and returns its name.
func (f *firefox) tab(t *testing.T, url string) string {
	t.Helper()
	var made struct{ Context string }
	f.call(t, "browsingContext.create", map[string]any{"type": "tab"}, &made)
	f.call(t, "browsingContext.navigate", map[string]any{"context": made.Context, "url": url, "wait": "complete"}, nil)
	return made.Context
}

// eval runs JavaScript and returns the string, number or boolean that it yields.
func (f *firefox) eval(t *testing.T, tab, script string) string {
	t.Helper()
	var got struct {
		Type             string
		Result           struct{ Value any }
		ExceptionDetails struct{ Text string }
	}
	f.call(t, "script.evaluate", map[string]any{"expression": script, "target": map[string]any{"context": tab}, "awaitPromise": true}, &got)
	if got.Type != "success" {
		t.Fatalf("%s: %s", script, got.ExceptionDetails.Text)
	}
	return fmt.Sprint(got.Result.Value)
}

func (f *firefox) tokenCookie(t *testing.T, tab string) string {
	t.Helper()
	var got struct {
		Cookies []struct {
			Value struct{ Value string }
		}
	}
	f.call(t, "storage.getCookies", map[string]any{
		"filter":    map[string]any{"name": "__Host-token"},
		"partition": map[string]any{"type": "context", "context": tab},
	}, &got)
	if len(got.Cookies) == 0 {
		return ""
	}
	return got.Cookies[0].Value.Value
}

func TestFirefoxDoesNotServeTheNextUserFromItsCache(t *testing.T) {
	_, at := newApp(t)
	f := startFirefox(t)
	page := f.tab(t, at)
	for _, path := range []string{"max-age", "last-modified"} {
		for _, out := range []string{`client.logout().then(() => "out")`, `(client.close(), "left")`} {
			for _, user := range []string{"alice", "bob"} {
				f.eval(t, page, signIn(user, ""))
				for range 2 {
					if got := f.eval(t, page, fmt.Sprintf(whose, path)); got != "200 "+user {
						t.Errorf("%s, %s: %s reads %q", path, out, user, got)
					}
				}
				f.eval(t, page, out)
			}
		}
	}
}

func TestFirefoxKeepsASignOutThatARenewalRuns(t *testing.T) {
	f := startFirefox(t)
	for _, other := range []bool{false, true} {
		for _, script := range []string{renewByHelper, renewByHand} {
			a, at := newApp(t)
			page := f.tab(t, at)
			f.eval(t, page, signIn("alice", ""))
			renewing := page
			if other {
				renewing = f.tab(t, at)
				f.eval(t, renewing, signIn("alice", ""))
			}
			if f.tokenCookie(t, page) == "" {
				t.Fatal("no cookie: the browser does not take it")
			}
			time.Sleep(10 * time.Millisecond) // the renewal is to be newer than the token
			let := a.vendor.hold()
			f.eval(t, renewing, `(globalThis.late = `+script+`.then((v) => "came " + v, (e) => e.code ?? e.name), "begun")`)
			<-a.vendor.began
			if out := f.eval(t, page, `client.logout().then(() => "out", (e) => e.code)`); out != "out" {
				t.Errorf("logout: %s", out)
			}
			let()
			late := f.eval(t, renewing, "late")
			if want := map[string]string{renewByHelper: "signed_out", renewByHand: "came status 401"}[script]; late != want {
				t.Errorf("another tab %v: %s, want %s", other, late, want)
			}
			if cookie, living := f.tokenCookie(t, page), a.vendor.living("alice"); cookie != "" || len(living) > 0 {
				t.Errorf("another tab %v, %s: cookie %q, living %v", other, late, cookie, living)
			}
		}
	}
}

func TestFirefoxShowsNo401OfACookieThatRanOut(t *testing.T) {
	a, at := newApp(t)
	f := startFirefox(t)
	page := f.tab(t, at)
	f.eval(t, page, signIn("alice", ""))
	if bad := f.eval(t, page, expireUnderLoad); bad != "0" {
		t.Errorf("%s of 200 calls were refused", bad)
	}
	if a.refused == 0 {
		t.Error("no cookie was gone: the test shows nothing")
	}
}
