package middleware

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/internal/clocks"
	"github.com/bearerkit/bearerkit/internal/jws"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

// rediscover is how long a discovered address is used.
const rediscover = time.Hour

// accept lists what a server may answer. kube-apiserver has key sets in the
// first form only and answers 406 if it is missing.
const accept = "application/jwk-set+json, application/json;q=0.9, */*;q=0.1"

// errDocument is the error of a discovery document that was read and says
// something else than it must.
var errDocument = errors.New("discovery document")

// statusError is an answer that is not 200.
type statusError struct {
	op     string
	status int
	after  time.Duration // Retry-After, 0 without one
}

func (e *statusError) Error() string { return fmt.Sprintf("%s: status %d", e.op, e.status) }

// remote fetches one issuer's key set.
type remote struct {
	issuer string // "" unless the address is discovered
	plain  []string
	uses   []string
	client *upstream.Client
	clock  *clocks.Clock

	mu    sync.Mutex // a fetch that ignores its deadline may still run beside the next one
	url   string
	found clocks.Instant // when the document was read
	// skipped is the last logged text about keys that cannot be used.
	skipped string
}

func newRemote(cfg *Issuer, client *http.Client, clock *clocks.Clock) *remote {
	r := &remote{url: cfg.JWKSURL, plain: cfg.DangerouslyPlainHTTP, uses: cfg.KeyUses, client: upstream.New("issuer", client, clock.Wall), clock: clock}
	if cfg.Discover {
		r.issuer = cfg.Issuer
	}
	return r
}

func (r *remote) fetch(ctx context.Context) (fetched, error) {
	address, err := r.address(ctx)
	if err != nil {
		return fetched{}, err
	}
	f, err := r.keys(ctx, address)
	if err != nil && r.issuer != "" {
		r.learn(address, r.clock.Now().Add(-rediscover)) // the address may have changed
	}
	return f, err
}

// address returns the address of the key set. A discovered address is found
// again after a time. If the document cannot be read then, the last address
// stays in use, and the next attempt is made after a minute.
func (r *remote) address(ctx context.Context) (string, error) {
	r.mu.Lock()
	last, found := r.url, r.found
	r.mu.Unlock()
	now := r.clock.Now()
	if r.issuer == "" || last != "" && now.Since(found) < rediscover {
		return last, nil
	}
	if last != "" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, fetchTimeout/2) // the other half is for the keys
		defer cancel()
	}
	address, err := r.discover(ctx)
	switch {
	case err == nil:
		r.learn(address, now)
		return address, nil
	case last == "" || errors.Is(err, errDocument):
		return "", err
	}
	r.learn(last, now.Add(time.Minute-rediscover))
	return last, nil
}

func (r *remote) learn(address string, found clocks.Instant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.url, r.found = address, found
}

func (r *remote) keys(ctx context.Context, address string) (fetched, error) {
	res, err := r.get(ctx, "key set", address)
	if err != nil {
		return fetched{}, err
	}
	keys, skipped, err := jws.ParseSet(res.Body, r.uses...)
	return fetched{keys, maxAge(res.Header), r.told(skipped)}, err
}

// told returns what is to be logged about the keys that were skipped: nothing
// if the last set had the same.
func (r *remote) told(skipped []error) string {
	text := fmt.Sprint(errors.Join(skipped...))
	r.mu.Lock()
	known := text == r.skipped
	r.skipped = text
	r.mu.Unlock()
	if known || len(skipped) == 0 {
		return ""
	}
	return text
}

// discover tries OpenID Connect Discovery 1.0 section 4, which appends to the
// issuer's path, and then RFC 8414 section 3, which inserts before it. The
// document for all tenants of Microsoft Entra is that of the tenant "common".
func (r *remote) discover(ctx context.Context) (string, error) {
	u, err := url.Parse(strings.Replace(r.issuer, tenantParam, "common", 1))
	if err != nil {
		return "", errors.New("issuer is not a URL")
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	origin := u.Scheme + "://" + u.Host
	address, err := r.metadata(ctx, origin+path+"/.well-known/openid-configuration")
	if err == nil {
		return address, nil
	}
	address, second := r.metadata(ctx, origin+"/.well-known/oauth-authorization-server"+path)
	if second == nil {
		return address, nil
	}
	return "", errors.Join(err, second)
}

func (r *remote) metadata(ctx context.Context, address string) (string, error) {
	res, err := r.get(ctx, "discovery", address)
	if err != nil {
		return "", err
	}
	var doc map[string]json.RawMessage // names in a map match exactly
	if json.Unmarshal(res.Body, &doc) != nil || doc == nil {
		return "", errors.New("discovery document is not a JSON object")
	}
	var issuer, jwks string
	if doc["issuer"] == nil {
		return "", fmt.Errorf("%w has no issuer", errDocument)
	}
	if json.Unmarshal(doc["issuer"], &issuer) != nil || issuer != r.issuer {
		return "", fmt.Errorf("%w is another issuer's: its issuer is %s and not %s", errDocument, quoted(string(doc["issuer"])), r.issuer)
	}
	if json.Unmarshal(doc["jwks_uri"], &jwks) != nil {
		return "", fmt.Errorf("%w has no jwks_uri", errDocument)
	}
	if strings.HasPrefix(r.issuer, "https:") && !strings.HasPrefix(jwks, "https:") {
		return "", fmt.Errorf("%w: jwks_uri: must be https, as the issuer is", errDocument)
	}
	if err := checkAddress("jwks_uri", jwks, r.plain); err != nil {
		return "", fmt.Errorf("%w: %w", errDocument, err)
	}
	return jwks, nil
}

func (r *remote) get(ctx context.Context, op, address string) (*upstream.Response, error) {
	res, err := r.client.Do(ctx, upstream.Call{Op: op, Method: http.MethodGet, URL: address, Header: http.Header{"Accept": {accept}}})
	if err != nil {
		return nil, err
	}
	if res.Status != http.StatusOK {
		after := res.Fail(providers.CodeUpstreamError, providers.Transient).RetryAfter
		return nil, &statusError{op, res.Status, after}
	}
	return res, nil
}

// maxAge reads Cache-Control (RFC 9111 section 5.2.2.1). It returns 0 if there
// is no max-age.
func maxAge(h http.Header) time.Duration {
	for _, line := range h.Values("Cache-Control") {
		for directive := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
			if !strings.EqualFold(name, "max-age") {
				continue
			}
			if s, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				return time.Duration(s) * time.Second
			}
		}
	}
	return 0
}
