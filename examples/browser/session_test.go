package browser_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// signIn signs user in, and makes a client.
func signIn(user string, options string) string {
	return fmt.Sprintf(`fetch("/login?user=%s", { method: "POST" })
		.then(() => import("/bearerkit.mjs"))
		.then(({ createClient }) => { globalThis.client = createClient({ base: "/api", refresh: "", cookie: true, %s }); return client.token(); })
		.then(() => "signed in")`, user, options)
}

const whose = `client.fetch("/data/%s").then(async (r) => r.status + " " + (await r.text()))`

// tokenCookie is the browser's own record of the token's cookie.
func tokenCookie(t *testing.T, page context.Context, at string) string {
	t.Helper()
	var value string
	do(t, page, chromedp.Action[chromedp.Void](func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		res, err := cdp.Call(ctx, target, network.GetCookies, network.GetCookiesParams{URLs: []string{at}})
		if err == nil {
			for _, c := range res.Cookies {
				if c.Name == "__Host-token" {
					value = c.Value
				}
			}
		}
		return chromedp.Void{}, err
	}))
	return value
}

// One user reads and signs out, a second one signs in and reads the same path.
func TestTheNextUserDoesNotGetTheFirstOnesData(t *testing.T) {
	_, at := newApp(t)
	browser := chromium(t)
	page := tab(t, browser, at, new(transcript))
	for _, worker := range []bool{false, true} {
		if worker {
			eval[string](t, page, `navigator.serviceWorker.register("/worker.js", { type: "module" }).then(() => navigator.serviceWorker.ready)
				.then(() => navigator.serviceWorker.controller ?? new Promise((r) => navigator.serviceWorker.addEventListener("controllerchange", r))).then(() => "ready")`)
		}
		for _, path := range []string{"max-age", "last-modified"} {
			for _, mode := range []string{"", `cookie: false, token: "plain"`} {
				for _, out := range []string{`client.logout().then(() => "out")`, `(client.close(), "left")`} {
					for _, user := range []string{"alice", "bob"} {
						eval[string](t, page, signIn(user, mode))
						for range 2 {
							if got := eval[string](t, page, fmt.Sprintf(whose, path)); got != "200 "+user {
								t.Errorf("worker %v, %s, %s, %s: %s reads %q", worker, path, mode, out, user, got)
							}
						}
						eval[string](t, page, out)
					}
				}
			}
		}
	}
}

// A page of a sibling subdomain has the visitor's cookies sent with its
// WebSocket. The proxy refuses the handshake by its Origin.
func TestASiblingPageOpensNoWebSocket(t *testing.T) {
	a, at := newApp(t)
	port := at[strings.LastIndex(at, ":"):]
	own, evil := "http://www.app.localhost"+port, "http://evil.app.localhost"+port
	browser := chromium(t)
	page := tab(t, browser, own, new(transcript))
	eval[string](t, page, signIn("alice", ""))
	open := fmt.Sprintf(`new Promise((resolve) => {
		const socket = new WebSocket("ws://www.app.localhost%s/ws");
		socket.onmessage = (e) => resolve("got " + e.data);
		socket.onerror = () => resolve("refused");
	})`, port)
	if got := eval[string](t, page, open); got != "got alice" {
		t.Errorf("the application's own page: %s", got)
	}
	before := a.calls("/ws")
	other := tab(t, browser, evil, new(transcript))
	if got := eval[string](t, other, open); got != "refused" {
		t.Errorf("the sibling's page: %s", got)
	}
	if a.calls("/ws") != before+1 {
		t.Error("the handshake did not reach the proxy")
	}
}

// The two ways to renew: by the helper, and by a page of its own making.
const (
	renewByHelper = `client.refresh()`
	renewByHand   = `fetch("/api/token", { method: "POST", headers: { "Content-Type": "application/json", "Cache-Control": "no-cache" }, body: "{}" }).then((r) => "status " + r.status)`
)

// expireUnderLoad takes the cookie away five times, before 40 calls each, and
// counts those that were not answered 200.
const expireUnderLoad = `(async () => {
		let bad = 0;
		for (let round = 0; round < 5; round++) {
			await fetch("/expire", { method: "POST" });
			const answers = await Promise.all(Array.from({ length: 40 }, () => client.fetch("/data/x")));
			bad += answers.filter((r) => r.status !== 200).length;
		}
		return bad;
	})()`

