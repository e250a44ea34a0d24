package browser_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// play presses a scene's button and returns what the page then says.
func play(t *testing.T, page context.Context, act string) string {
	t.Helper()
	scene := "#scene-" + act
	do(t, page,
		chromedp.Click(chromedp.CSS(scene+" button")),
		chromedp.WaitReady(chromedp.CSS(scene+`:not([aria-busy])[data-played]`)),
		chromedp.WaitReady(chromedp.CSS("#run-all:not([aria-disabled])")),
	)
	text := eval[string](t, page, fmt.Sprintf("document.querySelector(%q).innerText", scene))
	return strings.ReplaceAll(text, "\u00a0", " ")
}

// TestScenes presses each button and checks the numbers of both sides, those of
// the server and those on the page.
func TestScenes(t *testing.T) {
	at, wrote := gateway(t)
	said := new(transcript)
	page := tab(t, chromium(t), at, said)
	for _, act := range []struct {
		id    string
		check func(sample, kit counts) bool
		says  []string
	}{
		{"tabs", func(sample, kit counts) bool {
			return sample.TokenCalls >= 8 && sample.Unauthorized >= 7 && sample.Killed >= 7 &&
				kit.TokenCalls == 1 && kit.Unauthorized == 0 && kit.Killed == 0
		}, []string{"40 of 40 calls succeeded", "bearerkit got 1 token and"}},
		{"expire", func(sample, kit counts) bool {
			return sample.TokenCalls == 2 && sample.Unauthorized == 10 && sample.Killed == 0 &&
				kit.TokenCalls == 2 && kit.Unauthorized == 0 && kit.Killed == 0
		}, []string{"10 of 10 calls succeeded", "The page saw 0 answers of 401"}},
		{"down", func(sample, kit counts) bool {
			return sample.TokenCalls == 32 && kit.TokenCalls == 2 && kit.Unauthorized == 0
		}, []string{"each tab got 500", "8 tabs got 503 with Retry-After: 2", "8 of 8 tabs got a token"}},
		{"attack", func(sample, kit counts) bool {
			return sample.Strayed == 2 && sample.Refused+sample.Limited == 0 && sample.TokenCalls >= 110 &&
				kit.Strayed == 0 && kit.Refused >= 3 && kit.Limited >= 11 && kit.TokenCalls == 1 && kit.Unauthorized == 0
		}, []string{
			"../ in the path: 500, and the API key was sent there", "../ in the path: 400, and the API key was not sent there",
			"another tenant: 500, and the API key was sent", "another tenant: 403, and the API key was not sent",
			"another user’s token: 200, handed out", "another user’s token: 403, refused",
			"from another web site: it worked", "from another web site: refused",
			"made-up addresses: 0 refused", "refused with 429, by go-chi/httprate", "The limit is not bearerkit’s: go-chi/httprate",
		}},
		{"look", func(_, kit counts) bool { return kit.TokenCalls == 1 && kit.Unauthorized == 0 },
			[]string{"the answer shows token (", "refresh_token (", "the answer shows no token", "through the backend: 200"}},
		{"signout", func(sample, kit counts) bool {
			return sample.Unauthorized == 0 && kit.Unauthorized == 0 && kit.TurnedAway >= 1
		}, []string{
			"answers the signed-out page with 200", "answers the signed-out page with 401, as it should",
			"a new token into the signed-out page", "the late answer was dropped", "That is wanted, and not counted",
		}},
	} {
		t.Run(act.id, func(t *testing.T) {
			text := play(t, page, act.id)
			s := state(t, page)
			t.Logf("\nsample %+v\nkit    %+v\n%s", s.Scene.Sample, s.Scene.Kit, text)
			if !act.check(s.Scene.Sample, s.Scene.Kit) {
				t.Errorf("%+v", s.Scene)
			}
			mustContain(t, text, act.says...)
			for _, n := range []counts{s.Scene.Sample, s.Scene.Kit} {
				mustContain(t, strings.Join(strings.Fields(text), " "),
					fmt.Sprintf("token calls: %d 401s while signed in: %d tokens ended early: %d", n.TokenCalls, n.Unauthorized, n.Killed))
			}
			checkBoard(t, page, s)
		})
	}
	checkSecrets(t, page, said, wrote)
	if text := said.String(); strings.Contains(text, "exception:") || strings.Contains(text, "Content Security Policy") {
		t.Errorf("the browser complains:\n%s", text)
	}
}

