package browser_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Five tabs with ten callers each, all of the same user and at once, cost one
// token call.
func TestFiveTabsOneTokenCall(t *testing.T) {
	at, _ := gateway(t)
	browser := chromium(t)
	said := new(transcript)
	const tabs, callers = 5, 10
	first := tab(t, browser, at, said)
	if status := eval[int](t, first, `fetch("/demo/begin", {method: "POST"}).then((r) => r.status)`); status != http.StatusOK {
		t.Fatalf("begin: %d", status)
	}
	const script = `import("/page/bearerkit.mjs").then(async ({ createClient }) => {
		const client = createClient({ base: "/demo/kit/api/consent" });
		const calls = Array.from({ length: %d }, () => client.fetch("/demo/kit/consent/notices"));
		return (await Promise.all(calls)).filter((r) => r.ok).length;
	})`
	var wg sync.WaitGroup
	for i := range tabs {
		page := first
		if i > 0 {
			page = tab(t, browser, at, said)
		}
		wg.Go(func() {
			served, err := chromedp.Run(page, chromedp.Evaluate[int](fmt.Sprintf(script, callers), chromedp.EvalAwaitPromise))
			if err != nil || served != callers {
				t.Errorf("tab %d: %d of %d callers served, %v", i, served, callers, err)
			}
		})
	}
	wg.Wait()
	if s := state(t, first).Scene; s.Kit.TokenCalls != 1 || s.Kit.Unauthorized != 0 || s.Sample.TokenCalls != 0 {
		t.Errorf("%+v", s)
	}
	if n := strings.Count(said.String(), "/demo/kit/consent/notices"); n != tabs*callers {
		t.Errorf("%d calls were made", n)
	}
}

// A sign-out in one tab ends the session of the other, over BroadcastChannel.
func TestSignOutReachesOtherTab(t *testing.T) {
	at, _ := gateway(t)
	browser := chromium(t)
	said := new(transcript)
	one, two := tab(t, browser, at, said), tab(t, browser, at, said)
	eval[int](t, one, `fetch("/demo/begin", {method: "POST"}).then((r) => r.status)`)
	const open = `import("/page/bearerkit.mjs").then(async ({ createClient }) => {
		globalThis.signedOut = new Promise((told) => {
			globalThis.client = createClient({ base: "/demo/kit/api/consent", onSignOut: () => told(true) });
		});
		return (await client.token()).length > 0;
	})`
	for _, page := range []func(string) bool{
		func(s string) bool { return eval[bool](t, one, s) }, func(s string) bool { return eval[bool](t, two, s) },
	} {
		if !page(open) {
			t.Fatal("no token")
		}
	}
	eval[string](t, one, `client.logout().then(() => "done")`)
	if !eval[bool](t, two, `Promise.race([signedOut, new Promise((resolve) => setTimeout(resolve, 60000, false))])`) {
		t.Error("the other tab was not told")
	}
	if code := eval[string](t, two, `client.token().then(() => "a token", (e) => e.code)`); code != "signed_out" {
		t.Errorf("the other tab: %s", code)
	}
	if status := eval[int](t, two, `fetch("/demo/kit/consent/notices").then((r) => r.status)`); status != http.StatusUnauthorized {
		t.Errorf("the server answers the other tab %d", status)
	}
	noSecret(t, "console, URLs", said.String())
}

