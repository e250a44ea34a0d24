package interop_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

func retrying(source *tokencache.Source) *http.Client {
	c := retryablehttp.NewClient()
	c.Logger = nil
	c.RetryWaitMin, c.RetryWaitMax = time.Millisecond, 10*time.Millisecond
	c.HTTPClient.Transport = &middleware.Transport{Source: middleware.Fixed(source)}
	return c.StandardClient()
}

// Retries of 5xx are another RoundTripper's: it goes around the Transport, so
// that each of its tries has the current token.
func Example_retries() {
	tries := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tries++; tries < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s after %d tries", body, tries)
	}))
	defer server.Close()
	cache, err := tokencache.New(counted(&calls{lifetime: time.Hour}), tokencache.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	res, err := retrying(cache.Source(providers.Request{})).Post(server.URL, "text/plain", strings.NewReader("hello"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	_, _ = io.Copy(printer{}, res.Body)
	// Output: hello after 3 tries
}

// A server that refuses every token costs no token storm, however many callers
// retry: one renewal, and two sends a call, for a 401 is not retried.
func TestRetriesCauseNoTokenStorm(t *testing.T) {
	var mu sync.Mutex
	sends := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		sends++
		mu.Unlock()
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	upstream := &calls{lifetime: time.Hour}
	cache, err := tokencache.New(counted(upstream), tokencache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close(t.Context())
	client := retrying(cache.Source(providers.Request{}))
	began := time.Now()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			res, err := client.Post(server.URL, "text/plain", strings.NewReader("x"))
			if err != nil {
				t.Error(err)
				return
			}
			_ = res.Body.Close()
		})
	}
	wg.Wait()
	most := 2 + int64(time.Since(began)/(5*time.Second)) // the cache renews a refused token once in 5 s at most
	if n := upstream.n.Load(); n > most || sends > 100 {
		t.Fatalf("%d token requests, %d sends", n, sends)
	}
	t.Logf("50 calls: %d token requests, %d sends", upstream.n.Load(), sends)
}
