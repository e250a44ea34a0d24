package handlers_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
)

// drive gets one answer of the contract from one vendor's handlers, or nil if
// the vendor cannot have it.
type drive func(t *testing.T, c column, upstream *switchable) *answer

func ask(t *testing.T, h http.Handler, r *http.Request) *answer {
	a := serve(t, h, r)
	return &a
}

// posted sends body to the vendor's token endpoint, "" being no way to ask.
func posted(body func(column) string) drive {
	return func(t *testing.T, c column, _ *switchable) *answer {
		if body(c) == "" || c.notBrowsers {
			return nil
		}
		return ask(t, c.token(t, nil), c.call(body(c)))
	}
}

// request sends a good call that change has spoilt.
func request(change func(*http.Request)) drive {
	return func(t *testing.T, c column, _ *switchable) *answer {
		if c.notBrowsers {
			return nil
		}
		r := c.call(c.good)
		change(r)
		return ask(t, c.token(t, nil), r)
	}
}

func tenant(query string) drive {
	return func(t *testing.T, c column, _ *switchable) *answer {
		if !c.tenants {
			return nil
		}
		c.query = query
		return ask(t, c.token(t, nil), c.call(c.good))
	}
}

// upstream has the vendor answer h to a good call.
func upstreamSays(h func(column) http.HandlerFunc) drive {
	return func(t *testing.T, c column, upstream *switchable) *answer {
		answer := h(c)
		if !c.remote || answer == nil {
			return nil
		}
		upstream.set(answer)
		return ask(t, c.token(t, nil), c.call(c.good))
	}
}

func always(h http.HandlerFunc) drive {
	return upstreamSays(func(column) http.HandlerFunc { return h })
}

// said is an upstream's refusal in the vendor's own words, if it has them.
func said(status int, text func(column) string) drive {
	return upstreamSays(func(c column) http.HandlerFunc {
		if text(c) == "" {
			return nil
		}
		return reply(status, text(c))
	})
}

