package oauth2bridge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/oauth2bridge"
)

// counting is a provider whose n-th token is "token-n", and as a function an
// oauth2.TokenSource of the same tokens.
type counting struct {
	n        atomic.Int64
	lifetime time.Duration // 0: the tokens have no Expiry
}

func (c *counting) Generate(context.Context, providers.Request) (providers.Token, error) {
	t := providers.Token{AccessToken: fmt.Sprintf("token-%d", c.n.Add(1)), TokenType: "Bearer", IssuedAt: time.Now()}
	if c.lifetime > 0 {
		t.Expiry = t.IssuedAt.Add(c.lifetime)
	}
	return t, nil
}

type sourceFunc func() (*oauth2.Token, error)

func (f sourceFunc) Token() (*oauth2.Token, error) { return f() }

func newCache(t *testing.T, p providers.Provider) *tokencache.Cache {
	t.Helper()
	cache, err := tokencache.New(p, tokencache.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = cache.Close(context.Background()) })
	return cache
}

func TestProviderTakesTheSourcesToken(t *testing.T) {
	expiry := time.Now().Add(time.Hour)
	n := 0
	cache := newCache(t, oauth2bridge.Provider(sourceFunc(func() (*oauth2.Token, error) {
		n++
		return &oauth2.Token{AccessToken: "a", TokenType: "bearer", RefreshToken: "secret", Expiry: expiry}, nil
	})))
	for range 3 {
		token, err := cache.Generate(t.Context(), providers.Request{})
		require.NoError(t, err)
		require.Equal(t, "a", token.AccessToken)
		require.Equal(t, "Bearer", token.TokenType)
		require.True(t, expiry.Equal(token.Expiry))
		require.Empty(t, token.RefreshToken, "the source keeps what it refreshes with")
	}
	require.Equal(t, 1, n)
}

// What a token endpoint answers, as classes, through the real client. Nothing
// of the answer but a code of RFC 6749 is kept.
func TestProviderClassifiesFailures(t *testing.T) {
	const secret = "hunter2"
	for _, c := range []struct {
		status     int
		body       string
		retryAfter string
		code       providers.Code
		class      providers.Class
	}{
		{400, `{"error":"invalid_grant"}`, "", providers.CodeRefreshRejected, providers.Permanent},
		{401, `{"error":"invalid_client"}`, "", providers.CodeCredentialsRejected, providers.Permanent},
		{400, `{"error":"unauthorized_client"}`, "", providers.CodeCredentialsRejected, providers.Permanent},
		{400, `{"error":"invalid_scope"}`, "", providers.CodeRejectedInput, providers.Permanent},
		{401, ``, "", providers.CodeCredentialsRejected, providers.Permanent},
		{403, `<html>`, "", providers.CodeCredentialsRejected, providers.Permanent},
		{408, ``, "", providers.CodeUpstreamError, providers.Transient},
		{429, `slow down`, "7", providers.CodeBusy, providers.Transient},
		{500, `{"error":"server_error"}`, "", providers.CodeUpstreamError, providers.Transient},
		{503, ``, "99999999", providers.CodeBusy, providers.Transient},
		{200, `{"error":"odd"}`, "", providers.CodeBadResponse, providers.Transient},
	} {
		t.Run(strconv.Itoa(c.status)+c.body, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if c.retryAfter != "" {
					w.Header().Set("Retry-After", c.retryAfter)
				}
				w.WriteHeader(c.status)
				body := c.body
				if strings.HasPrefix(body, "{") {
					body = strings.TrimSuffix(body, "}") + `,"error_description":"` + secret + `"}`
				}
				_, _ = io.WriteString(w, body)
			}))
			defer server.Close()
			config := clientcredentials.Config{ClientID: "id", ClientSecret: secret, TokenURL: server.URL, AuthStyle: oauth2.AuthStyleInParams}
			_, err := oauth2bridge.Provider(config.TokenSource(t.Context())).Generate(t.Context(), providers.Request{})
			var e *providers.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, c.code, e.Code)
			require.Equal(t, c.class, e.Class)
			require.Equal(t, c.status, e.Status)
			require.Equal(t, map[string]time.Duration{"": 0, "7": 7 * time.Second, "99999999": time.Hour}[c.retryAfter], e.RetryAfter)
			require.NotContains(t, fmt.Sprintf("%+v %v %v", e, e.LogValue(), errors.Unwrap(e)), secret)
		})
	}
}

