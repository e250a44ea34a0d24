package handlers_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// slowVendor takes a second for a token and keeps what was revoked.
type slowVendor struct {
	mu      sync.Mutex
	n       int
	revoked []string
}

func (v *slowVendor) Generate(ctx context.Context, req providers.Request) (providers.Token, error) {
	v.mu.Lock()
	v.n++
	name := req.Subject + "-" + string(rune('0'+v.n))
	v.mu.Unlock()
	sent := time.Now()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return providers.Token{}, ctx.Err()
	}
	return providers.Token{AccessToken: name, TokenType: "Bearer", IssuedAt: sent, Expiry: time.Now().Add(time.Hour)}, nil
}

func (v *slowVendor) Revoke(_ context.Context, t providers.Token) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.revoked = append(v.revoked, t.AccessToken)
	return nil
}

// replica is one process with all endpoints of the cookie mode.
type replica struct{ generate, signOut http.Handler }

func replicas(t *testing.T, v *slowVendor, n int) []replica {
	t.Helper()
	var o tokencache.Options
	if n > 1 {
		o.Store, o.Namespace = tokencache.NewMemory(), "app"
	}
	var all []replica
	for range n {
		cache, err := tokencache.New(v, o)
		require.NoError(t, err)
		t.Cleanup(func() { _ = cache.Close(context.Background()) })
		c := handlers.Config{
			Provider: cache, Wire: wire{}, Authorize: handlers.SubjectFrom(subject),
			Cookie: &http.Cookie{Name: "__Host-token"},
		}
		generate, err1 := handlers.Generate(c)
		signOut, err2 := handlers.SignOut(c)
		all = append(all, replica{must(t, generate, err1), must(t, signOut, err2)})
	}
	return all
}

// call serves a POST by alice and returns what came, once it has.
func call(t *testing.T, h http.Handler, header ...string) <-chan answer {
	t.Helper()
	done := make(chan answer, 1)
	r := signedIn(post(`{}`), "alice")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	go func() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		done <- read(t, w.Result())
	}()
	return done
}

// The sign-out of one tab overtakes the renewal of another: the late answer
// must not sign the user in again, wherever either of them is served.
func TestASignOutIsNotUndoneByAGenerateThatBeganBefore(t *testing.T) {
	for name, n := range map[string]int{"one process": 1, "replicas over a Store": 2} {
		for how, renew := range map[string][]string{"first token": nil, "renewal": {"Cache-Control", "no-cache"}} {
			t.Run(name+"/"+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					v := &slowVendor{}
					all := replicas(t, v, n)
					here, there := all[0], all[n-1]
					if renew != nil {
						require.Equal(t, 200, (<-call(t, here.generate)).status)
						time.Sleep(time.Minute)
					}
					late := call(t, here.generate, renew...)
					joined := call(t, here.generate, renew...)
					synctest.Wait() // the vendor is at work
					time.Sleep(500 * time.Millisecond)
					out := <-call(t, there.signOut)
					assert.Equal(t, 204, out.status, out.body)
					assert.Len(t, setCookies(out), 1)

					for _, a := range []answer{<-late, <-joined} {
						assert.Equal(t, 401, a.status, a.body)
						assert.Equal(t, "not_signed_in", a.json["code"])
						assert.Empty(t, setCookies(a), "the old user is signed in again")
					}
					synctest.Wait()
					v.mu.Lock()
					came, revoked := v.n, slices.Clone(v.revoked)
					v.mu.Unlock()
					assert.Contains(t, revoked, "alice-"+string(rune('0'+came)), "the token that came is revoked")
					assert.Len(t, revoked, came, "and no token of before lives on")

					again := <-call(t, here.generate)
					assert.Equal(t, 200, again.status, "whoever signs in again is served")
					assert.Equal(t, "alice-"+string(rune('0'+came+1)), setCookies(again)[0].Value)
				})
			})
		}
	}
}

// Between the cache and the cookie stands the application's own Handle, which may
// take its time.
func TestASignOutDuringHandleIsNotUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &slowVendor{}
		cache, err := tokencache.New(v, tokencache.Options{})
		require.NoError(t, err)
		defer func() { _ = cache.Close(context.Background()) }()
		c := handlers.Config{
			Provider: cache, Wire: wire{}, Authorize: handlers.SubjectFrom(subject), Cookie: &http.Cookie{Name: "__Host-token"},
			Handle: func(*http.Request, providers.Request, providers.Token) (string, error) {
				time.Sleep(time.Second)
				return "handle", nil
			},
		}
		generate, err1 := handlers.Generate(c)
		signOut, err2 := handlers.SignOut(c)
		must(t, generate, err1)
		late := call(t, generate)
		time.Sleep(1500 * time.Millisecond) // the token has come, and Handle is at work
		require.Equal(t, 204, (<-call(t, must(t, signOut, err2))).status)
		a := <-late
		assert.Equal(t, 401, a.status, a.body)
		assert.Empty(t, setCookies(a))
		assert.Equal(t, []string{"alice-1"}, v.revoked)
		again := <-call(t, generate)
		assert.Equal(t, 200, again.status, "a new sign-in is served")
	})
}

// A user who signs out and at once in again is a new caller: the attempt of
// before is none of theirs.
func TestASignInAfterASignOutIsServedWhileTheOldRenewalIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &slowVendor{}
		r := replicas(t, v, 1)[0]
		late := call(t, r.generate)
		synctest.Wait()
		require.Equal(t, 204, (<-call(t, r.signOut)).status)
		again := <-call(t, r.generate)
		assert.Equal(t, 200, again.status, again.body)
		assert.Equal(t, "alice-2", setCookies(again)[0].Value)
		assert.Equal(t, 401, (<-late).status)
	})
}

// What the handlers look for, the token cache is: a misspelt method would compile
// and be ignored.
var (
	_ handlers.PurgeChecker       = (*tokencache.Cache)(nil)
	_ providers.Renewer           = (*tokencache.Cache)(nil)
	_ providers.OptionalRefresher = (*tokencache.Cache)(nil)
)