// rows has at least one way to each code of the contract.
var rows = []struct {
	code  providers.Code
	how   string
	drive drive
}{
	{"invalid_json", "the body is an array", posted(func(column) string { return `[{}]` })},
	{"invalid_field", "a wrong type", posted(func(c column) string { return c.badField })},
	{"invalid_field", "a malformed query", request(func(r *http.Request) { r.URL.RawQuery = "scope=%zz" })},
	{"tenant_required", "none of two", tenant("")},
	{"tenant_invalid", "no UUID", tenant("?organisation_uuid=..%2F..&workspace_uuid=" + workspace)},
	{"tenant_conflict", "twice", tenant(tenantIDs + "&workspace_uuid=" + workspace)},
	{"tenant_not_allowed", "another", tenant("?organisation_uuid=" + other + "&workspace_uuid=" + workspace)},
	{"identity_required", "nobody named", identityRequired},
	{"refresh_token_required", "none", refreshing(`{"refresh_token":null}`, nil)},
	{"refresh_rejected", "refused", refreshing(`{"refresh_token":"dead"}`, func(c column) http.HandlerFunc { return reply(400, c.refused) })},
	{"not_signed_in", "no claims", subjectIs("", func(c column) string { return c.good })},
	{"identity_mismatch", "somebody else", subjectIs("alice", func(c column) string { return c.bob })},
	{"invalid_token", "native verify", verified},
	{"cross_origin", "another site", crossOrigin},
	{"grant_required", "no grant of a signed-in user", ungranted},
	{"request_timeout", "a body that comes too late", tardy},
	{"misdirected_request", "a foreign host name", foreign},
	{"not_found", "not in the allow-list", proxied("/admin", nil)},
	{"method_not_allowed", "GET", request(func(r *http.Request) { r.Method = http.MethodGet })},
	{"body_too_large", "over 16 KiB", posted(func(column) string { return large() })},
	{"unsupported_media_type", "a form", request(func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") })},
	{"upstream_rejected_input", "400", said(400, func(c column) string { return c.rejected })},
	{"rate_limited", "a limiter in front", limited},
	{"internal", "our key cannot be read", broken},
	{"upstream_credentials_rejected", "401", said(401, func(c column) string { return c.unknown })},
	{"upstream_error", "500", always(reply(500, "planted"))},
	{"upstream_bad_response", "HTML", always(reply(200, "<html>planted"))},
	{"upstream_bad_response", "no token", always(reply(200, `{"planted":1}`))},
	{"upstream_bad_response", "over 1 MiB", always(reply(200, strings.Repeat(" ", 1<<20+1)))},
	{"upstream_unreachable", "connection closed", always(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })},
	{"upstream_rejected_token", "401 through the proxy", proxied("/fhir/x", reply(200, success))},
	{"upstream_busy", "429", always(reply(429, "planted", "Retry-After", "7"))},
	{"upstream_busy", "503", always(reply(503, "planted", "Retry-After", "7"))},
	{"upstream_timeout", "a wrapper's deadline", late},
}

func identityRequired(t *testing.T, c column, _ *switchable) *answer {
	if c.nobody == "" {
		return nil
	}
	h, err := handlers.Generate(c.config())
	return ask(t, must(t, h, err), c.call(c.nobody))
}

func refreshing(body string, says func(column) http.HandlerFunc) drive {
	return func(t *testing.T, c column, upstream *switchable) *answer {
		h := c.refresh(t)
		if h == nil || c.refused == "" {
			return nil
		}
		if says != nil {
			upstream.set(says(c))
		}
		return ask(t, h, c.call(body))
	}
}

func subjectIs(name string, body func(column) string) drive {
	return func(t *testing.T, c column, _ *switchable) *answer {
		if body(c) == "" && !c.notBrowsers || c.notBrowsers && name != "" {
			return nil
		}
		h := c.token(t, func(conf *handlers.Config) { conf.Authorize = handlers.SubjectFrom(subject) })
		return ask(t, h, signedIn(c.call(body(c)), name))
	}
}

func verified(t *testing.T, c column, upstream *switchable) *answer {
	if c.verify.Provider == nil {
		return nil
	}
	upstream.set(c.unverified)
	h, err := handlers.Verify(c.verify)
	r := httptest.NewRequest(http.MethodGet, "/verify", nil)
	r.Header.Set("X-Api-Token", "planted-token")
	return ask(t, must(t, h, err), r)
}

func crossOrigin(t *testing.T, c column, _ *switchable) *answer {
	if c.notBrowsers {
		return nil
	}
	r := c.call(c.good)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	return ask(t, c.token(t, func(conf *handlers.Config) { conf.CrossOrigin = http.NewCrossOriginProtection() }), r)
}

func proxied(path string, says http.HandlerFunc) drive {
	return func(t *testing.T, c column, upstream *switchable) *answer {
		if !c.proxied {
			return nil
		}
		if says != nil {
			upstream.set(says)
		}
		pc := proxyConfig("https://api.example.com")
		pc.Transport, pc.Allow = attach{trip{&fake{}}}, []string{"/fhir/"}
		h, err := handlers.Proxy(pc)
		return ask(t, must(t, h, err), httptest.NewRequest(http.MethodGet, path, nil))
	}
}

func ungranted(t *testing.T, c column, _ *switchable) *answer {
	if !c.isUsers() {
		return nil
	}
	conf := c.config()
	conf.Authorize = handlers.SubjectFrom(subject)
	h, err := handlers.Generate(conf)
	return ask(t, must(t, h, err), signedIn(c.call(`{}`), "alice"))
}

func tardy(t *testing.T, c column, _ *switchable) *answer {
	if c.notBrowsers {
		return nil
	}
	r := c.call(c.good)
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader("{"), iotest.ErrReader(os.ErrDeadlineExceeded)))
	r.ContentLength = -1
	return ask(t, c.token(t, nil), r)
}

func foreign(t *testing.T, c column, _ *switchable) *answer {
	if c.notBrowsers {
		return nil
	}
	return ask(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers.WriteError(w, r, &providers.Error{Code: "misdirected_request"})
	}), c.call(c.good))
}

func limited(t *testing.T, c column, _ *switchable) *answer {
	if c.notBrowsers {
		return nil // hands out no token
	}
	return ask(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "900")
		handlers.WriteError(w, r, &providers.Error{Code: "rate_limited"})
	}), c.call(c.good))
}

