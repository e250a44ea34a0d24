package handlers_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
)

// talk sends raw to a server of h and returns the connection with a reader.
func talk(t *testing.T, h http.Handler, raw string) (net.Conn, *bufio.Reader) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = io.WriteString(conn, raw)
	require.NoError(t, err)
	return conn, bufio.NewReader(conn)
}

// An upgrade to h2c would be a tunnel past the allow-list.
func TestProxyUpgradesToWebSocketOnly(t *testing.T) {
	for _, protocol := range []string{"h2c", "TLS/1.3", "h2c, websocket", "websocket, h2c", "websocket/13", "HTTP/2.0", ""} {
		var got http.Header
		h := newProxy(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header }, nil)
		_, r := talk(t, h, "GET /fhir/x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: "+protocol+"\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
		res, err := http.ReadResponse(r, nil)
		require.NoError(t, err, protocol)
		assert.Equal(t, 200, res.StatusCode, protocol)
		for _, name := range []string{"Upgrade", "Connection", "Http2-Settings"} {
			assert.NotContains(t, got, name, protocol)
		}
	}
}

// Servers behind CGI-like gateways read X_A and X-A as one header.
func TestProxyDropsNamesThatFold(t *testing.T) {
	var got http.Header
	h := newProxy(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header }, nil)
	_, r := talk(t, h, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent_Length: 999\r\nTransfer_Encoding: chunked\r\n"+
		"X.Forwarded.For: 1\r\nX-Forwarded: 1\r\nProxy_Connection: 1\r\nX'Y: 1\r\nX-Kept: 1\r\nX-Client-IP: 1\r\nX-Original-Host: 1\r\n\r\n{}")
	res, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	require.Equal(t, 200, res.StatusCode)
	assert.Equal(t, []string{"1"}, got["X-Kept"])
	for name := range got {
		assert.NotRegexp(t, "[^A-Za-z0-9-]|Forwarded|Client|Original", name)
	}
	assert.Equal(t, "2", got.Get("Content-Length"))
}

// Some servers merge trailers into the header.
func TestProxyCleansTrailers(t *testing.T) {
	var trailer http.Header
	var body []byte
	h := newProxy(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Set-Cookie, X-Sum")
		body, _ = io.ReadAll(r.Body)
		trailer = r.Trailer
		_, _ = io.WriteString(w, "x")
		w.Header().Set("Set-Cookie", "session=upstream")
		w.Header().Set("X-Sum", "1")
		w.Header().Set(http.TrailerPrefix+"Www-Authenticate", "upstream")
	}, nil)
	_, r := talk(t, h, "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: Authorization, Cookie, X-T\r\nTE: trailers\r\n\r\n"+
		"2\r\n{}\r\n0\r\nAuthorization: theirs\r\nCookie: theirs\r\nX-T: theirs\r\n\r\n")
	res, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	_, err = io.ReadAll(res.Body)
	require.NoError(t, err)
	assert.Equal(t, "{}", string(body))
	assert.NotContains(t, fmt.Sprint(trailer), "theirs")
	assert.NotContains(t, fmt.Sprint(res.Header, res.Trailer), "upstream")
	assert.Equal(t, "1", res.Trailer.Get("X-Sum"))
}

