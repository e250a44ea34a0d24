package browser_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// play presses an act's button and returns what the page then says.
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

// TestActs presses each button and checks the numbers of both sides, those of
// the server and those on the page.
func TestActs(t *testing.T) {
	at, wrote := gateway(t)
	said := new(transcript)
	page := tab(t, chromium(t), at, said)
	for _, act := range []struct {
		id    string
		check func(t *testing.T, sample, kit counts)
		says  []string
	}{
		{"tabs", func(t *testing.T, sample, kit counts) {
			if sample.VendorCalls < 8 || sample.Unauthorized < 7 || sample.Killed < 7 {
				t.Errorf("sample: %+v", sample)
			}
			if kit.VendorCalls != 1 || kit.Unauthorized != 0 || kit.Killed != 0 {
				t.Errorf("kit: %+v", kit)
			}
		}, []string{"40 of 40 calls succeeded", "bearerkit bought one"}},
		{"expire", func(t *testing.T, sample, kit counts) {
			if sample.VendorCalls != 2 || sample.Unauthorized != 10 {
				t.Errorf("sample: %+v", sample)
			}
			if kit.VendorCalls != 2 || kit.Unauthorized != 0 {
				t.Errorf("kit: %+v", kit)
			}
		}, []string{"10 of 10 calls succeeded", "the page saw 0"}},
		{"down", func(t *testing.T, sample, kit counts) {
			if sample.VendorCalls != 32 {
				t.Errorf("sample: %+v", sample)
			}
			if kit.VendorCalls != 2 || kit.Unauthorized != 0 {
				t.Errorf("kit: %+v", kit)
			}
		}, []string{"the pages got 500", "8 tabs got 503 with Retry-After: 2", "8 of 8 tabs were served"}},
		{"attack", func(t *testing.T, sample, kit counts) {
			if sample.Strayed != 2 || sample.Refused != 0 || sample.VendorCalls < 110 {
				t.Errorf("sample: %+v", sample)
			}
			if kit.Strayed != 0 || kit.Refused < 14 || kit.VendorCalls != 1 {
				t.Errorf("kit: %+v", kit)
			}
		}, []string{
			"path traversal: 500, after sending the API key there", "path traversal: 400, the API key stayed here",
			"another tenant: 500, after sending", "another tenant: 403, the API key stayed here",
			"another user’s token: handed out", "another user’s token: 403, refused",
			"from another site: it worked", "from another site: refused", "made-up addresses: 0 refused",
		}},
		{"look", func(t *testing.T, _, kit counts) {
			if kit.VendorCalls != 1 || kit.Unauthorized != 0 {
				t.Errorf("kit: %+v", kit)
			}
		}, []string{"the answer shows token (", "refresh_token (", "the answer shows no token", "all the same: 200"}},
		{"signout", func(t *testing.T, sample, kit counts) {
			if sample.Unauthorized != 0 {
				t.Errorf("sample: %+v", sample)
			}
			if kit.Unauthorized < 1 {
				t.Errorf("kit: %+v", kit)
			}
		}, []string{"says 200 to that page", "says 401 to that page", "a new token into the signed-out page", "the late answer was dropped"}},
	} {
		t.Run(act.id, func(t *testing.T) {
			text := play(t, page, act.id)
			sample, kit := state(t, at)
			t.Logf("\nsample %+v\nkit    %+v\n%s", sample, kit, text)
			act.check(t, sample, kit)
			mustContain(t, text, act.says...)
			for side, n := range map[string]counts{"sample": sample, "kit": kit} {
				mustContain(t, text, fmt.Sprintf("vendor calls %d · 401s %d · tokens killed %d", n.VendorCalls, n.Unauthorized, n.Killed))
				shown := eval[string](t, page, fmt.Sprintf("[...document.querySelectorAll('#board-%s dd')].map((d) => d.textContent).join(' ')", side))
				want := fmt.Sprintf("%d %d %d %.2f s", n.VendorCalls, n.Unauthorized, n.Killed, float64(n.WaitedMS)/1000)
				if shown != want {
					t.Errorf("%s: the board shows %q, the server counts %q", side, shown, want)
				}
			}
		})
	}
	checkSecrets(t, page, said, wrote)
	if text := said.String(); strings.Contains(text, "exception:") || strings.Contains(text, "Content Security Policy") {
		t.Errorf("the browser complains:\n%s", text)
	}
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

// The board follows the server while an act runs, not only after it.
func TestCountersAreLive(t *testing.T) {
	at, _ := gateway(t)
	said := new(transcript)
	page := tab(t, chromium(t), at, said)
	live := eval[bool](t, page, `new Promise((resolve) => {
		const scene = document.getElementById("scene-down");
		const calls = document.querySelector("#board-sample [data-count=vendor_calls]");
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
