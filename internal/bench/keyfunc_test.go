package bench

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
)

// verifyingFunc tells whether a token passes.
type verifyingFunc func(token string) bool

// byKeyfunc verifies as keyfunc's and golang-jwt's documentation shows.
func byKeyfunc(t *testing.T, i *authtest.Issuer) (verifyingFunc, func()) {
	ctx, stop := context.WithCancel(context.Background())
	k, err := keyfunc.NewDefaultOverrideCtx(ctx, []string{i.URL + "/jwks"}, keyfunc.Override{
		Client: i.Client(), RefreshErrorHandlerFunc: func(string) func(context.Context, error) { return func(context.Context, error) {} },
	})
	check(t, err)
	return func(token string) bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_, err := jwt.Parse(token, k.KeyfuncCtx(ctx), jwt.WithIssuer(i.URL), jwt.WithAudience(i.Audience), jwt.WithExpirationRequired(), jwt.WithValidMethods([]string{"ES256"}))
		return err == nil
	}, stop
}

// byKit verifies as the kit's documentation shows.
func byKit(t *testing.T, i *authtest.Issuer) (verifyingFunc, func()) {
	a, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{{
		Issuer: i.URL, Audiences: []string{i.Audience}, Algorithms: []string{"ES256"}, JWKSURL: i.URL + "/jwks", HTTPClient: i.Client(),
	}}})
	check(t, err)
	return func(token string) bool {
		_, err := a.Verify(context.Background(), token)
		return err == nil
	}, func() {}
}

func issued(t *testing.T, i *authtest.Issuer, kid string) string {
	t.Helper()
	token, err := i.Token(nil)
	if kid != "" {
		claims, _ := jwt.NewParser().DecodeSegment(strings.Split(token, ".")[1])
		token, err = i.Sign(map[string]any{"kid": kid}, claims)
	}
	check(t, err)
	return token
}

// starvation is the table of what keyfunc's defaults do to honest users. run
// returns whether they are served.
var starvation = []struct {
	name   string
	down   bool   // at the start
	beside string // another key in the set
	run    func(t *testing.T, i *authtest.Issuer, passes verifyingFunc) bool
}{
	{"200 requests at a rotation", false, "", func(t *testing.T, i *authtest.Issuer, passes verifyingFunc) bool {
		if !passes(issued(t, i, "")) {
			t.Fatal("not even before")
		}
		check(t, i.Rotate(false))
		i.Slow(100 * time.Millisecond)
		var served atomic.Int64
		var wg sync.WaitGroup
		for range 200 {
			token := issued(t, i, "")
			wg.Go(func() {
				if passes(token) {
					served.Add(1)
				}
			})
		}
		wg.Wait()
		t.Logf("%d of 200 served", served.Load())
		return served.Load() == 200
	}},
	{"random kid, then a rotation", false, "", func(t *testing.T, i *authtest.Issuer, passes verifyingFunc) bool {
		if passes(issued(t, i, "random")) {
			t.Fatal("a key nobody has")
		}
		check(t, i.Rotate(false))
		return passes(issued(t, i, ""))
	}},
	{"issuer down for 300 ms at the start", true, "", func(t *testing.T, i *authtest.Issuer, passes verifyingFunc) bool {
		if passes(issued(t, i, "")) {
			t.Fatal("the issuer is down")
		}
		time.Sleep(300 * time.Millisecond)
		i.Down(false)
		time.Sleep(time.Minute)
		return passes(issued(t, i, ""))
	}},
	{"200 with {}", false, "", func(t *testing.T, i *authtest.Issuer, passes verifyingFunc) bool {
		if !passes(issued(t, i, "")) {
			t.Fatal("not even before")
		}
		i.ServeSet([]byte("{}"))
		time.Sleep(61 * time.Minute)
		return passes(issued(t, i, ""))
	}},
	{"malformed neighbour", false, `{"kty":"RSA","kid":"bad"}`, func(t *testing.T, i *authtest.Issuer, passes verifyingFunc) bool {
		return passes(issued(t, i, ""))
	}},
}

// TestWhereKeyfuncsDefaultsFail runs every row with both: honest users are
// served by the kit and, if that ever changes this fails too, not by keyfunc.
func TestWhereKeyfuncsDefaultsFail(t *testing.T) {
	for _, row := range starvation {
		for _, side := range []struct {
			name string
			make func(*testing.T, *authtest.Issuer) (verifyingFunc, func())
			want bool
		}{{"keyfunc", byKeyfunc, false}, {"bearerkit", byKit, true}} {
			t.Run(row.name+"/"+side.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					i, err := authtest.New("ES256")
					check(t, err)
					if row.beside != "" {
						i.ServeSet([]byte(strings.TrimSuffix(string(i.JWKS()), "]}") + "," + row.beside + "]}"))
					}
					i.Down(row.down)
					passes, stop := side.make(t, i)
					if got := row.run(t, i, passes); got != side.want {
						t.Errorf("served: %v", got)
					}
					stop()
					synctest.Wait()
				})
			})
		}
	}
}
