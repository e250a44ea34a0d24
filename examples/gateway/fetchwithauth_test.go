package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/tokencache"
)

// tabs is a browser's tabs, played by Node, with the document's fetchWithAuth.
type tabs struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Scanner
}

type tabCall struct {
	Name string `json:"name"`
	Act  string `json:"act"`
	Path string `json:"path"`
	Body any    `json:"body"`
}

type tabAnswer struct {
	Status       int
	Body         map[string]any
	Refreshes    []int // statuses of the refreshes that the call took
	Token        string
	RefreshToken string `json:"refresh_token"`
}

func openTabs(t *testing.T, srv *httptest.Server) *tabs {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", "testdata/page.mjs", srv.URL, "organisation_uuid="+org+"&workspace_uuid="+workspace)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start(), "needs Node.js 20 or newer")
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	return &tabs{t, in, bufio.NewScanner(out)}
}

func (p *tabs) do(c tabCall) (a tabAnswer) {
	p.t.Helper()
	require.NoError(p.t, json.NewEncoder(p.in).Encode(c))
	require.True(p.t, p.out.Scan(), "the page ended")
	require.NoError(p.t, json.Unmarshal(p.out.Bytes(), &a))
	return a
}

func (p *tabs) generate(name, user string) tabAnswer {
	return p.do(tabCall{name, "generate", "", map[string]string{"org_user_id": user}})
}

func (p *tabs) fetch(name, path string, body any) tabAnswer {
	return p.do(tabCall{name, "fetch", path, body})
}

func redactoCache(g *gateway) *tokencache.Cache { return g.named["redacto"] }

// A page that has nothing but the pair from our endpoint uses our proxy with the
// document's fetchWithAuth: while the token is good, when it has run out, when
// the vendor has revoked it, and when another tab has replaced it.
func TestFetchWithAuthAtTheGateway(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil && os.Getenv("CI") == "" {
		t.Skip("no node")
	}
	vars, _, vendors := realVars(t)
	redacto := vendors["redacto"]
	_, srv, _ := start(t, vars)
	page := openTabs(t, srv)
	const path = "/consent/organisations/" + org + "/workspaces/" + workspace + "/purposes"

	t.Run("the token is good", func(t *testing.T) {
		require.Equal(t, 200, page.generate("a", "ada").Status)
		a := page.fetch("a", path, nil)
		assert.Equal(t, 200, a.Status, "%v", a.Body)
		assert.Empty(t, a.Refreshes, "401, refresh, 401 is what the page got before")
		assert.Equal(t, "ada", a.Body["org_user_id"])
		a = page.fetch("a", path, map[string]int{"n": 1})
		assert.Equal(t, 200, a.Status)
	})
	t.Run("the token runs out", func(t *testing.T) {
		redacto.SetLifetimes(2*time.Second, time.Hour)
		before := page.generate("b", "bob")
		require.Equal(t, 200, before.Status)
		redacto.SetLifetimes(time.Hour, time.Hour)
		require.Eventually(t, func() bool {
			a := page.fetch("b", path, nil)
			require.Equal(t, 200, a.Status, "%v", a.Body)
			return len(a.Refreshes) == 1 && a.Refreshes[0] == 200 && a.Token != before.Token
		}, 2*time.Minute, 100*time.Millisecond, "the page never had to refresh")
		a := page.fetch("b", path, nil)
		assert.Equal(t, 200, a.Status)
		assert.Empty(t, a.Refreshes)
	})
	t.Run("the token is revoked early", func(t *testing.T) {
		before := page.generate("c", "carl")
		redacto.RevokeAll()
		a := page.fetch("c", path, map[string]int{"n": 1})
		assert.Equal(t, 200, a.Status, "the proxy renews once: %v", a.Body)
		assert.Equal(t, before.Token, a.Token)
	})
	t.Run("the token is superseded by another tab", func(t *testing.T) {
		first := page.generate("d", "dora")
		page.do(tabCall{"e", "copy", "", "d"})
		redacto.SetLifetimes(time.Hour, time.Hour)
		status, _, v := call(t, srv, "POST", "/api/consent/refresh-token", "", `{"refresh_token":"`+first.RefreshToken+`","organisation_uuid":"`+org+`","workspace_uuid":"`+workspace+`"}`)
		require.Equal(t, 200, status)
		require.NotEqual(t, first.Token, v["token"])
		for _, tab := range []string{"d", "e"} {
			a := page.fetch(tab, path, nil)
			assert.Equal(t, 200, a.Status, "%s: %v", tab, a.Body)
			assert.Equal(t, "dora", a.Body["org_user_id"])
		}
	})
}
