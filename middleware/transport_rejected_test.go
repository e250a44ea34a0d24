package middleware_test

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
)

// answering answers the first token with one status and body and the second
// with 200, and counts the sends.
type answering struct {
	status      int
	contentType string
	challenge   string
	body        io.Reader
	sends       int
}

func (a *answering) RoundTrip(r *http.Request) (*http.Response, error) {
	a.sends++
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	res := &http.Response{StatusCode: 200, ProtoMajor: 1, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("done"))}
	if r.Header.Get("Authorization") != "Bearer token-2" {
		res.StatusCode, res.Body = a.status, io.NopCloser(a.body)
		res.Header.Set("Content-Type", a.contentType)
		if a.challenge != "" {
			res.Header.Set("WWW-Authenticate", a.challenge)
		}
	}
	return res, nil
}

func saysExpired(_ *http.Response, start []byte) bool {
	return strings.Contains(string(start), "expired")
}

// RFC 9110 section 9.2.2: only 401 and 403 say that nothing was done, so that
// other statuses allow a second send of idempotent methods alone.
func TestTransportRejectedIsAskedForStatusesItNames(t *testing.T) {
	cases := []struct {
		name, method string
		status       int
		named        []int
		methods      []string
		contentType  string
		challenge    string
		sends        int
	}{
		{name: "403 needs no naming", method: "POST", status: 403, sends: 2},
		{name: "400 not named", method: "GET", status: 400, sends: 1},
		{name: "400 named", method: "GET", status: 400, named: []int{400}, sends: 2},
		{name: "498 named among others", method: "GET", status: 498, named: []int{400, 498}, sends: 2},
		{name: "200 with an error body", method: "GET", status: 200, named: []int{200}, sends: 2},
		{name: "a method left out is GET", method: "", status: 200, named: []int{200}, sends: 2},
		{name: "PUT", method: "PUT", status: 400, named: []int{400}, sends: 2},
		{name: "DELETE", method: "DELETE", status: 400, named: []int{400}, sends: 2},
		{name: "OPTIONS", method: "OPTIONS", status: 400, named: []int{400}, sends: 2},
		{name: "POST is not idempotent", method: "POST", status: 400, named: []int{400}, sends: 1},
		{name: "PATCH is not idempotent", method: "PATCH", status: 200, named: []int{200}, sends: 1},
		{name: "methods have a case", method: "put", status: 400, named: []int{400}, sends: 1},
		{name: "POST allowed by name", method: "POST", status: 400, named: []int{400}, methods: []string{"POST"}, sends: 2},
		{name: "a named method names no status", method: "POST", status: 400, methods: []string{"POST"}, sends: 1},
		{name: "another method named", method: "PATCH", status: 400, named: []int{400}, methods: []string{"POST"}, sends: 1},
		{name: "HEAD", method: "HEAD", status: 400, named: []int{400}, methods: []string{"HEAD"}, sends: 1},
		{name: "HEAD with 403", method: "HEAD", status: 403, sends: 1},
		{name: "101", method: "GET", status: 101, named: []int{101}, sends: 1},
		{name: "103", method: "GET", status: 103, named: []int{103}, sends: 1},
		{name: "event stream", method: "GET", status: 200, named: []int{200}, contentType: "text/event-stream; charset=utf-8", sends: 1},
		{name: "event stream in capitals", method: "GET", status: 200, named: []int{200}, contentType: "Text/Event-Stream", sends: 1},
		{name: "event stream, broken parameter", method: "GET", status: 200, named: []int{200}, contentType: "text/event-stream; =", sends: 1},
		{name: "event stream with 403", method: "GET", status: 403, contentType: "text/event-stream", sends: 1},
		{name: "stream of records", method: "GET", status: 200, named: []int{200}, contentType: "application/x-ndjson", sends: 1},
		{name: "gRPC", method: "GET", status: 200, named: []int{200}, contentType: "application/grpc+proto", sends: 1},
		{name: "a challenge that a newer token does not meet", method: "GET", status: 403, challenge: `Bearer error="insufficient_scope"`, sends: 1},
		{name: "such a challenge under another status", method: "GET", status: 400, named: []int{400}, challenge: `Bearer error="insufficient_claims"`, sends: 1},
		{name: "another challenge", method: "GET", status: 400, named: []int{400}, challenge: `Bearer error="invalid_token"`, sends: 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			web := &answering{status: c.status, contentType: c.contentType, challenge: c.challenge, body: strings.NewReader("token expired")}
			transport := &middleware.Transport{
				Source: middleware.Fixed(newGrantSource()), Base: web,
				Rejected: saysExpired, RejectedStatuses: c.named, RejectedMethods: c.methods,
			}
			req, err := http.NewRequest(c.method, "https://api.test/", strings.NewReader("body"))
			require.NoError(t, err)
			req.Method = c.method
			res, err := transport.RoundTrip(req)
			require.NoError(t, err)
			require.Equal(t, c.sends, web.sends)
			want := map[int]string{1: "token expired", 2: "done"}[c.sends]
			require.Equal(t, want, readAndClose(t, res))
		})
	}
}

