package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// visitor is a browser, with cookies of its own.
type visitor struct {
	t      *testing.T
	srv    *httptest.Server
	client *http.Client
}

func newVisitor(t *testing.T, srv *httptest.Server) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &visitor{t, srv, &http.Client{Transport: srv.Client().Transport, Jar: jar}}
}

func (v *visitor) send(method, path, body string) *http.Response {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.srv.URL+path, strings.NewReader(body))
	require.NoError(v.t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	res, err := v.client.Do(r)
	require.NoError(v.t, err)
	v.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func (v *visitor) state(method, path string) state {
	v.t.Helper()
	var s state
	res := v.send(method, path, "")
	require.Equal(v.t, 200, res.StatusCode)
	require.NoError(v.t, json.NewDecoder(res.Body).Decode(&s))
	return s
}

// token has the sample get a token for ada, and returns the status.
func (v *visitor) token() int {
	organisation, workspace, _ := strings.Cut(demoTenant, ":")
	return v.send("POST", "/demo/sample/api/consent/token?organisation_uuid="+organisation+"&workspace_uuid="+workspace, `{"org_user_id":"ada"}`).StatusCode
}

func TestVisitorsDoNotShareCounters(t *testing.T) {
	_, srv, _ := start(t, nil)
	one, two := newVisitor(t, srv), newVisitor(t, srv)
	require.Equal(t, 401, one.token(), "before the first scene")
	first, second := one.state("POST", "/demo/begin"), two.state("POST", "/demo/begin")
	require.NotEqual(t, first.Stage, second.Stage)
	for range 3 {
		require.Equal(t, 200, one.token())
	}
	assert.Equal(t, 3, one.state("GET", "/demo/state").Total["sample"].TokenCalls)
	assert.Equal(t, 2, one.state("GET", "/demo/state").Total["sample"].Killed)
	assert.Zero(t, two.state("GET", "/demo/state").Total["sample"])
	assert.Zero(t, newVisitor(t, srv).state("GET", "/demo/state").Total["sample"], "before the first scene")
}

// Each scene begins at 0, and the totals go on.
func TestTotalsAddUpOverScenes(t *testing.T) {
	_, srv, _ := start(t, nil)
	v := newVisitor(t, srv)
	var sum counts
	for scene := range 4 {
		s := v.state("POST", "/demo/begin")
		require.Equal(t, scene+1, s.Scenes)
		require.Zero(t, s.Scene["sample"])
		for range scene {
			require.Equal(t, 200, v.token())
		}
		require.Equal(t, 401, v.send("GET", "/demo/sample/consent/notices", "").StatusCode)
		require.Equal(t, 200, v.send("POST", "/demo/kit/api/consent/token", `{}`).StatusCode)
		s = v.state("GET", "/demo/state")
		require.Equal(t, scene, s.Scene["sample"].TokenCalls)
		require.Equal(t, int64(1), s.Scene["sample"].Unauthorized)
		require.Equal(t, 1, s.Scene["kit"].TokenCalls)
		sum = sum.plus(s.Scene["sample"])
		require.Equal(t, sum, s.Total["sample"])
	}
	require.Equal(t, 6, sum.TokenCalls)
}

// A 401 is a failure for a user who is signed in. After a sign-out it is wanted.
func TestWanted401sAreNoFailures(t *testing.T) {
	_, srv, _ := start(t, nil)
	v := newVisitor(t, srv)
	v.state("POST", "/demo/begin")
	require.Equal(t, 200, v.send("POST", "/demo/kit/api/consent/cookie", `{}`).StatusCode)
	require.Less(t, v.send("POST", "/demo/kit/api/consent/sign-out", `{}`).StatusCode, 300)
	require.Equal(t, 401, v.send("GET", "/demo/kit/consent/notices", "").StatusCode)
	kit := v.state("GET", "/demo/state").Scene["kit"]
	assert.Zero(t, kit.Unauthorized)
	assert.Equal(t, int64(1), kit.TurnedAway)
}

// A pair that its own refresh token replaced was not ended early.
func TestARefreshEndsNoTokenEarly(t *testing.T) {
	_, srv, _ := start(t, nil)
	v := newVisitor(t, srv)
	v.state("POST", "/demo/begin")
	require.Equal(t, 200, v.send("POST", "/demo/kit/api/consent/token", `{}`).StatusCode)
	require.Equal(t, 200, v.send("POST", "/demo/vendor", `{"side":"kit","do":"expire"}`).StatusCode)
	require.Equal(t, 200, v.send("GET", "/demo/kit/consent/notices", "").StatusCode)
	kit := v.state("GET", "/demo/state").Scene["kit"]
	assert.Equal(t, 2, kit.TokenCalls)
	assert.Zero(t, kit.Killed)
}

// The number of stages is bounded. The one that was not used for longest goes,
// with its listeners; its visitor begins again at 0.
func TestTheOldestStageMakesRoom(t *testing.T) {
	g, srv, _ := start(t, nil)
	oldest, kept := newVisitor(t, srv), newVisitor(t, srv)
	oldest.state("POST", "/demo/begin")
	require.Equal(t, 200, oldest.token())
	kept.state("POST", "/demo/begin")
	require.Equal(t, 200, kept.token())
	gone := g.demonstration.stages[0]
	for i := range maxStages - 1 {
		newVisitor(t, srv).state("POST", "/demo/begin")
		if i == 0 {
			kept.state("POST", "/demo/begin") // used again
		}
	}
	require.Len(t, g.demonstration.stages, maxStages)
	assert.Equal(t, 401, oldest.token())
	_, err := http.Get(gone.urls["sample"])
	require.Error(t, err, "its vendor still listens")
	assert.Equal(t, 1, kept.state("GET", "/demo/state").Total["sample"].TokenCalls)
	again := oldest.state("POST", "/demo/begin")
	assert.Equal(t, 1, again.Scenes)
	assert.Zero(t, again.Total["sample"])
	require.Equal(t, 200, oldest.token())
}

// A scene that cannot start says so, leaves the counters as they are, and the next
// one starts.
func TestAFailedStartLeavesTheStageAsItIs(t *testing.T) {
	g, srv, logs := start(t, nil)
	v := newVisitor(t, srv)
	v.state("POST", "/demo/begin")
	require.Equal(t, 200, v.token())
	s := g.demonstration.stages[0]
	good := s.urls["kit"]
	s.urls["kit"] = "not a URL"
	require.Equal(t, 500, v.send("POST", "/demo/begin", "").StatusCode)
	require.Contains(t, logs.String(), "a scene cannot begin")
	require.Equal(t, 1, v.state("GET", "/demo/state").Scene["sample"].TokenCalls)
	require.Equal(t, 200, v.token(), "the scene before goes on")
	s.urls["kit"] = good
	require.Equal(t, 2, v.state("POST", "/demo/begin").Scenes)
}

// A call of another site has no cookie. It names the stage by its tag, and opens
// nothing but the two backends.
func TestACallOfAnotherSiteHasNoCookie(t *testing.T) {
	_, srv, _ := start(t, nil)
	v, other := newVisitor(t, srv), newVisitor(t, srv)
	tag := v.state("POST", "/demo/begin").Stage
	organisation, workspace, _ := strings.Cut(demoTenant, ":")
	query := "/api/consent/token?organisation_uuid=" + organisation + "&workspace_uuid=" + workspace
	for path, want := range map[string]int{
		"/demo/attacked/" + tag + "/sample" + query: 200,
		"/demo/attacked/" + tag + "/kit" + query:    401,
		"/demo/attacked/" + tag + "/begin":          404,
		"/demo/attacked/" + tag + "/vendor/":        404,
		"/demo/attacked/0123456789abcdef/sample/":   404,
	} {
		assert.Equal(t, want, other.send("POST", path, `{"org_user_id":"ada"}`).StatusCode, path)
	}
	s := v.state("GET", "/demo/state")
	assert.Equal(t, 1, s.Scene["sample"].TokenCalls)
	assert.Zero(t, s.Scene["kit"].Unauthorized, "a caller who is not signed in")
}

// steps plays a scene of one side and returns its steps, and the sum.
func (v *visitor) steps(scene string) (steps []step, sum string) {
	v.t.Helper()
	res := v.send("POST", "/demo/run/"+scene, "")
	require.Equal(v.t, 200, res.StatusCode)
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		var line step
		require.NoError(v.t, json.Unmarshal(lines.Bytes(), &line))
		require.Empty(v.t, line.Failed)
		require.NotRegexp(v.t, `eyJ|[A-Z2-7]{26}`, lines.Text(), "a secret")
		if line.Sum != "" {
			sum = line.Sum
			continue
		}
		steps = append(steps, line)
	}
	require.NoError(v.t, lines.Err())
	return steps, sum
}