// Tab and Enter alone reach every control in order, show where they are, and
// play an act.
func TestKeyboard(t *testing.T) {
	at, _ := gateway(t)
	page := tab(t, chromium(t), at, new(transcript))
	const where = `(() => {
		const e = document.activeElement;
		if (e === document.body) return "";
		const style = getComputedStyle(e), box = e.getBoundingClientRect();
		const hit = document.elementFromPoint(box.x + box.width / 2, Math.max(box.y, 0) + Math.min(box.height, 20) / 2);
		const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
		return (e.id || e.dataset.scene || e.dataset.copy || e.ariaLabel || e.textContent.trim()) + (seen ? "" : " WITHOUT OUTLINE") + (e.contains(hit) || hit?.contains(e) ? "" : " HIDDEN");
	})()`
	var order []string
	for range 40 {
		do(t, page, chromedp.KeyEvent(kb.Tab))
		at := eval[string](t, page, where)
		if at == "" {
			break
		}
		order = append(order, at)
		switch at {
		case "look":
			do(t, page, chromedp.KeyEvent(kb.Enter), chromedp.WaitReady(chromedp.CSS("#scene-look[data-played]")))
			if still := eval[string](t, page, where); still != "look" {
				t.Errorf("after the act the focus is on %q", still)
			}
		case "try-route":
			do(t, page, chromedp.KeyEvent(kb.ArrowDown))
		}
	}
	all := strings.Join(order, ", ")
	const want = "Skip to the content, run-all, these lines of Go, tabs, expire, down, attack, look, signout, go-chi/httprate, kit-source"
	if !strings.HasPrefix(all, want) || !strings.Contains(all, "protect, source-protect") || !strings.Contains(all, "callout, source-callout") || !strings.Contains(all, "try-route, try-path") || strings.Contains(all, "WITHOUT") || strings.Contains(all, "HIDDEN") {
		t.Errorf("the order is %s", all)
	}
	if path := eval[string](t, page, "document.getElementById('try-path').value"); path != "/api/consent/refresh-token" {
		t.Errorf("the arrow key chose %s", path)
	}
}

// What tools like axe find without judgement: names, labels, roles, headings.
func TestAccessible(t *testing.T) {
	at, _ := gateway(t)
	page := tab(t, chromium(t), at, new(transcript))
	play(t, page, "look")
	for _, fault := range eval[[]string](t, page, `(() => {
		const faults = [];
		const all = (s) => [...document.querySelectorAll(s)];
		const need = (ok, what) => ok || faults.push(what);
		need(document.documentElement.lang && document.title, "no lang or title");
		need(all("main").length === 1 && all("h1").length === 1, "not one main and one h1");
		const ids = all("[id]").map((e) => e.id);
		need(new Set(ids).size === ids.length, "an id twice");
		for (const name of ["aria-labelledby", "aria-describedby", "for"])
			for (const e of all("[" + name + "]"))
				need(e.getAttribute(name).split(" ").every((i) => document.getElementById(i)), name + " leads nowhere: " + e.outerHTML.slice(0, 80));
		for (const a of all("a[href^='#']")) need(document.getElementById(a.hash.slice(1)), a.hash + " leads nowhere");
		for (const e of all("input, select, textarea")) need(e.labels.length === 1 && e.labels[0].textContent.trim(), "no label: " + e.id);
		for (const e of all("button, a")) need(e.textContent.trim(), "no name: " + e.outerHTML);
		for (const e of all("button")) need(e.type === "submit" || e.type === "button", "a button without a type");
		for (const e of all("section, article, [role=region]"))
			need(e.ariaLabel || e.hasAttribute("aria-labelledby"), "no name: " + e.outerHTML.slice(0, 80));
		for (const e of all(".verdict, #try-status, #all-status")) need(e.role === "status", "not announced: " + e.className);
		for (const e of all("pre")) need(e.tabIndex === 0, "cannot be scrolled by keyboard");
		for (const e of all("dl > div")) need(e.querySelector("dt") && e.querySelector("dd"), "a figure without a name");
		let level = 0;
		for (const e of all("h1, h2, h3, h4")) {
			const next = Number(e.tagName[1]);
			need(next <= level + 1, "a heading level is left out before " + e.textContent);
			level = next;
		}
		need(all("h1, h2, h3, h4").length > 10, "too few headings to judge");
		return faults;
	})()`) {
		t.Error(fault)
	}
}

