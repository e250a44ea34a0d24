package middleware_test

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
)

// A server sends its 401 and leaves the body open: a long poll, a stream
// without a known media type, a proxy that hangs.
func TestTransportWaitsForNoBodyOfA401(t *testing.T) {
	for name, length := range map[string]int64{"chunked": -1, "announced": 100} {
		synctest.Test(t, func(t *testing.T) {
			var bodies []*io.PipeWriter
			sends := 0
			base := roundTripFunc(func(r *http.Request) (*http.Response, error) {
				if sends++; r.Header.Get("Authorization") == "Bearer "+grantToken(2).AccessToken {
					return &http.Response{StatusCode: 200, ProtoMajor: 1, Header: http.Header{}, Body: http.NoBody}, nil
				}
				read, write := io.Pipe()
				bodies = append(bodies, write)
				go func() { _, _ = io.WriteString(write, "no") }()
				return &http.Response{StatusCode: 401, ProtoMajor: 1, Header: http.Header{}, ContentLength: length, Body: read}, nil
			})
			r, err := http.NewRequestWithContext(t.Context(), "GET", "https://api.example", nil)
			require.NoError(t, err)
			start := time.Now()
			res, err := (&middleware.Transport{Source: middleware.Fixed(newGrantSource()), Base: base}).RoundTrip(r)
			require.NoError(t, err)
			require.Equal(t, 200, res.StatusCode, name)
			require.LessOrEqual(t, time.Since(start), time.Second)
			require.Equal(t, 2, sends)
			_, err = bodies[0].Write([]byte("more"))
			require.ErrorIs(t, err, io.ErrClosedPipe, "the first body is closed")
		})
	}
}