// checkBoard compares the board with what the server counted. A failure is red
// and nothing else is, on either side.
func checkBoard(t *testing.T, page context.Context, s counted) {
	t.Helper()
	for side, n := range map[string]counts{"sample": s.Total.Sample, "kit": s.Total.Kit} {
		want := fmt.Sprintf("%d %d %d %.2f s", n.TokenCalls, n.Unauthorized, n.Killed, float64(n.WaitedMS)/1000)
		shown := eval[string](t, page, fmt.Sprintf("[...document.querySelectorAll('#board-%s dd')].map((d) => d.textContent).join(' ')", side))
		if shown != want {
			t.Errorf("%s: the board shows %q, the server counts %q", side, shown, want)
		}
		red := eval[string](t, page, fmt.Sprintf(`[...document.querySelectorAll("#board-%s dd")]
			.filter((d) => getComputedStyle(d).color !== getComputedStyle(document.body).color).map((d) => d.dataset.count).join(" ")`, side))
		var wantRed []string
		if n.Unauthorized > 0 {
			wantRed = append(wantRed, "unauthorized")
		}
		if n.Killed > 0 {
			wantRed = append(wantRed, "killed")
		}
		if red != strings.Join(wantRed, " ") {
			t.Errorf("%s: red are %q, want %q", side, red, wantRed)
		}
	}
	mustContain(t, eval[string](t, page, "document.querySelector('.session').innerText"),
		fmt.Sprintf("Totals of your session: %d scene", s.Scenes), "Calls of other visitors are not counted")
}

// The scenes that the server plays by itself show their steps where the button
// is, and the Go code that they run.
func TestScenesOfOneSide(t *testing.T) {
	at, wrote := gateway(t)
	said := new(transcript)
	page := tab(t, chromium(t), at, said)
	for id, want := range map[string]struct {
		steps int
		says  []string
		code  string
	}{
		"protect": {8, []string{"“orders of ada”", "10 × 200 OK and a new token in 10 answers, from 1 token call", "The keys were fetched 1 time",
			"503 Service Unavailable with Retry-After:", "The server answered 32 × 200 OK, 3 × 401 Unauthorized and 1 × 503"}, "middleware.New("},
		"callout": {3, []string{"One renewal for all of them took 1 token call", "The caller saw 200 OK", "its SHA-256 is the same",
			"The callers got 16 × 200 OK. The API refused 11 requests with 401, which no caller saw."}, "&middleware.Transport{"},
	} {
		for range 2 { // again: the steps are not doubled
			text := play(t, page, id)
			mustContain(t, text, want.says...)
		}
		if n := eval[int](t, page, fmt.Sprintf("document.querySelectorAll('#scene-%s .steps li').length", id)); n != want.steps {
			t.Errorf("%s: %d steps", id, n)
		}
		mustContain(t, eval[string](t, page, fmt.Sprintf("document.getElementById('source-%s').textContent", id)), want.code)
	}
	if s := state(t, page); s.Total != (both{}) || s.Scenes != 0 {
		t.Errorf("the board counts scenes without another side: %+v", s)
	}
	checkSecrets(t, page, said, wrote)
}

// After all scenes the totals are the sums of what each scene shows. Another
// visitor, whose browser plays meanwhile, has totals that are not touched.
func TestTotalsAddUpAndAreTheVisitorsOwn(t *testing.T) {
	at, _ := gateway(t)
	page, other := tab(t, chromium(t), at, new(transcript)), tab(t, chromium(t), at, new(transcript))
	play(t, other, "look")
	before := state(t, other)
	do(t, page, chromedp.Click(chromedp.CSS("#run-all")),
		chromedp.WaitReady(chromedp.CSS("#scene-callout[data-played]")), chromedp.WaitReady(chromedp.CSS("#run-all:not([aria-disabled])")))
	s := state(t, page)
	if s.Scenes != 6 {
		t.Errorf("%d scenes", s.Scenes)
	}
	checkBoard(t, page, s)
	for side, total := range map[string]counts{"sample": s.Total.Sample, "kit": s.Total.Kit} {
		sums := eval[[]int](t, page, fmt.Sprintf(`[...document.querySelectorAll(".outcome.%s .figures")].map((f) => f.textContent.match(/\d+(?=\s|$)/g).map(Number))
			.reduce((sum, next) => sum.map((n, i) => n + next[i]), [0, 0, 0])`, side))
		if want := []int{total.TokenCalls, total.Unauthorized, total.Killed}; !slices.Equal(sums, want) {
			t.Errorf("%s: the scenes show %d together, the totals are %d", side, sums, want)
		}
	}
	if s.Total.Kit.Unauthorized != 0 || s.Total.Kit.Killed != 0 {
		t.Errorf("failures on bearerkit's side: %+v", s.Total.Kit)
	}
	mustContain(t, eval[string](t, page, "document.getElementById('all-status').textContent"), "All 8 scenes were played",
		fmt.Sprintf("%d token calls and bearerkit %d;", s.Total.Sample.TokenCalls, s.Total.Kit.TokenCalls))
	if after := state(t, other); after != before {
		t.Errorf("the other visitor had %+v and has %+v", before, after)
	}
	do(t, page, chromedp.Reload())
	eval[bool](t, page, boardIs(s.Total.Sample.TokenCalls)) // the totals outlive a reload
}

// boardIs waits until the board shows n token calls of the sample.
func boardIs(n int) string {
	return fmt.Sprintf(`new Promise((resolve) => {
		const look = () => document.querySelector("#board-sample [data-count=token_calls]").textContent === "%d" ? resolve(true) : requestAnimationFrame(look);
		look();
	})`, n)
}

