package browser_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// TestLayout looks at the page at a phone's and a desk's width, dark and light,
// before and after all acts. With -screenshots it writes what it sees.
func TestLayout(t *testing.T) {
	at, _ := gateway(t)
	page := tab(t, chromium(t), at, new(transcript))
	played := false
	for _, width := range []int64{400, 1280} {
		for _, scheme := range []string{"light", "dark"} {
			name := fmt.Sprintf("%d-%s", width, scheme)
			do(t, page, chromedp.EmulateViewport(width, 900), setScheme(scheme))
			if !played {
				shoot(t, page, name+"-before")
				do(t, page,
					chromedp.Click(chromedp.CSS("#run-all")),
					chromedp.WaitReady(chromedp.CSS("#scene-callout[data-played]")),
					chromedp.WaitReady(chromedp.CSS("#run-all:not([aria-disabled])")),
				)
				played = true
			}
			do(t, page, chromedp.Evaluate[chromedp.Void]("scrollTo(0, 0)"))
			shoot(t, page, name)
			checkLayout(t, page, name)
		}
	}
}

func setScheme(scheme string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return chromedp.Void{}, err
	}
}

func shoot(t *testing.T, page context.Context, name string) {
	t.Helper()
	if *screenshots == "" {
		return
	}
	png, err := chromedp.Run(page, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.MkdirAll(*screenshots, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(*screenshots, name+".png"), png, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// checkLayout finds text that runs out of the page or is hard to read: less
// contrast than WCAG 2.2 AA asks, 4.5 to 1, or 3 to 1 for large text.
func checkLayout(t *testing.T, page context.Context, name string) {
	t.Helper()
	if over := eval[int](t, page, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
		t.Errorf("%s: the page is %d pixels too wide", name, over)
	}
	for _, fault := range eval[[]string](t, page, columnScript) {
		t.Errorf("%s: %s", name, fault)
	}
	for _, fault := range eval[[]string](t, page, contrastScript) {
		t.Errorf("%s: %s", name, fault)
	}
	if n := eval[int](t, page, "[...document.querySelectorAll('button')].filter((b) => b.getBoundingClientRect().height < 24).length"); n > 0 {
		t.Errorf("%s: %d buttons are too small to hit", name, n)
	}
}

// columnScript finds what stands beside something else where there is room for
// one column, what is cut off, and text too small to read.
const columnScript = `(() => {
	const faults = [];
	const box = (s) => document.querySelector(s).getBoundingClientRect();
	const beside = (a, b) => box(a).right <= box(b).left;
	const narrow = innerWidth <= 640;
	for (const [a, b] of [["#board-sample", "#board-kit"], ["#scene-tabs .outcome.sample", "#scene-tabs .outcome.kit"]])
		if (beside(a, b) === narrow) faults.push(a + " and " + b + " stand " + (narrow ? "beside" : "above") + " each other");
	if (narrow && getComputedStyle(document.querySelector(".board")).position === "sticky") faults.push("the board covers the screen");
	for (const e of document.querySelectorAll("main *:not(pre, pre *, option, select)")) {
		const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
		if (!own || !e.checkVisibility()) continue;
		if (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== "inline") faults.push("cut off: " + e.textContent.slice(0, 40));
		if (parseFloat(getComputedStyle(e).fontSize) < 12.8) faults.push("too small: " + e.textContent.slice(0, 40));
	}
	return faults;
})()`

const contrastScript = `(() => {
	const parse = (c) => (c.match(/[\d.]+/g) ?? []).map(Number);
	const light = (rgb) => {
		const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const behind = (e) => {
		for (; e; e = e.parentElement) {
			const c = parse(getComputedStyle(e).backgroundColor);
			if (c.length === 3 || c[3] === 1) return c.slice(0, 3);
		}
		return [255, 255, 255];
	};
	const faults = new Set();
	let seen = 0;
	for (const e of document.querySelectorAll("body *")) {
		const text = [...e.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join("");
		if (!text || !e.checkVisibility() || e.closest("[aria-disabled]")) continue;
		seen++;
		const style = getComputedStyle(e);
		const [a, b] = [light(parse(style.color).slice(0, 3)), light(behind(e))].sort((x, y) => y - x);
		const ratio = (a + 0.05) / (b + 0.05);
		const size = parseFloat(style.fontSize);
		const large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
		if (ratio < (large ? 3 : 4.5)) faults.add(ratio.toFixed(2) + " to 1: " + e.tagName + " " + text.slice(0, 30));
	}
	if (seen < 50) faults.add("only " + seen + " texts seen");
	return [...faults];
})()`
