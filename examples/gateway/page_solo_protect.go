package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/tokencache"
)

// protectScene is a client, a server behind page_protect.go, and their issuer.
type protectScene struct {
	issuer *authServer
	server *tally
	url    string // of the server
	first  string // a token of the issuer's first key
	newest string // one of a key that the server does not know yet
	wait   time.Duration
}

func playProtect(ctx context.Context, log *slog.Logger, tell func(step)) (err error) {
	p := &protectScene{}
	var end func() error
	if p.issuer, end, err = newAuthServer(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	provider, err := oauth.New(oauth.Config{
		Grant: "refresh_token", TokenURL: p.issuer.URL + "/token", ClientID: p.issuer.clientID, Secret: p.issuer.secret,
	})
	if err != nil {
		return err
	}
	grants, err := tokencache.New(provider, tokencache.Options{Logger: log}) // uses a refresh token once, for all calls that wait
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, grants.Close(ctx)) }()
	orders := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := middleware.Subject(r.Context())
		_, _ = io.WriteString(w, "orders of "+user)
	})
	h, err := protect(p.issuer.URL, p.issuer.Audience, grants, orders, log)
	if err != nil {
		return err
	}
	p.server = &tally{Handler: h}
	stop, err := listen(func(url string) (http.Handler, error) { p.url = url; return p.server, nil })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	for _, play := range []func(context.Context) (step, error){p.valid, p.forged, p.expired, p.rotated, p.withdrawn, p.down, p.unknown, p.back} {
		line, err := play(ctx)
		if err != nil {
			return err
		}
		tell(line)
	}
	tell(step{Sum: fmt.Sprintf("The server answered %s. It asked for the issuer’s keys %s and renewed with %s.",
		p.server, many(p.issuer.Fetches(), "time", "times"), many(p.issuer.calls(), "token call", "token calls"))})
	return nil
}

func (p *protectScene) valid(ctx context.Context) (s step, err error) {
	if p.first, err = p.issuer.Token(nil); err != nil {
		return s, err
	}
	a, err := p.call(ctx, "", p.first)
	return step{Did: "Ada calls with a valid token.", Saw: a.String() + ", “" + a.body + "”."}, err
}

func (p *protectScene) forged(ctx context.Context) (s step, err error) {
	forged := []byte(p.first)
	if i := len(forged) - 10; forged[i] == 'A' {
		forged[i] = 'B'
	} else {
		forged[i] = 'A'
	}
	a, err := p.call(ctx, "", string(forged))
	return step{Did: "Somebody calls with her token, one letter of its signature changed.", Saw: a.String() + ": " + a.why}, err
}

// expired has Ada wait for the end of a token. Ten calls with it and a refresh
// token follow, and one without.
func (p *protectScene) expired(ctx context.Context) (s step, err error) {
	end := time.Now().Add(time.Second)
	token, err := p.issuer.Token(map[string]any{"exp": end.Unix()})
	if err != nil {
		return s, err
	}
	if err := sleep(ctx, end); err != nil {
		return s, err
	}
	bare, err := p.call(ctx, "", token)
	if err != nil {
		return s, err
	}
	before := p.issuer.calls()
	a, err := p.call(ctx, p.issuer.refreshToken(), repeat(10, token)...)
	return step{
		Did: "Her token expires. She calls once without a refresh token, then ten times at once with one.",
		Saw: fmt.Sprintf("Without: %s: %s With: %s and a new token in %d answers, from %s.",
			bare, bare.why, a, a.renewed, many(p.issuer.calls()-before, "token call", "token calls")),
	}, err
}

func (p *protectScene) rotated(ctx context.Context) (s step, err error) {
	if err := p.issuer.Rotate(false); err != nil {
		return s, err
	}
	tokens, err := p.tokens(10)
	if err != nil {
		return s, err
	}
	before := p.issuer.Fetches()
	a, err := p.call(ctx, "", tokens...)
	return step{
		Did: "The issuer replaces its signing key. Ten users call at once with tokens of the new key.",
		Saw: fmt.Sprintf("%s. The keys were fetched %s.", a, many(p.issuer.Fetches()-before, "time", "times")),
	}, err
}

