package tokencache_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// numbered issues the tokens at-1, at-2, …
type numbered struct {
	mu sync.Mutex
	n  int
}

func (p *numbered) Generate(context.Context, providers.Request) (providers.Token, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	return providers.Token{AccessToken: fmt.Sprint("at-", p.n), Expiry: time.Now().Add(time.Hour)}, nil
}

func ExampleNew() {
	vendor := &numbered{}
	cache, err := tokencache.New(vendor, tokencache.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, ada := context.Background(), providers.Request{Subject: "ada"}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { _, _ = cache.Generate(ctx, ada) })
	}
	wg.Wait()
	token, err := cache.Generate(ctx, ada)
	fmt.Println(token.AccessToken, err, "after", cache.Stats().Calls, "call")

	// The API refused it before its time.
	token, err = cache.Renew(ctx, ada, token)
	fmt.Println(token.AccessToken, err, "after", cache.Stats().Calls, "calls")
	fmt.Println(cache.Close(ctx))

	_, err = tokencache.New(nil, tokencache.Options{Grace: -time.Second})
	fmt.Println(err)
	// Output:
	// at-1 <nil> after 1 call
	// at-2 <nil> after 2 calls
	// <nil>
	// tokencache: Grace: negative
	// tokencache: provider: nil
}

// A Source is what an outbound transport holds.
func ExampleCache_Source() {
	cache, err := tokencache.New(&numbered{}, tokencache.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = cache.Close(context.Background()) }()
	source := cache.Source(providers.Request{Subject: "service"})
	token, err := source.Token(context.Background())
	fmt.Println(token.AccessToken, err)
	// Output:
	// at-1 <nil>
}

// Two caches that share a Store act as one, as two processes do over
// package redisstore.
func ExampleNewMemory() {
	vendor, store := &numbered{}, tokencache.NewMemory()
	ctx := context.Background()
	for range 2 {
		cache, err := tokencache.New(vendor, tokencache.Options{Store: store, Namespace: "vendor"})
		if err != nil {
			fmt.Println(err)
			return
		}
		token, err := cache.Generate(ctx, providers.Request{Subject: "ada"})
		fmt.Println(token.AccessToken, err)
		_ = cache.Close(ctx)
	}
	// Output:
	// at-1 <nil>
	// at-1 <nil>
}

// A page shows the token that it was handed to a proxy of the same vendor.
func ExampleNewHandedOut() {
	cache, err := tokencache.New(&numbered{}, tokencache.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	pages, err := tokencache.NewHandedOut(cache, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	token, _ := pages.Generate(ctx, providers.Request{Tenant: "t1", Subject: "ada"}) // as handlers.Generate does
	grant, ok, _ := pages.Grant(ctx, token.AccessToken)
	fmt.Println(ok, grant.Tenant())
	_, ok, _ = pages.Grant(ctx, "another")
	fmt.Println(ok)
	// Output:
	// true t1
	// false
}
