package providertest_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/providertest"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

const toyKey, toyToken = "toy-key-canary", "toy-token-canary"

// toy is a provider that can be built with one defect.
type toy struct {
	base   string
	defect string
	key    func() string
	client *upstream.Client
	shared int // raced upon by one defect
	leaked string
	names  toyNames
}

// toyNames are what the toy's vendor calls the members of its answers.
type toyNames struct{ token, refresh string }

const otherNames = "other names: " // before a defect

func namesFor(defect string) (toyNames, string) {
	if rest, ok := strings.CutPrefix(defect, otherNames); ok {
		return toyNames{"tok", "renewal"}, rest
	}
	return toyNames{"token", "refresh_token"}, defect
}

func newToy(base, defect string) *toy {
	names, defect := namesFor(defect)
	p := &toy{base: base, names: names, defect: defect, key: func() string { return toyKey }, client: upstream.New("toy", nil, nil)}
	if defect == "prints its key" {
		p.leaked = toyKey
	}
	return p
}

func (p *toy) Generate(ctx context.Context, req providers.Request) (providers.Token, error) {
	return p.issue(ctx, req, "generate", "", false)
}

func (p *toy) Refresh(ctx context.Context, req providers.Request, refreshToken string) (providers.Token, error) {
	return p.issue(ctx, req, "refresh", refreshToken, p.defect != "forgets that it works once")
}

func (p *toy) Revoke(ctx context.Context, t providers.Token) error {
	if p.defect == "revokes nothing" {
		return nil
	}
	res, err := p.client.Do(ctx, upstream.Call{Op: "revoke", Method: "POST", URL: p.base + "/revoke", Body: map[string]string{"token": t.RefreshToken}})
	if err != nil {
		return err
	}
	if !res.OK() && p.defect != "revoking never fails" {
		return res.Err()
	}
	return nil
}

func (p *toy) Mode() providers.Mode {
	switch p.defect {
	case "no such mode":
		return 7
	case "mode by chance":
		p.shared++
		return providers.Mode(p.shared % 3)
	}
	return providers.Rotating
}

func (p *toy) Key(req providers.Request) (string, error) {
	switch p.defect {
	case "one key for all":
		return "toy", nil
	case "one key for all tenants":
		req.Tenant = ""
	case "one key for all parameters":
		req.Params = nil
	case "a key without boundaries":
		req.Subject, req.Tenant = req.Tenant+req.Subject, ""
	case "keys by its secret":
		return toyKey, nil
	case "keys by chance":
		return rand.Text(), nil
	}
	return req.Key()
}

func (p *toy) issue(ctx context.Context, req providers.Request, name, refreshToken string, oneTime bool) (providers.Token, error) {
	switch p.defect {
	case "races":
		p.shared++
	case "ignores its context":
		ctx = context.Background()
	case "follows redirects", "reads without bound", "no *Error", "quotes the answer":
		return p.naive(ctx, name, refreshToken)
	}
	call := upstream.Call{Op: name, Method: "POST", URL: p.base + "/" + name, Header: http.Header{"X-Key": {p.key()}}, OneTime: oneTime,
		Body: map[string]any{"refresh_token": refreshToken, "for": req.Subject, "in": req.Tenant, "with": req.Params}}
	res, err := p.client.Do(ctx, call)
	if err != nil {
		return providers.Token{}, err
	}
	if p.defect == "retries" && res.Status >= 500 {
		if res, err = p.client.Do(ctx, call); err != nil {
			return providers.Token{}, err
		}
	}
	if !res.OK() {
		return providers.Token{}, p.refusal(res, name)
	}
	t, err := p.token(res, refreshToken)
	if err != nil && p.defect != "loses the new refresh token" {
		return res.Salvage(refreshToken, err, p.names.refresh)
	}
	return t, err
}

func (p *toy) refusal(res *upstream.Response, name string) error {
	e := res.Err()
	switch {
	case p.defect == "no class" && res.Status < 500:
		e.Class = providers.Transient
	case p.defect == "gives up for good":
		e.Class = providers.Permanent
	case p.defect == "signs out" && res.Status == 401:
		e.Code = providers.CodeRefreshRejected
	case p.defect == "kills the grant" && name == "generate" && res.Status == 400:
		e.Class = providers.GrantDead
	case p.defect == "believes a page" && name == "refresh" && res.Status == 403:
		e.Class = providers.GrantDead
	case name == "refresh" && res.Status == 400 && res.Structured():
		return res.Fail(providers.CodeRefreshRejected, providers.GrantDead)
	case p.defect == "no retry after":
		e.RetryAfter = 0
	case p.defect == "wraps the answer":
		e.Err = errors.New(string(res.Body))
	}
	return e
}

func (p *toy) token(res *upstream.Response, refreshToken string) (providers.Token, error) {
	var got map[string]any
	if err := res.Decode(&got); err != nil {
		return providers.Token{}, err
	}
	accessToken, _ := got[p.names.token].(string)
	if accessToken == "" && p.defect != "hands out nothing" {
		return providers.Token{}, res.Bad(errors.New("no token"))
	}
	fresh, _ := got[p.names.refresh].(string)
	t := providers.Token{AccessToken: accessToken, TokenType: "Bearer", RefreshToken: cmp.Or(fresh, refreshToken), IssuedAt: res.Sent}
	switch p.defect {
	case "drops the refresh token":
		t.RefreshToken = ""
	case "repeats no refresh token":
		t.RefreshToken = fresh
	case "keeps the old refresh token":
		t.RefreshToken = refreshToken
	case "issued at arrival":
		t.IssuedAt = res.Sent.Add(time.Minute)
	}
	return t, nil
}