// A Rejected that is not there, or says no, leaves every answer alone.
func TestTransportWithoutRejectedRenewsOn401Only(t *testing.T) {
	for _, rejected := range []func(*http.Response, []byte) bool{nil, func(*http.Response, []byte) bool { return false }} {
		for _, status := range []int{200, 400, 403, 498, 503} {
			web := &answering{status: status, body: strings.NewReader("expired")}
			transport := &middleware.Transport{
				Source: middleware.Fixed(newGrantSource()), Base: web, Rejected: rejected, RejectedStatuses: []int{200, 400, 498, 503},
			}
			req, _ := http.NewRequest("GET", "https://api.test/", nil)
			res, err := transport.RoundTrip(req)
			require.NoError(t, err)
			require.Equal(t, status, res.StatusCode)
			require.Equal(t, "expired", readAndClose(t, res))
			require.Equal(t, 1, web.sends)
		}
	}
}

// An answer under a named status is peeked at, and comes through whole, long
// or short, and with the error its body ends with.
func TestTransportPeeksWithoutLoss(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 513, 100_000} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			cut := errors.New("connection lost")
			want := strings.Repeat("x", size)
			var asked []byte
			web := &answering{status: 200, body: io.MultiReader(strings.NewReader(want), failingReader{cut})}
			transport := &middleware.Transport{
				Source: middleware.Fixed(newGrantSource()), Base: web, RejectedStatuses: []int{200},
				Rejected: func(_ *http.Response, start []byte) bool { asked = start; return false },
			}
			req, _ := http.NewRequest("GET", "https://api.test/", nil)
			res, err := transport.RoundTrip(req)
			require.NoError(t, err)
			require.Len(t, asked, min(size, 512))
			got, err := io.ReadAll(res.Body)
			require.ErrorIs(t, err, cut)
			require.Equal(t, want, string(got))
		})
	}
}

// A 401 whose body is a stream is not read to its end, which may never come.
func TestTransportDoesNotWaitForTheEndOfARefusedStream(t *testing.T) {
	pr, pw := io.Pipe()
	defer func() { _ = pw.Close() }()
	web := &answering{status: 401, contentType: "text/event-stream", body: pr}
	req, _ := http.NewRequest("GET", "https://api.test/", nil)
	res, err := (&middleware.Transport{Source: middleware.Fixed(newGrantSource()), Base: web}).RoundTrip(req)
	require.NoError(t, err)
	require.Equal(t, "done", readAndClose(t, res))
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// Microsoft Entra's claims challenge: no token of the same grant has the
// claims, so that nothing is renewed and the caller learns what to ask for.
func TestTransportEntraClaimsChallengeIsNoRenewal(t *testing.T) {
	const challenge = `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", error="insufficient_claims", ` +
		`claims="eyJhY2Nlc3NfdG9rZW4iOnsieG1zX2NjIjp7InZhbHVlcyI6WyJjcDEiXX19fQ=="`
	web := &answering{status: 401, challenge: challenge, body: strings.NewReader("why")}
	src := newGrantSource()
	req, _ := http.NewRequest("GET", "https://api.test/", nil)
	res, err := (&middleware.Transport{Source: middleware.Fixed(src), Base: web}).RoundTrip(req)
	require.NoError(t, err)
	require.Equal(t, "why", readAndClose(t, res))
	require.Equal(t, 1, web.sends)
	require.Zero(t, src.renews)
	c := middleware.ChallengeFrom(res)
	require.NotNil(t, c)
	require.Equal(t, "insufficient_claims", c.Code)
	require.JSONEq(t, `{"access_token":{"xms_cc":{"values":["cp1"]}}}`, string(c.Claims))
}
