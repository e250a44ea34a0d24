package upstream_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
)

// Every row of the table of classes that a status alone decides, for an answer
// of the vendor's own.
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
			e := refused(t, status, `{"message":"planted"}`, "application/json", oneTime)
			class := want.class
			if oneTime {
				class = want.onOnce
			}
			assert.Equal(t, want.code, e.Code, status)
			assert.Equal(t, class, e.Class, "%d, one-time %v", status, oneTime)
			assert.Equal(t, 3*time.Second, e.RetryAfter)
		}
	}
}

func refused(t *testing.T, status int, body, contentType string, oneTime bool) *providers.Error {
	t.Helper()
	res, err := call(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3")
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		if status != http.StatusNotModified {
			_, _ = io.WriteString(w, body)
		}
	}), oneTime)
	require.NoError(t, err, status)
	assert.False(t, res.OK(), status)
	e := res.Err()
	failure(t, e)
	assert.Equal(t, status, e.Status)
	return e
}

// A proxy or a firewall may have answered: that is not a verdict, and is tried
// again at most twice a minute.
func TestA4xxWithoutAReasonIsTransient(t *testing.T) {
	for _, body := range []struct {
		text, kind string
		page       bool
	}{
		{"", "", false}, {"planted", "text/plain", false}, {`"planted"`, "application/json", false}, {`{"planted`, "application/json", false},
		{"<html>planted", "application/json", true}, {"planted", "text/html; charset=utf-8", true}, {" \n<!doctype html>", "", true},
	} {
		for _, status := range []int{400, 401, 402, 403, 404, 409, 410, 418, 422, 499} {
			e := refused(t, status, body.text, body.kind, true)
			want := providers.CodeUpstreamError
			if (status == 401 || status == 403) && !body.page {
				want = providers.CodeCredentialsRejected
			}
			assert.Equal(t, want, e.Code, "%d %q", status, body.text)
			assert.Equal(t, providers.Transient, e.Class, "%d %q", status, body.text)
			assert.Equal(t, 30*time.Second, e.RetryAfter)
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