func TestProviderFailsPlainly(t *testing.T) {
	for name, c := range map[string]struct {
		source oauth2.TokenSource
		code   providers.Code
	}{
		"no source":   {nil, providers.CodeInternal},
		"nil token":   {sourceFunc(func() (*oauth2.Token, error) { return nil, nil }), providers.CodeBadResponse},
		"empty token": {sourceFunc(func() (*oauth2.Token, error) { return &oauth2.Token{}, nil }), providers.CodeBadResponse},
		"panic":       {sourceFunc(func() (*oauth2.Token, error) { panic("hunter2") }), providers.CodeUnreachable},
		"error":       {sourceFunc(func() (*oauth2.Token, error) { return nil, errors.New("down") }), providers.CodeUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := oauth2bridge.Provider(c.source).Generate(t.Context(), providers.Request{})
			var e *providers.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, c.code, e.Code)
			require.NotContains(t, fmt.Sprintf("%v %v", e.LogValue(), e), "hunter2")
		})
	}
}

// A source takes no context, and still its callers leave when theirs ends.
func TestProviderLeavesWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		finish := make(chan struct{})
		defer close(finish)
		p := oauth2bridge.Provider(sourceFunc(func() (*oauth2.Token, error) { <-finish; return nil, errors.New("late") }))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := p.Generate(ctx, providers.Request{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(began))
		_, err = p.Generate(ctx, providers.Request{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// A source that hangs is not called again beside its own call: the next
// Generate waits for that one.
func TestProviderCallsItsSourceOnceAtATime(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var calls, atOnce atomic.Int64
			finish := make(chan struct{})
			p := oauth2bridge.Provider(sourceFunc(func() (*oauth2.Token, error) {
				n := calls.Add(1)
				if atOnce.Add(1) > 1 {
					t.Error("two calls at once")
				}
				defer atOnce.Add(-1)
				<-finish
				if fails && n == 1 {
					return nil, errors.New("late")
				}
				return &oauth2.Token{AccessToken: fmt.Sprint("token-", n)}, nil
			}))
			for range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				_, err := p.Generate(ctx, providers.Request{})
				require.ErrorIs(t, err, context.DeadlineExceeded)
				cancel()
			}
			require.Equal(t, int64(1), calls.Load())
			time.AfterFunc(time.Second, func() { close(finish) })
			token, err := p.Generate(t.Context(), providers.Request{})
			require.NoError(t, err, "an error of a call that its caller has left is not another's")
			require.Equal(t, map[bool]string{false: "token-1", true: "token-2"}[fails], token.AccessToken)
			token, err = p.Generate(t.Context(), providers.Request{})
			require.NoError(t, err)
			require.Equal(t, map[bool]string{false: "token-2", true: "token-3"}[fails], token.AccessToken)
		})
	}
}

// A function is cancelled with the context that it gets, and a Generate that
// waited for another's call makes a call then.
func TestProviderFuncIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		p := oauth2bridge.ProviderFunc(func(ctx context.Context) (*oauth2.Token, error) {
			if n++; n == 2 {
				return &oauth2.Token{AccessToken: "a"}, nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		})
		first, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() {
			_, err := p.Generate(first, providers.Request{})
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}()
		synctest.Wait()
		token, err := p.Generate(t.Context(), providers.Request{})
		require.NoError(t, err)
		require.Equal(t, "a", token.AccessToken)
		require.Equal(t, 2, n)
	})
	_, err := oauth2bridge.ProviderFunc(nil).Generate(t.Context(), providers.Request{})
	var e *providers.Error
	require.ErrorAs(t, err, &e)
	require.ErrorContains(t, e.Err, "no function")
}

