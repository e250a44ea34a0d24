package interop_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// fromOAuth2 is a provider whose tokens come from any oauth2.TokenSource. Give
// it one without a cache of its own: tokencache is the cache.
type fromOAuth2 struct{ source oauth2.TokenSource }

func (p fromOAuth2) Generate(context.Context, providers.Request) (providers.Token, error) {
	sent := time.Now()
	t, err := p.source.Token()
	if err != nil {
		return providers.Token{}, &providers.Error{Code: providers.CodeUpstreamError, Class: providers.Transient, Op: "oauth2: token", Err: err}
	}
	return providers.Token{AccessToken: t.AccessToken, TokenType: t.Type(), Expiry: t.Expiry, IssuedAt: sent}, nil
}

// toOAuth2 is an oauth2.TokenSource over a Source. Every Token is a new value,
// for oauth2's callers may change it, and always has an Expiry, for
// oauth2.ReuseTokenSource keeps one without it for ever.
type toOAuth2 struct{ source *tokencache.Source }

func (s toOAuth2) Token() (*oauth2.Token, error) {
	t, err := s.source.Token(context.Background())
	if err != nil {
		return nil, err
	}
	expiry := t.Expiry
	if expiry.IsZero() {
		expiry = time.Now().Add(time.Minute)
	}
	return &oauth2.Token{AccessToken: t.AccessToken, TokenType: t.TokenType, Expiry: expiry}, nil
}

type tokenSourceFunc func() (*oauth2.Token, error)

func (f tokenSourceFunc) Token() (*oauth2.Token, error) { return f() }

func Example_fromOAuth2() {
	upstream := tokenSourceFunc(func() (*oauth2.Token, error) {
		return &oauth2.Token{AccessToken: "from oauth2", Expiry: time.Now().Add(time.Hour)}, nil
	})
	cache, err := tokencache.New(fromOAuth2{upstream}, tokencache.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cache.Close(context.Background())
	t, err := cache.Generate(context.Background(), providers.Request{})
	fmt.Println(t.AccessToken, err)
	// Output: from oauth2 <nil>
}

func Example_toOAuth2() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Authorization"))
	}))
	defer server.Close()
	cache, err := tokencache.New(counted(&calls{lifetime: time.Hour}), tokencache.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cache.Close(context.Background())
	client := oauth2.NewClient(context.Background(), toOAuth2{cache.Source(providers.Request{})})
	res, err := client.Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	_, _ = io.Copy(printer{}, res.Body)
	// Output: Bearer token-1
}

// A ReuseTokenSource over a Source returns the successor as soon as the first
// token is stale, and the upstream is asked once a lifetime.
func TestReuseTokenSourceComesBackInTime(t *testing.T) {
	upstream := &calls{lifetime: 12 * time.Second} // oauth2 takes 10 of them off
	cache, err := tokencache.New(counted(upstream), tokencache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close(t.Context())
	reuse := oauth2.ReuseTokenSource(nil, toOAuth2{cache.Source(providers.Request{})})
	for range 50 {
		first, err := reuse.Token()
		if err != nil {
			t.Fatal(err)
		}
		first.AccessToken = "changed by a caller"
		second, err := toOAuth2{cache.Source(providers.Request{})}.Token()
		if err != nil || second.AccessToken != "token-1" {
			t.Fatalf("%v %v", second, err)
		}
	}
	if n := upstream.n.Load(); n != 1 {
		t.Fatalf("%d upstream calls", n)
	}
}
