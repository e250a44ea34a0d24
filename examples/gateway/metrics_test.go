package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/middleware/authtest"
	"github.com/bearerkit/bearerkit/providers/providertest"
)

// scrape is the gateway's /metrics page.
func scrape(g *gateway) string {
	w := httptest.NewRecorder()
	g.telemetry.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

// samples reads a page: each line's name with its labels, and its number.
func samples(page string) map[string]float64 {
	out := map[string]float64{}
	for line := range strings.Lines(page) {
		if i := strings.LastIndexByte(line, ' '); i > 0 && line[0] != '#' {
			out[line[:i]], _ = strconv.ParseFloat(strings.TrimSpace(line[i+1:]), 64)
		}
	}
	return out
}

// sum adds the numbers of the metric that has all these labels.
func sum(samples map[string]float64, name string, labels ...string) (total float64) {
next:
	for key, value := range samples {
		if key != name && !strings.HasPrefix(key, name+"{") {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(key, label) {
				continue next
			}
		}
		total += value
	}
	return total
}

// symptoms are what an operator looks at, with what each is a sign of.
var symptoms = []struct {
	sign   string
	name   string
	labels []string
	gauge  bool
}{
	{"the issuer's keys were rotated", "bearerkit_events_total", []string{`kind="keys_fetched"`, `op="changed"`}, false},
	{"the issuer is down", "bearerkit_auth_key_sets_stale", nil, true},
	{"Redox answers 503", "bearerkit_events_total", []string{`source="proxy"`, `part="redox"`, `kind="forwarded"`, `code="503"`}, false},
	{"a token of Redox was revoked early", "bearerkit_events_total", []string{`source="transport"`, `part="redox"`, `kind="refused"`, `outcome="rejected"`}, false},
	{"callers were refused", "bearerkit_auth_tokens_total", []string{`result="refused"`}, false},
	{"callers were told to come back", "bearerkit_auth_tokens_total", []string{`result="unavailable"`}, false},
	{"a renewal failed", "bearerkit_events_total", []string{`kind="renewal_failed"`}, false},
}

// read says from the pages alone in which minutes there was which symptom.
func read(pages []string) map[string][]int {
	found := map[string][]int{}
	before := samples(pages[0])
	for minute, page := range pages[1:] {
		now := samples(page)
		for _, s := range symptoms {
			value := sum(now, s.name, s.labels...)
			if !s.gauge {
				value -= sum(before, s.name, s.labels...)
			}
			if value > 0 {
				found[s.sign] = append(found[s.sign], minute)
			}
		}
		before = now
	}
	return found
}

// An hour of the gateway under load, scraped each minute. From /metrics alone
// one reads what happened when. The minutes are short ones, but for those that
// have to see a refresh of the key set.
func TestAnHourInTheLifeOfTheGateway(t *testing.T) {
	vars, issuer, vendors := realVars(t)
	vars["METRICS_ADDR"] = "127.0.0.1:0"
	vars["AUTH_JWKS_REFRESH"] = "1s"
	g, srv, _ := start(t, vars)
	stale := func() bool { return sum(samples(scrape(g)), "bearerkit_auth_key_sets_stale") > 0 }
	load(t, srv, issuer, 200)
	pages := []string{scrape(g)}
	for minute := range 60 {
		want := 200
		switch minute {
		case 10: // without overlap: tokens signed with the old key are void
			if err := issuer.Rotate(false); err != nil {
				t.Fatal(err)
			}
		case 20:
			vendors["redox"].SetFault(providertest.Fault{Path: "/fhir/", Status: 503})
		case 25:
			vendors["redox"].SetFault(providertest.Fault{})
		case 35:
			vendors["redox"].RevokeAll()
		case 42:
			issuer.Down(true)
			loadUntil(t, srv, issuer, stale)
		case 48:
			issuer.Down(false)
			loadUntil(t, srv, issuer, func() bool { return !stale() })
		case 55:
			call(t, srv, "GET", "/protected", "not.a.token", "")
		}
		if minute >= 20 && minute < 25 {
			want = 503
		}
		load(t, srv, issuer, want)
		pages = append(pages, scrape(g))
	}
	want := map[string][]int{
		"the issuer's keys were rotated":     {10},
		"the issuer is down":                 {42, 43, 44, 45, 46, 47},
		"Redox answers 503":                  {20, 21, 22, 23, 24},
		"a token of Redox was revoked early": {35},
		"callers were refused":               {55},
	}
	if got := read(pages); !reflect.DeepEqual(got, want) {
		t.Errorf("read\n%v\nwant\n%v", got, want)
	}
	last := samples(pages[60])
	if hits := sum(last, "bearerkit_cache_hits_total", `cache="redox"`); hits < 100 {
		t.Errorf("%v hits of redox's cache", hits)
	}
	checkLabels(t, pages[60], issuer)
}

// load is one minute's requests of a user with a new token.
func load(t *testing.T, srv *httptest.Server, issuer *authtest.Issuer, fhir int) {
	t.Helper()
	bearer, err := issuer.Token(map[string]any{"sub": "ada"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for path, want := range map[string]int{"/protected": 200, "/consent/notices": 200, "/fhir/R4/Patient": fhir} {
			if status, _, v := call(t, srv, "GET", path, bearer, ""); status != want {
				t.Fatalf("%s: %d %v, want %d", path, status, v, want)
			}
		}
	}
}

// loadUntil loads the gateway until cond holds.
func loadUntil(t *testing.T, srv *httptest.Server, issuer *authtest.Issuer, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); {
		if time.Now().After(deadline) {
			t.Fatal("the metrics do not tell")
		}
		load(t, srv, issuer, 200)
	}
}

// checkLabels fails for a label that is not one of a few plain words, or that
// holds what requests brought.
func checkLabels(t *testing.T, page string, issuer *authtest.Issuer) {
	t.Helper()
	label := regexp.MustCompile(`([a-z_]+)="([^"]*)"`)
	values := map[string]map[string]bool{}
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, "bearerkit_") {
			continue
		}
		for _, m := range label.FindAllStringSubmatch(line, -1) {
			if values[m[1]] == nil {
				values[m[1]] = map[string]bool{}
			}
			values[m[1]][m[2]] = true
		}
	}
	plain := regexp.MustCompile(`^[a-z_-]*$|^[1-5][0-9][0-9]$`)
	for name, found := range values {
		if name == "le" {
			continue
		}
		if len(found) > 20 {
			t.Errorf("label %s has %d values", name, len(found))
		}
		for v := range found {
			if !plain.MatchString(v) {
				t.Errorf("label %s=%q", name, v)
			}
		}
	}
	for _, word := range []string{`"ada"`, issuer.URL, planted} {
		if strings.Contains(page, word) {
			t.Errorf("the page has %q", word)
		}
	}
}