func broken(t *testing.T, c column, _ *switchable) *answer {
	if c.broken == nil {
		return nil
	}
	return ask(t, c.token(t, func(conf *handlers.Config) { conf.Provider = c.broken }), c.call(c.good))
}

func late(t *testing.T, c column, upstream *switchable) *answer {
	upstream.set(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithDeadline(context.Background(), time.Unix(1, 0))
	defer cancel()
	return ask(t, c.token(t, nil), c.call(c.good).WithContext(ctx))
}

// check is what all errors have in common, and what single ones have besides.
func (a *answer) check(t *testing.T, vendor string, code providers.Code) {
	t.Helper()
	status := contract[code]
	require.Equal(t, string(code), a.json["code"], a.body)
	assert.Equal(t, status, a.status)
	assert.Equal(t, "application/problem+json", a.header.Get("Content-Type"))
	assertHardened(t, a.header)
	assert.Equal(t, "about:blank", a.json["type"])
	assert.Equal(t, http.StatusText(status), a.json["title"])
	assert.EqualValues(t, status, a.json["status"])
	assert.NotEmpty(t, a.json["detail"])
	assert.Equal(t, a.json["detail"], a.json["error"])
	assert.NotContains(t, a.body+fmt.Sprint(a.header), "planted")
	assert.Equal(t, status == 405, a.header.Get("Allow") != "", "Allow")
	assert.Equal(t, status == 401, a.header.Get("WWW-Authenticate") != "", "WWW-Authenticate")
	assert.Equal(t, map[int]string{429: "900", 503: "7"}[status], a.header.Get("Retry-After"))
	if code == "identity_required" {
		assert.Equal(t, "At least one user identifier required", a.json["error"])
	}
	if vendor == "contactsmanager" && code != "rate_limited" && code != "misdirected_request" { // which stands before it
		assert.Equal(t, false, a.json["success"])
		assert.NotEmpty(t, a.json["message"])
	}
}

// TestContract walks every row of the contract for every vendor. With -v it
// prints the table.
func TestContract(t *testing.T) {
	base, upstream := upstreamServer(t)
	cols := columns(t, base)
	names := slices.Sorted(maps.Keys(cols))
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "status\tcode\tby\t%s\n", strings.Join(names, "\t"))
	seen, cells := map[providers.Code]bool{}, 0
	for _, row := range rows {
		_, _ = fmt.Fprintf(w, "%d\t%s\t%s", contract[row.code], row.code, row.how)
		for _, name := range names {
			cell := "-"
			t.Run(name+"/"+string(row.code)+"/"+row.how, func(t *testing.T) {
				upstream.set(reply(200, success))
				if a := row.drive(t, cols[name], upstream); a != nil {
					cell = fmt.Sprint(a.status)
					seen[row.code] = true
					cells++
					a.check(t, name, row.code)
				}
			})
			_, _ = fmt.Fprintf(w, "\t%s", cell)
		}
		_, _ = fmt.Fprintln(w)
	}
	_ = w.Flush()
	t.Logf("\n%s", table.String())
	assert.Equal(t, 132, cells, "a cell became empty, or has no place here yet")
	for code := range contract {
		assert.True(t, seen[code], "no vendor shows %s", code)
	}
}

// The rows without an answer: a missing key is an error of the constructor, and
// a client that has gone gets none: the connection is closed.
func TestContractWithoutAnAnswer(t *testing.T) {
	base, upstream := upstreamServer(t)
	upstream.set(reply(200, success))
	for name, c := range columns(t, base) {
		assert.Error(t, c.keyless(), name)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		w := &strictWriter{header: http.Header{}}
		assert.PanicsWithValue(t, http.ErrAbortHandler, func() { c.token(t, nil).ServeHTTP(w, c.call(c.good).WithContext(ctx)) }, name)
		assert.Zero(t, w.writes, name)
	}
	redox := columns(t, base)["redox"]
	_, err := handlers.Generate(redox.config())
	assert.ErrorContains(t, err, "Wire: required; a provider without one is for server to server: publish its keys with JWKS and forward calls with Proxy instead")
}