// The upstream decides whether the body is sent at all.
func TestProxyPassesExpect(t *testing.T) {
	refuse := true
	h := newProxy(t, func(w http.ResponseWriter, r *http.Request) {
		if refuse {
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	}, func(c *handlers.ProxyConfig) {
		// The default sends the body if the upstream says nothing for a second.
		waiting := http.DefaultTransport.(*http.Transport).Clone()
		waiting.ExpectContinueTimeout = time.Hour
		t.Cleanup(waiting.CloseIdleConnections)
		c.Transport = attach{waiting}
	})
	const head = "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
	_, r := talk(t, h, head)
	res, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	assert.Equal(t, 417, res.StatusCode)

	refuse = false
	conn, r := talk(t, h, head)
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
	_, _ = io.WriteString(conn, "hello")
	_, _ = r.ReadString('\n')
	res, err = http.ReadResponse(r, nil)
	require.NoError(t, err)
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	assert.Equal(t, "200 hello", fmt.Sprint(res.StatusCode, " ", string(b)))
}

// A request in absolute form, a second Host or an odd method lead nowhere else.
func TestProxyGoesToItsTarget(t *testing.T) {
	seen := ""
	h := newProxy(t, func(_ http.ResponseWriter, r *http.Request) { seen = r.Method + " " + r.RequestURI }, func(c *handlers.ProxyConfig) { c.Allow = []string{"/fhir/"} })
	for raw, want := range map[string]string{
		"GET http://evil.example/fhir/x HTTP/1.1\r\nHost: evil.example\r\n\r\n":                                                   "200 GET /fhir/x",
		"GET http://evil.example/admin HTTP/1.1\r\nHost: x\r\n\r\n":                                                               "404 ",
		"GET /fhir/x HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n":                                                                      "400 ",
		"trace /fhir/x HTTP/1.1\r\nHost: x\r\n\r\n":                                                                               "405 ",
		"Track /fhir/x HTTP/1.1\r\nHost: x\r\n\r\n":                                                                               "405 ",
		"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n":                                                     "404 ",
		"GET /fhir/x\tHTTP/1.1 HTTP/1.1\r\nHost: x\r\n\r\n":                                                                       "400 ",
		"GET /fhir/%c0%ae%c0%ae/x HTTP/1.1\r\nHost: x\r\n\r\n":                                                                    "404 ", // an overlong dot
		"GET /fhir/..%20/x HTTP/1.1\r\nHost: x\r\n\r\n":                                                                           "404 ",
		"GET /fhir/..%09/x HTTP/1.1\r\nHost: x\r\n\r\n":                                                                           "404 ",
		"DELETE /fhir/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}":                                                       "200 DELETE /fhir/x",
		"POST /fhir/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}":                                    "400 ",
		"POST /fhir/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n":          "501 ",
		"POST /fhir/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1": "200 POST /fhir/x",
	} {
		seen = ""
		_, r := talk(t, h, raw)
		res, err := http.ReadResponse(r, nil)
		if assert.NoError(t, err, raw) {
			assert.Equal(t, want, fmt.Sprint(res.StatusCode, " ", seen), raw)
		}
	}
}

// What stands before us acts on some headers of an answer.
func TestProxyDropsHeadersForFrontends(t *testing.T) {
	names := []string{"X-Accel-Redirect", "X-Accel-Buffering", "X-Sendfile", "X-Lighttpd-Send-File", "Nel", "Report-To", "Service-Worker-Allowed", "Location-Kept"}
	h := newProxy(t, func(w http.ResponseWriter, _ *http.Request) {
		for _, name := range names {
			w.Header().Set(name, "upstream")
		}
	}, nil)
	a := serve(t, h, httptest.NewRequest("GET", "/x", nil))
	assert.Equal(t, "upstream", a.header.Get("Location-Kept"))
	a.header.Del("Location-Kept")
	assert.NotContains(t, fmt.Sprint(a.header), "upstream")
}

// net/http quotes what it cannot read; an upstream may repeat the token there.
func TestProxyLogsNoUpstreamText(t *testing.T) {
	for _, text := range []string{
		`malformed HTTP response "planted \" token"`, `net/http: HTTP/1.x transport connection broken: malformed HTTP status code "planted"`,
		`http2: server sent GOAWAY and closed the connection; LastStreamID=1, ErrCode=NO_ERROR, debug="planted"`,
	} {
		var log bytes.Buffer
		c := proxyConfig("https://api.example.com")
		c.Logger = logTo(&log)
		c.Transport = roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New(text) })
		h, err := handlers.Proxy(c)
		a := serve(t, must(t, h, err), httptest.NewRequest("GET", "/x", nil))
		assert.Equal(t, "upstream_unreachable", a.json["code"])
		assert.NotContains(t, log.String(), "planted")
		assert.Contains(t, log.String(), strings.Fields(text)[0])
	}
}