// The metrics are on a listener of their own, and off without METRICS_ADDR.
func TestMetricsHaveAListenerOfTheirOwn(t *testing.T) {
	g, srv, logs := start(t, map[string]string{"METRICS_ADDR": "127.0.0.1:0"})
	if err := g.serveMetrics("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`url=(http://127\.0\.0\.1:\d+/metrics)`).FindStringSubmatch(logs.String())
	if found == nil {
		t.Fatalf("the log does not say where:\n%s", logs)
	}
	res, err := http.Get(found[1])
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != 200 || !strings.Contains(string(body), "bearerkit_cache_hits_total") {
		t.Errorf("%d\n%.200s", res.StatusCode, body)
	}
	req, _ := http.NewRequest("GET", found[1], nil)
	req.Host = "evil.example" // a page of it, whose name resolves to this machine
	if res, err := http.DefaultClient.Do(req); err != nil || res.StatusCode != http.StatusMisdirectedRequest || res.Body.Close() != nil {
		t.Errorf("another Host: %v %v", res, err)
	}
	if status, _, _ := call(t, srv, "GET", "/metrics", "", ""); status != 404 {
		t.Errorf("callers of the gateway see /metrics: %d", status)
	}
	if err := g.serveMetrics("127.0.0.1:no"); err == nil {
		t.Error("a bad address is no error")
	}
	off, _, _ := start(t, nil)
	if off.telemetry != nil || off.telemetry.observer("x") != nil || off.serveMetrics("") != nil {
		t.Error("metrics without METRICS_ADDR")
	}
}

// GET /forward-auth answers the proxy of FORWARD_AUTH, and nobody else.
func TestForwardAuthAtTheGateway(t *testing.T) {
	_, srv, _ := start(t, map[string]string{"FORWARD_AUTH": "nginx", "FORWARD_AUTH_PEERS": "127.0.0.1"})
	ask := func(srv *httptest.Server, bearer string) *http.Response {
		req, _ := http.NewRequest("GET", srv.URL+"/forward-auth", nil)
		for name, value := range map[string]string{"X-Original-Method": "GET", "X-Original-Host": "app.example.com", "X-Original-URI": "/"} {
			req.Header.Set(name, value)
		}
		if bearer != "" {
			req.Header.Set("Authorization", "Bearer "+bearer)
		}
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		return res
	}
	if res := ask(srv, demoBearer(t, srv, "ada")); res.StatusCode != 200 || res.Header.Get("X-Auth-Subject") != "ada" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	if res := ask(srv, ""); res.StatusCode != 401 || !slices.Equal(res.Header["X-Auth-Subject"], []string{""}) {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	_, other, _ := start(t, map[string]string{"FORWARD_AUTH": "nginx", "FORWARD_AUTH_PEERS": "192.0.2.0/24"})
	if res := ask(other, demoBearer(t, other, "ada")); res.StatusCode != 403 {
		t.Errorf("a peer that is not named: %d", res.StatusCode)
	}
	_, off, _ := start(t, nil)
	if res := ask(off, demoBearer(t, off, "ada")); res.StatusCode != 404 {
		t.Errorf("without FORWARD_AUTH: %d", res.StatusCode)
	}
	_, envoy, _ := start(t, map[string]string{"FORWARD_AUTH": "envoy", "FORWARD_AUTH_PEERS": "127.0.0.1"})
	bearer := demoBearer(t, envoy, "ada")
	if status, header, _ := call(t, envoy, "DELETE", "/forward-auth/orders/7", bearer, ""); status != 200 || header.Get("X-Auth-Subject") != "ada" {
		t.Errorf("envoy: %d %v", status, header)
	}
	if status, _, _ := call(t, envoy, "DELETE", "/forward-auth/orders/7", "", ""); status != 401 {
		t.Errorf("envoy without a token: %d", status)
	}
	req, _ := http.NewRequest("GET", envoy.URL+"/forward-auth/orders/7", nil)
	req.Host = "app.example.com" // Envoy asks with the original request's
	req.Header.Set("Authorization", "Bearer "+bearer)
	if res, err := envoy.Client().Do(req); err != nil || res.StatusCode != 200 || res.Body.Close() != nil {
		t.Errorf("envoy, with the Host of what it protects: %v %v", res, err)
	}
	for _, vars := range []map[string]string{{"FORWARD_AUTH": "nginx"}, {"FORWARD_AUTH_PEERS": "127.0.0.1"}} {
		if _, err := readConfig(func(n string) string { return vars[n] }, nil); err == nil || !strings.Contains(err.Error(), "forward-auth is half configured") {
			t.Error(fmt.Sprint(vars), err)
		}
	}
}