func saw(t *testing.T, steps []step, want ...string) {
	t.Helper()
	require.Len(t, steps, len(want))
	for i, text := range want {
		assert.Contains(t, steps[i].Saw, text, steps[i].Did)
	}
}

func TestTheProtectScene(t *testing.T) {
	_, srv, _ := start(t, nil)
	steps, sum := newVisitor(t, srv).steps("protect")
	saw(t, steps,
		"200 OK, “orders of ada”",
		`401 Unauthorized: "The access token is not valid."`,
		"10 × 200 OK and a new token in 10 answers, from 1 token call",
		"10 × 200 OK. The keys were fetched 1 time.",
		"401 Unauthorized",
		"10 × 200 OK",
		"503 Service Unavailable with Retry-After: ",
		"200 OK",
	)
	assert.Contains(t, steps[2].Saw, `Without: 401 Unauthorized: "The access token expired." With: `)
	assert.Contains(t, sum, "The server answered 32 × 200 OK, 3 × 401 Unauthorized and 1 × 503 Service Unavailable.")
	assert.Contains(t, sum, "renewed with 1 token call.")
}

func TestTheCallOutScene(t *testing.T) {
	_, srv, _ := start(t, nil)
	steps, sum := newVisitor(t, srv).steps("callout")
	saw(t, steps,
		"5 × 200 OK, from 1 token call",
		"The API refused 10 of them with 401. One renewal for all of them took 1 token call. The callers saw 10 × 200 OK.",
		"The caller saw 200 OK. The token was renewed with 1 token call, and the upload was sent again. The API got the whole file: its SHA-256 is the same.",
	)
	assert.Equal(t, "The callers got 16 × 200 OK. The API refused 11 requests with 401, which no caller saw. The authorization server got 3 token calls.", sum)
}

// Visitors play at once, and each sees its own scene alone.
func TestScenesOfSeveralVisitorsAtOnce(t *testing.T) {
	_, srv, _ := start(t, nil)
	done := make(chan string)
	for range 4 {
		go func() {
			res, err := newVisitor(t, srv).client.Post(srv.URL+"/demo/run/callout", "", nil)
			if err != nil {
				done <- err.Error()
				return
			}
			defer func() { _ = res.Body.Close() }()
			last := ""
			for lines := bufio.NewScanner(res.Body); lines.Scan(); {
				last = lines.Text()
			}
			done <- last
		}()
	}
	for range 4 {
		assert.Contains(t, <-done, "got 3 token calls")
	}
}