// Two tabs of one browser share a session. Their scenes wait for each other.
func TestTwoTabsOfOneVisitorTakeTurns(t *testing.T) {
	at, _ := gateway(t)
	browser := chromium(t)
	one, two := tab(t, browser, at, new(transcript)), tab(t, browser, at, new(transcript))
	for _, page := range []context.Context{one, two} {
		eval[bool](t, page, `(document.querySelector("[data-scene=expire]").click(), true)`)
	}
	for _, page := range []context.Context{one, two} {
		do(t, page, chromedp.WaitReady(chromedp.CSS("#scene-expire[data-played]")))
		text := eval[string](t, page, `document.getElementById("scene-expire").innerText`)
		mustContain(t, strings.Join(strings.Fields(text), " "), "token calls: 2 401s while signed in: 10 tokens ended early: 0", "token calls: 2 401s while signed in: 0 tokens ended early: 0")
	}
	if s := state(t, one); s.Scenes != 2 || s.Total.Sample.Unauthorized != 20 || s.Total.Kit.TokenCalls != 4 {
		t.Errorf("%+v", s)
	}
}

// A scene that cannot start says so by its button, and the next press plays it.
func TestAFailedStartRecovers(t *testing.T) {
	at, _ := gateway(t)
	page := tab(t, chromium(t), at, new(transcript))
	const fail = `(globalThis.real ??= fetch, globalThis.fetch = (input, init) => /demo\/(begin|run)/.test(input) ? %s : real(input, init), true)`
	for _, failure := range []struct{ how, says string }{
		{`Promise.reject(new TypeError("no connection"))`, "no connection"},
		{`Promise.resolve(new Response('{"detail":"not now"}', { status: 503 }))`, "the gateway answered 503, “not now”"},
	} {
		for _, id := range []string{"expire", "callout"} {
			eval[bool](t, page, fmt.Sprintf(fail, failure.how))
			mustContain(t, play(t, page, id), "This scene broke off: "+failure.says, "Press the button to try again")
			eval[bool](t, page, `(globalThis.fetch = real, true)`)
			if text := play(t, page, id); strings.Contains(text, "broke off") {
				t.Errorf("%s does not recover: %s", id, text)
			}
		}
	}
	eval[bool](t, page, fmt.Sprintf(fail, `Promise.reject(new TypeError("no connection"))`))
	do(t, page, chromedp.Click(chromedp.CSS("#run-all")), chromedp.WaitReady(chromedp.CSS("#scene-tabs[data-played=failed]")),
		chromedp.WaitReady(chromedp.CSS("#run-all:not([aria-disabled])")))
	mustContain(t, eval[string](t, page, "document.getElementById('all-status').textContent"), "Stopped at scene 1 of 8: no connection")
	eval[bool](t, page, `(globalThis.fetch = real, true)`)
	mustContain(t, play(t, page, "tabs"), "40 of 40 calls succeeded")
}

// checkSecrets looks wherever a script, a user or an operator can.
func checkSecrets(t *testing.T, page context.Context, said, wrote *transcript) {
	t.Helper()
	for where, script := range map[string]string{
		"DOM":            "document.documentElement.outerHTML",
		"form fields":    "[...document.querySelectorAll('input,textarea')].map((e) => e.value).join(' ')",
		"cookies":        "document.cookie",
		"localStorage":   "JSON.stringify(localStorage)",
		"sessionStorage": "JSON.stringify(sessionStorage)",
		"IndexedDB":      "indexedDB.databases().then(JSON.stringify)",
		"caches":         "caches.keys().then(JSON.stringify)",
		"history":        "location.href + JSON.stringify(history.state) + window.name",
	} {
		noSecret(t, where, eval[string](t, page, script))
	}
	noSecret(t, "console, URLs", said.String())
	noSecret(t, "the gateway's log", wrote.String())
	if said.String() == "" || wrote.String() == "" {
		t.Error("nothing was recorded")
	}
	const token = `fetch("/api/consent/token", {method: "POST", headers: {"Content-Type": "application/json"}, body: '{"org_user_id": "eve"}'}).then((r) => r.text())`
	if found := secrets.FindAllString(eval[string](t, page, token), -1); len(found) != 2 {
		t.Errorf("%d secrets found in an answer with two: the search is blind", len(found))
	}
}

// The board follows the server while a scene runs, not only after it.
func TestCountersAreLive(t *testing.T) {
	at, _ := gateway(t)
	said := new(transcript)
	page := tab(t, chromium(t), at, said)
	live := eval[bool](t, page, `new Promise((resolve) => {
		const scene = document.getElementById("scene-down");
		const calls = document.querySelector("#board-sample [data-count=token_calls]");
		scene.querySelector("button").click();
		const look = () => {
			if ("played" in scene.dataset) resolve(false);
			else if (scene.hasAttribute("aria-busy") && calls.textContent === "32") resolve(true);
			else requestAnimationFrame(look);
		};
		look();
	})`)
	if !live {
		t.Error("the board stood still during the act")
	}
	mustContain(t, said.String(), "/demo/events")
}
