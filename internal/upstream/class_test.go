package upstream_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/upstream"
	"github.com/bearerkit/bearerkit/providers"
)

// Every row of tokencache.md's "Error classes" that a status alone settles.
func TestStatusesHaveTheirClass(t *testing.T) {
	const (
		busy, failed, bad = providers.CodeBusy, providers.CodeUpstreamError, providers.CodeBadResponse
		ours, input       = providers.CodeCredentialsRejected, providers.CodeRejectedInput
		again, doubt, no  = providers.Transient, providers.InDoubt, providers.Permanent
	)
	for status, want := range map[int]struct {
		code          providers.Code
		class, onOnce providers.Class
	}{
		300: {bad, no, no}, 304: {bad, no, no}, 307: {bad, no, no},
		400: {input, no, no}, 422: {input, no, no},
		401: {ours, no, no}, 403: {ours, no, no},
		402: {failed, no, no}, 404: {failed, no, no}, 409: {failed, no, no}, 410: {failed, no, no}, 499: {failed, no, no},
		408: {failed, again, again}, 425: {failed, again, again}, 429: {busy, again, again},
		500: {failed, again, doubt}, 501: {failed, again, doubt}, 502: {failed, again, doubt}, 504: {failed, again, doubt}, 599: {failed, again, doubt},
		503: {busy, again, doubt},
	} {
		for _, oneTime := range []bool{false, true} {
			res, err := call(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "3")
				w.WriteHeader(status)
				if status != http.StatusNotModified {
					_, _ = io.WriteString(w, "<html>planted")
				}
			}), oneTime)
			require.NoError(t, err, status)
			assert.False(t, res.OK(), status)
			e := res.Err()
			failure(t, e)
			class := want.class
			if oneTime {
				class = want.onOnce
			}
			assert.Equal(t, want.code, e.Code, status)
			assert.Equal(t, class, e.Class, "%d, one-time %v", status, oneTime)
			assert.Equal(t, status, e.Status)
			assert.Equal(t, 3*time.Second, e.RetryAfter)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	const date = "Mon, 15 Jan 2024 10:30:00 GMT" // ours, too
	for _, c := range []struct {
		value, date string
		want        time.Duration
	}{
		{"", "", 0},
		{"7", "", 7 * time.Second},
		{" 120 ", "", 2 * time.Minute},
		{"0", "", 0},
		{"Mon, 15 Jan 2024 10:30:30 GMT", date, 30 * time.Second},
		{"Mon, 15 Jan 2024 10:30:30 GMT", "", 30 * time.Second},
		{"Mon, 15 Jan 2024 10:30:30 GMT", "Mon, 15 Jan 2024 10:29:30 GMT", time.Minute}, // by the vendor's clock
		{"Monday, 15-Jan-24 10:30:30 GMT", date, 30 * time.Second},
		{"Mon Jan 15 10:30:30 2024", date, 30 * time.Second},
		{"Mon, 15 Jan 2024 10:29:00 GMT", date, 0},
		{"Fri, 31 Dec 9999 23:59:59 GMT", date, 1<<63 - 1},
		{"99999999999", "", 1 << 31 * time.Second},
		{"99999999999999999999999999", "", 1 << 31 * time.Second},
		{"-5", "", 0}, {"+5", "", 0}, {"7.5", "", 0}, {"0x10", "", 0}, {"5s", "", 0}, {"soon", "", 0}, {"7, 8", "", 0},
	} {
		res, err := call(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", c.value)
			if c.date != "" {
				w.Header().Set("Date", c.date)
			}
			w.WriteHeader(http.StatusTooManyRequests)
		}), false)
		require.NoError(t, err)
		assert.Equal(t, c.want, res.Err().RetryAfter, "%+v", c)
	}
}

func TestSkew(t *testing.T) {
	for _, c := range []struct {
		date string
		now  time.Time
		skew time.Duration
	}{
		{"", clock, 0},
		{"nonsense", clock, 0},
		{"Mon, 15 Jan 2024 10:30:02 GMT", clock.Add(2 * time.Second), 0}, // its resolution, and the way
		{"Mon, 15 Jan 2024 10:29:58 GMT", clock.Add(-2 * time.Second), 0},
		{"Mon, 15 Jan 2024 10:30:03 GMT", clock.Add(3 * time.Second), 3 * time.Second},
		{"Mon, 15 Jan 2024 09:30:00 GMT", clock.Add(-time.Hour), -time.Hour},
	} {
		res, err := call(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if c.date != "" {
				w.Header().Set("Date", c.date)
			}
		}), false)
		require.NoError(t, err)
		assert.True(t, c.now.Equal(res.Now()), c.date)
		assert.Equal(t, c.skew, res.Skew(), c.date)
	}
}

func TestCheckURL(t *testing.T) {
	for _, good := range []string{
		"https://api.example.com", "HTTPS://api.example.com:8443/base/", "https://[2001:db8::1]/",
		"http://localhost", "http://127.0.0.1:8080", "http://127.9.9.9/x", "http://[::1]:1", "http://[::ffff:127.0.0.1]",
	} {
		u, err := upstream.CheckURL("F", good)
		if assert.NoError(t, err, good) {
			assert.NotEmpty(t, u.Hostname(), good)
		}
	}
	for bad, want := range map[string]string{
		"": "not an absolute URL", "/path": "not an absolute URL", "api.example.com": "not an absolute URL",
		"https:api.example.com": "not an absolute URL", "https://": "not an absolute URL", "https:///x": "not an absolute URL", "https://:443": "not an absolute URL",
		"https://u:planted@api.example.com": "not allowed", "https://@api.example.com": "not allowed",
		"https://api.example.com?planted": "not allowed", "https://api.example.com?": "not allowed",
		"https://api.example.com#planted": "not allowed", "https://api.example.com#": "not allowed",
		"http://api.example.com": "must be https", "ftp://127.0.0.1": "must be https", "ws://localhost": "must be https",
		"http://127.0.0.1.example.com": "must be https", "http://localhost.example.com": "must be https", "http://127.1": "must be https",
		"http://0.0.0.0": "must be https", "http://10.0.0.1": "must be https", "http://[::]": "must be https", "http://2130706433": "must be https",
		"https://planted\x7f": "not a URL", "https://[planted": "not a URL", "https://api.example.com/%zz": "not a URL", "https://api.example.com:x": "not a URL",
	} {
		_, err := upstream.CheckURL("F", bad)
		if assert.ErrorContains(t, err, want, bad) {
			assert.ErrorContains(t, err, "F: ", bad)
			assert.NotContains(t, err.Error(), "planted")
		}
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.255.0.1": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "Localhost.": false, "localhost.": false, "localhost6": false, "128.0.0.1": false, "::2": false, "::1%lo": false, "[::1]": false, "0x7f.1": false,
	} {
		assert.Equal(t, want, upstream.Loopback(host), host)
	}
}