// The form tries routes, keeps tokens to itself, and shows answers.
func TestTry(t *testing.T) {
	at, wrote := gateway(t)
	said := new(transcript)
	page := tab(t, chromium(t), at, said)
	send := func(path string) string {
		t.Helper()
		return eval[string](t, page, fmt.Sprintf(`new Promise((resolve) => {
			const route = document.getElementById("try-route");
			route.value = [...route.options].find((o) => o.dataset.path === %q).value;
			route.dispatchEvent(new Event("change"));
			const answer = document.getElementById("try-answer");
			new MutationObserver((_, o) => { o.disconnect(); resolve(document.getElementById("try-status").textContent + answer.textContent); })
				.observe(answer, { childList: true });
			document.getElementById("try").requestSubmit();
		})`, path))
	}
	for _, c := range []struct{ path, want string }{
		{"/api/consent/token", `"refresh_token": "(`},
		{"/api/consent/refresh-token", `"token": "(`},
		{"/consent/notices", `"org_user_id": "ada"`},
		{"/generate-token", `"Token generated for user ada"`},
		{"/kudo/generate", `"expiration_time"`},
		{"/kudo/verify", `"test.dwg"`},
		{"/fhir/R4/Patient", `"/fhir/R4/Patient"`},
		{"/demo/token", `"token_type": "Bearer"`},
		{"/livez", "ok"},
	} {
		got := send(c.path)
		if !strings.HasPrefix(got, "200") {
			t.Errorf("%s: %s", c.path, got)
		}
		mustContain(t, got, c.want)
		noSecret(t, c.path, got)
	}
	checkSecrets(t, page, said, wrote)
}

// With a real vendor there is no demonstration, and the page still shows what
// is mounted.
func TestRealVendor(t *testing.T) {
	at, wrote := gateway(t, "CM_API_KEY=key", "CM_API_SECRET="+strings.Repeat("s", 32), "CM_ORGANIZATION_ID=org",
		"AUTH_ISSUER=https://id.example.com", "AUTH_AUDIENCE=api", "AUTH_JWKS_URL=http://127.0.0.1:1/jwks", "EMBEDDED=off")
	said := new(transcript)
	page := tab(t, chromium(t), at, said)
	text := eval[string](t, page, "document.body.innerText")
	mustContain(t, text, "What this gateway serves", "Bearer token of your issuer")
	if strings.Contains(text, "bad example") || strings.Contains(text, "Run all") || strings.Contains(said.String(), "page_demo.js") {
		t.Error("the demonstration is there")
	}
	if status := eval[int](t, page, `fetch("/demo/state").then((r) => r.status)`); status != http.StatusNotFound {
		t.Errorf("/demo/state: %d", status)
	}
	options := eval[string](t, page, "[...document.getElementById('try-route').options].map((o) => o.text).join('; ')")
	if !strings.HasPrefix(options, "POST /generate-token") || strings.Contains(options, "consent") {
		t.Errorf("offered: %s", options)
	}
	noSecret(t, "log", wrote.String())
}

// No script or style but the page's own files, and nothing from elsewhere.
func TestPolicy(t *testing.T) {
	at, _ := gateway(t)
	res, err := http.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	policy := res.Header.Get("Content-Security-Policy")
	mustContain(t, policy, "default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'")
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "http:") || strings.Contains(policy, "*") {
		t.Errorf("policy: %s", policy)
	}
	said := new(transcript)
	page := tab(t, chromium(t), at, said)
	eval[bool](t, page, `new Promise((done) => { const s = document.createElement("style"); s.textContent = "body { color: red }"; document.head.append(s); done(true); })`)
	if color := eval[string](t, page, "getComputedStyle(document.body).color"); color == "rgb(255, 0, 0)" {
		t.Error("an inline style was let in")
	}
	for line := range strings.Lines(said.String()) {
		if strings.HasPrefix(line, "request:") && !strings.Contains(line, at) && !strings.Contains(line, " data:") {
			t.Errorf("the page asks elsewhere: %s", line)
		}
	}
}