// An oauth2.ReuseTokenSource over the cache comes back when its token is about
// to expire, and what a caller changes in its token stays with that caller.
func TestTokenSourceComesBackInTime(t *testing.T) {
	for _, lifetime := range []time.Duration{time.Hour, 0} {
		synctest.Test(t, func(t *testing.T) {
			provider := &counting{lifetime: lifetime}
			cache, err := tokencache.New(provider, tokencache.Options{})
			require.NoError(t, err)
			defer func() { _ = cache.Close(context.Background()) }()
			source := cache.Source(providers.Request{})
			reuse := oauth2.ReuseTokenSource(nil, oauth2bridge.TokenSource(t.Context(), source))
			first, err := reuse.Token()
			require.NoError(t, err)
			require.False(t, first.Expiry.IsZero(), "kept for ever")
			time.Sleep(time.Until(first.Expiry) - time.Second) // oauth2 takes 10 s off
			next, err := reuse.Token()
			require.NoError(t, err)
			require.True(t, next.Expiry.After(first.Expiry), "the old token came back")
			require.LessOrEqual(t, provider.n.Load(), int64(2))
			next.AccessToken = "changed by a caller"
			again, err := oauth2bridge.TokenSource(t.Context(), source).Token()
			require.NoError(t, err)
			require.NotEqual(t, next.AccessToken, again.AccessToken)
		})
	}
}

func TestTokenSourceEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cache := newCache(t, &counting{lifetime: time.Hour})
	_, err := oauth2bridge.TokenSource(ctx, cache.Source(providers.Request{})).Token()
	require.ErrorIs(t, err, context.Canceled)
	_, err = oauth2bridge.TokenSource(t.Context(), nil).Token()
	require.Error(t, err)
}

// The cache in front of an x/oauth2 source: Google, client credentials, a
// refresh token that the source holds.
func ExampleProvider() {
	source := sourceFunc(func() (*oauth2.Token, error) {
		return &oauth2.Token{AccessToken: "from oauth2", Expiry: time.Now().Add(time.Hour)}, nil
	})
	cache, err := tokencache.New(oauth2bridge.Provider(source), tokencache.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = cache.Close(context.Background()) }()
	t, err := cache.Generate(context.Background(), providers.Request{})
	fmt.Println(t.AccessToken, err)
	// Output: from oauth2 <nil>
}

// The cache in front of x/oauth2's client credentials. Config.Token asks the
// server at each call; Config.TokenSource would keep its token.
func ExampleProviderFunc() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"from oauth2","token_type":"Bearer","expires_in":3600}`)
	}))
	defer server.Close()
	config := clientcredentials.Config{ClientID: "orders", ClientSecret: "secret", TokenURL: server.URL}
	cache, err := tokencache.New(oauth2bridge.ProviderFunc(config.Token), tokencache.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = cache.Close(context.Background()) }()
	t, err := cache.Generate(context.Background(), providers.Request{})
	fmt.Println(t.AccessToken, err)
	// Output: from oauth2 <nil>
}

// The cache behind a client that takes an oauth2.TokenSource.
func ExampleTokenSource() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Authorization"))
	}))
	defer server.Close()
	cache, err := tokencache.New(&counting{lifetime: time.Hour}, tokencache.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = cache.Close(context.Background()) }()
	ctx := context.Background()
	client := oauth2.NewClient(ctx, oauth2bridge.TokenSource(ctx, cache.Source(providers.Request{})))
	res, err := client.Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = res.Body.Close() }()
	body, _ := io.ReadAll(res.Body)
	fmt.Println(string(body))
	// Output: Bearer token-1
}

// A caller's credential is not dropped without a word, and the client's own
// token is no token for the caller.
func TestProviderTakesNoAssertion(t *testing.T) {
	p := oauth2bridge.Provider(sourceFunc(func() (*oauth2.Token, error) { return &oauth2.Token{AccessToken: "own"}, nil }))
	for _, req := range []providers.Request{
		{Assertion: providers.Assertion{Token: "secret"}}, {Actor: providers.Assertion{Token: "secret"}},
	} {
		_, err := p.Generate(t.Context(), req)
		var e *providers.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, providers.CodeInvalidField, e.Code)
		require.NotContains(t, err.Error(), "secret")
	}
}

// A token of type N_A is an assertion for another server (RFC 8693 section
// 2.2.1) and not to be presented.
func TestTokenSourceYieldsNoAssertion(t *testing.T) {
	cache := newCache(t, oauth2bridge.Provider(sourceFunc(func() (*oauth2.Token, error) {
		return &oauth2.Token{AccessToken: "secret", TokenType: "N_A"}, nil
	})))
	_, err := oauth2bridge.TokenSource(t.Context(), cache.Source(providers.Request{})).Token()
	require.ErrorContains(t, err, "N_A")
	require.NotContains(t, err.Error(), "secret")
}