// naive is a provider as one writes it at first.
func (p *toy) naive(ctx context.Context, name, refreshToken string) (providers.Token, error) {
	fail := func(err error) (providers.Token, error) {
		if p.defect == "no *Error" {
			return providers.Token{}, err
		}
		return providers.Token{}, &providers.Error{Code: providers.CodeBadResponse, Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, "POST", p.base+"/"+name, strings.NewReader("{}"))
	if err != nil {
		return fail(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fail(errors.New("unreachable"))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return fail(err)
	}
	var got struct {
		Token string `json:"token"`
	}
	if res.StatusCode != 200 || json.Unmarshal(body, &got) != nil || got.Token == "" {
		if p.defect == "quotes the answer" {
			return fail(fmt.Errorf("answered %q", body))
		}
		return fail(errors.New("no token"))
	}
	return providers.Token{AccessToken: got.Token, TokenType: "Bearer", RefreshToken: refreshToken, IssuedAt: time.Now()}, nil
}

func toySuite(defect string) providertest.Suite {
	names, _ := namesFor(defect)
	return providertest.Suite{
		New:          func(_ testing.TB, base string) providers.Provider { return newToy(base, defect) },
		Request:      providers.Request{Subject: "alice", Params: map[string]any{"file": "a"}},
		Answer:       `{"` + names.token + `":"` + toyToken + `","` + names.refresh + `":"toy-next-canary"}`,
		RefreshToken: "toy-refresh-canary",
		RevokeAnswer: "{}",
		Secrets:      []string{toyKey, toyToken, "toy-next-canary"},
	}
}

func TestGoodProviderPasses(t *testing.T) { providertest.Run(t, toySuite("")) }

func TestGoodProviderOfAVendorWithOtherNamesPasses(t *testing.T) {
	providertest.Run(t, toySuite(otherNames))
}

// busy is a machine on which a deadline of 50 ms passes before the request is
// sent.
type busy struct{ http.RoundTripper }

func (b busy) RoundTrip(r *http.Request) (*http.Response, error) {
	if end, ok := r.Context().Deadline(); ok && time.Until(end) < 60*time.Millisecond {
		<-r.Context().Done()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: r.Context().Err()}
	}
	return b.RoundTripper.RoundTrip(r)
}

func TestGoodProviderPassesOnABusyMachine(t *testing.T) {
	s := toySuite("")
	s.New = func(_ testing.TB, base string) providers.Provider {
		p := newToy(base, "")
		p.client = upstream.New("toy", &http.Client{Transport: busy{http.DefaultTransport}}, nil)
		return p
	}
	providertest.Run(t, s)
}

// TestDefective is run by TestSuiteCatchesDefects in a process of its own,
// where it has to fail.
func TestDefective(t *testing.T) {
	defect := os.Getenv("PROVIDERTEST_DEFECT")
	if defect == "" {
		t.Skip("only a helper of TestSuiteCatchesDefects")
	}
	providertest.Run(t, toySuite(defect))
}

// The suite is worth what it catches: each defect fails in the case named.
func TestSuiteCatchesDefects(t *testing.T) {
	for defect, where := range map[string]string{
		"prints its key":          "generate/success",
		"ignores its context":     "generate/cancelled_before",
		"follows redirects":       "generate/redirects/307",
		"reads without bound":     "generate/oversized/gzip_bomb",
		"no *Error":               "generate/statuses/500_html",
		"quotes the answer":       "refresh/statuses/500_html",
		"retries":                 "generate/statuses/503_empty",
		"no class":                "generate/statuses/403_refusal",
		"gives up for good":       "generate/statuses/502_html",
		"signs out":               "generate/statuses/401_refusal",
		"kills the grant":         "generate/statuses/400_empty",
		"no retry after":          "refresh/retry_after",
		"wraps the answer":        "generate/statuses/422_html",
		"hands out nothing":       "generate/bad_bodies/no_token",
		"drops the refresh token": "refresh/success",
		"issued at arrival":       "generate/success",
		"keys by its secret":      "key",
		"keys by chance":          "key",

		"one key for all":             "keys_of_others",
		"one key for all tenants":     "keys_of_others",
		"one key for all parameters":  "keys_of_others",
		"a key without boundaries":    "keys_of_others",
		"no such mode":                "mode",
		"mode by chance":              "mode",
		"forgets that it works once":  "refresh/connection_lost/dropped",
		"believes a page":             "refresh/statuses/403_html",
		"repeats no refresh token":    "refresh/no_new_refresh_token",
		"keeps the old refresh token": "refresh/no_new_refresh_token",
		"loses the new refresh token": "refresh/nothing_but_a_new_refresh_token",
		"revokes nothing":             "revoke/success",

		otherNames + "drops the refresh token":     "refresh/success",
		otherNames + "repeats no refresh token":    "refresh/no_new_refresh_token",
		otherNames + "keeps the old refresh token": "refresh/no_new_refresh_token",
		otherNames + "loses the new refresh token": "refresh/nothing_but_a_new_refresh_token",

		"revoking never fails": "revoke/statuses/401_refusal",
	} {
		t.Run(defect, func(t *testing.T) {
			out, err := runDefective(t, defect, where)
			require.Error(t, err, "the suite passes a provider with this defect")
			assert.Contains(t, out, "--- FAIL: TestDefective/"+where+" ")
			assert.NotContains(t, out, "panic:")
		})
	}
}

// runDefective runs one case of the suite against a toy with defect.
func runDefective(t *testing.T, defect, where string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // a process of its own takes long on a busy machine
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestDefective$/^"+strings.ReplaceAll(where, "/", "$/^")+"$", "-test.v")
	cmd.Env = append(os.Environ(), "PROVIDERTEST_DEFECT="+defect)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}
