package handlers_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/bearerkit/bearerkit/handlers"
)

// An upstream that repeats whatever it was sent, keys and tokens included, in
// answers of every kind: none of it may come out of an answer or a log.
func TestNoSecretComesOut(t *testing.T) {
	base, upstream := upstreamServer(t)
	var out, log bytes.Buffer
	echo := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			b, _ := httputil.DumpRequest(r, true)
			text := fmt.Sprintf("%q", b)
			w.Header().Set("X-Echo", text)
			w.Header().Set("Server", text)
			w.Header().Set("WWW-Authenticate", text)
			w.Header().Set("Location", "https://"+cmsKey+"@evil.example/"+kudoKey)
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, `{"error":%s,"error_description":%s,"message":%s,"detail":%s,"token":{"x":%s}}`, text, text, text, text, text)
		}
	}
	answers := []http.HandlerFunc{reply(200, success), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }}
	for _, status := range []int{200, 201, 301, 400, 401, 403, 404, 409, 422, 429, 500, 503} {
		answers = append(answers, echo(status))
	}
	calls := 0
	for name, v := range vendors(t, base) {
		c := v.config()
		c.Logger = logTo(&log)
		for _, build := range []func(handlers.Config) (http.Handler, error){handlers.Generate, handlers.Refresh, handlers.Verify, handlers.SignOut} {
			h, err := build(c)
			if err != nil {
				_, _ = io.WriteString(&out, err.Error()) // this vendor cannot
				continue
			}
			for _, answer := range answers {
				upstream.set(answer)
				for _, body := range []string{v.good, `{"refresh_token":"planted-refresh","org_user_id":"u","token":"planted-token"}`, `{`, `[]`, ``} {
					r := v.post(body)
					a := serve(t, h, r)
					fmt.Fprintln(&out, name, a.status, a.header, a.body)
					get := httptest.NewRequest(http.MethodGet, "/verify", nil)
					get.Header.Set("X-Api-Token", fmt.Sprintf("planted-token-%d", calls))
					a = serve(t, h, get)
					fmt.Fprintln(&out, name, a.status, a.header, a.body)
					calls++
				}
			}
		}
	}
	assert.Greater(t, calls, 300)
	for _, secret := range planted {
		assertFree(t, out.String(), secret)
	}
	for _, secret := range []string{"planted", "upstream-token", "upstream-refresh"} { // the callers' tokens too
		assertFree(t, log.String(), secret)
	}
	assert.True(t, strings.Contains(out.String(), "upstream-token"), "some answers are good")
	assert.NotEmpty(t, log.String())
}

// assertFree names the first line with secret in it.
func assertFree(t *testing.T, text, secret string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if strings.Contains(line, secret) {
			t.Errorf("%q came out: %.300s", secret, line)
			return
		}
	}
}