// The race that signs a user in again: a renewal is under way, in this tab, in
// another one or in a page without the helper, when the user signs out.
func TestASignOutDuringARenewalStands(t *testing.T) {
	for name, c := range map[string]struct {
		other  bool
		script string
	}{
		"same tab":               {false, renewByHelper},
		"another tab":            {true, renewByHelper},
		"same tab, no helper":    {false, renewByHand},
		"another tab, no helper": {true, renewByHand},
	} {
		t.Run(name, func(t *testing.T) {
			a, at := newApp(t)
			browser := chromium(t)
			page := tab(t, browser, at, new(transcript))
			eval[string](t, page, signIn("alice", ""))
			renewing := page
			if c.other {
				renewing = tab(t, browser, at, new(transcript))
				eval[string](t, renewing, signIn("alice", ""))
			}
			if tokenCookie(t, page, at) == "" {
				t.Fatal("no cookie: the browser does not take it")
			}
			time.Sleep(10 * time.Millisecond) // the renewal is to be newer than the token
			let := a.vendor.hold()
			defer let()
			eval[string](t, renewing, `(globalThis.late = `+c.script+`.then((v) => "came " + v, (e) => e.code ?? e.name), "begun")`)
			<-a.vendor.began // the vendor is at work
			out := eval[string](t, page, `client.logout().then(() => "out", (e) => e.code)`)
			if out != "out" {
				t.Errorf("logout: %s", out)
			}
			let()
			late := eval[string](t, renewing, `late`)
			if want := map[string]string{renewByHelper: "signed_out", renewByHand: "came status 401"}[c.script]; late != want {
				t.Errorf("the renewal: %s, want %s", late, want)
			}
			if value := tokenCookie(t, page, at); value != "" {
				t.Errorf("the old user is signed in again: %s", value)
			}
			if living := a.vendor.living("alice"); len(living) > 0 {
				t.Errorf("%v live on at the vendor", living)
			}
			if got := eval[int](t, page, `fetch("/data/x").then((r) => r.status)`); got != 401 {
				t.Errorf("the signed-out page gets %d", got)
			}
		})
	}
}

// A handler of onSignOut that navigates, and a tab that is closed, break no
// sign-out.
func TestASignOutOutlivesThePage(t *testing.T) {
	for name, leave := range map[string]string{
		"navigates in onSignOut": `(client.logout(), "leaving")`,
		"navigates at once":      `(client.logout(), location.assign("/elsewhere"), "leaving")`,
		"is closed":              `(client.logout(), "close")`,
	} {
		t.Run(name, func(t *testing.T) {
			a, at := newApp(t)
			browser := chromium(t)
			stays := tab(t, browser, at, new(transcript))
			page := tab(t, browser, at, new(transcript))
			eval[string](t, page, signIn("alice", `onSignOut: () => location.assign("/signed-out")`))
			if len(a.vendor.living("alice")) != 1 {
				t.Fatal("no token")
			}
			if eval[string](t, page, leave) == "close" {
				if err := chromedp.Cancel(page); err != nil {
					t.Fatal(err)
				}
			}
			for end := time.Now().Add(time.Minute); len(a.vendor.living("alice")) > 0 || tokenCookie(t, stays, at) != ""; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("living %v, cookie %q, %d calls", a.vendor.living("alice"), tokenCookie(t, stays, at), a.calls("/api/sign-out"))
				}
			}
		})
	}
}

// A cookie that runs out under load is renewed before a page sees a 401.
func TestACookieThatRunsOutShowsThePageNo401(t *testing.T) {
	a, at := newApp(t)
	page := tab(t, chromium(t), at, new(transcript))
	eval[string](t, page, signIn("alice", ""))
	bad := eval[int](t, page, expireUnderLoad)
	if bad > 0 {
		t.Errorf("%d of 200 calls were refused", bad)
	}
	if a.refused == 0 {
		t.Error("no cookie was gone: the test shows nothing")
	}
}

// A service worker has a client too, and hears of a sign-out in a tab.
func TestAServiceWorkersClient(t *testing.T) {
	a, at := newApp(t)
	page := tab(t, chromium(t), at, new(transcript))
	eval[string](t, page, signIn("alice", ""))
	eval[string](t, page, `navigator.serviceWorker.register("/worker.js", { type: "module" }).then(() => navigator.serviceWorker.ready)
		.then(() => navigator.serviceWorker.controller ?? new Promise((r) => navigator.serviceWorker.addEventListener("controllerchange", r))).then(() => "ready")`)
	const ask = `navigator.serviceWorker.ready.then((registration) => new Promise((resolve) => {
		const { port1, port2 } = new MessageChannel();
		port1.onmessage = (e) => resolve(e.data);
		registration.active.postMessage("/data/max-age", [port2]);
	}))`
	if got := eval[string](t, page, ask); got != "200 alice" {
		t.Errorf("the worker reads %q", got)
	}
	eval[string](t, page, `client.logout().then(() => "out")`)
	if got := eval[string](t, page, ask); got != "signed_out" {
		t.Errorf("after the sign-out the worker gets %q", got)
	}
	if cookie := tokenCookie(t, page, at); cookie != "" || len(a.vendor.living("alice")) > 0 {
		t.Errorf("cookie %q, living %v", cookie, a.vendor.living("alice"))
	}
}