func (p *protectScene) withdrawn(ctx context.Context) (step, error) {
	a, err := p.call(ctx, "", p.first)
	return step{Did: "Ada calls with her first token, whose key the issuer has withdrawn.", Saw: a.String() + ": " + a.why}, err
}

func (p *protectScene) down(ctx context.Context) (s step, err error) {
	tokens, err := p.tokens(10)
	if err != nil {
		return s, err
	}
	p.issuer.Down(true)
	a, err := p.call(ctx, "", tokens...)
	return step{
		Did: "The issuer goes down: it answers everything with 503. Ten users call with tokens that the server has not seen before.",
		Saw: a.String() + ": the server has the keys in memory.",
	}, err
}

// unknown has a token that may be good or not.
func (p *protectScene) unknown(ctx context.Context) (s step, err error) {
	if err := p.issuer.Rotate(true); err != nil {
		return s, err
	}
	tokens, err := p.tokens(1)
	if err != nil {
		return s, err
	}
	p.newest = tokens[0]
	a, err := p.call(ctx, "", p.newest)
	p.wait = a.retryAfter
	return step{
		Did: "Meanwhile a token comes whose key the server does not know.",
		Saw: fmt.Sprintf("%s with Retry-After: %.0f, and not 401: the client keeps its token.", a, a.retryAfter.Seconds()),
	}, err
}

func (p *protectScene) back(ctx context.Context) (s step, err error) {
	p.issuer.Down(false)
	if err := sleep(ctx, time.Now().Add(p.wait)); err != nil {
		return s, err
	}
	a, err := p.call(ctx, "", p.newest)
	return step{Did: "The issuer is back. The client has waited and calls with the same token.", Saw: a.String() + "."}, err
}

func (p *protectScene) tokens(n int) ([]string, error) {
	tokens := make([]string, n)
	for i := range tokens {
		var err error
		if tokens[i], err = p.issuer.Token(map[string]any{"sub": fmt.Sprintf("user-%d", i+1)}); err != nil {
			return nil, err
		}
	}
	return tokens, nil
}

func repeat(n int, token string) []string {
	tokens := make([]string, n)
	for i := range tokens {
		tokens[i] = token
	}
	return tokens
}

// answered is what the client saw of calls at once.
type answered struct {
	counts     map[int]int
	body, why  string // of the last one; why is the challenge's error_description
	retryAfter time.Duration
	renewed    int
}

func (a answered) String() string { return statuses(a.counts) }

// call makes a call with each token, all at once, with the refresh token if it is
// not "".
func (p *protectScene) call(ctx context.Context, refresh string, tokens ...string) (answered, error) {
	out := answered{counts: map[int]int{}}
	errs := make([]error, len(tokens))
	var mu sync.Mutex
	var all sync.WaitGroup
	for i, token := range tokens {
		all.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/orders", nil)
			if err != nil {
				errs[i] = err
				return
			}
			r.Header.Set("Authorization", "Bearer "+token)
			if refresh != "" {
				r.Header.Set("Cookie", "__Host-refresh="+refresh)
			}
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				errs[i] = err
				return
			}
			defer func() { _ = res.Body.Close() }()
			body, err := io.ReadAll(res.Body)
			errs[i] = err
			mu.Lock()
			defer mu.Unlock()
			out.counts[res.StatusCode]++
			out.body = string(body)
			_, out.why, _ = strings.Cut(res.Header.Get("WWW-Authenticate"), "error_description=")
			seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
			out.retryAfter = time.Duration(seconds) * time.Second
			if res.Header.Get("X-Access-Token") != "" {
				out.renewed++
			}
		})
	}
	all.Wait()
	return out, errors.Join(errs...)
}
