package middleware

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/internal/clocks"
	"github.com/bearerkit/bearerkit/internal/jws"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

// rediscover is how long a discovered address is used.
const rediscover = time.Hour

// accept lists what a server may answer. kube-apiserver has key sets in the
// first form only and answers 406 if it is missing.
const accept = "application/jwk-set+json, application/json;q=0.9, */*;q=0.1"

// remote fetches one issuer's key set. Its calls do not overlap: keySet has
// one fetch at a time.
type remote struct {
	issuer string // "" unless the address is discovered
	plain  []string
	uses   []string
	client *upstream.Client
	clock  *clocks.Clock
	logger *slog.Logger

	mu    sync.Mutex // needed, because a fetch that ignores its deadline may still run
	url   string
	found clocks.Instant
	// skipped is the last logged text about keys that cannot be used.
	skipped string
}

func newRemote(cfg *Issuer, client *http.Client, clock *clocks.Clock, logger *slog.Logger) *remote {
	r := &remote{url: cfg.JWKSURL, plain: cfg.DangerouslyPlainHTTP, uses: cfg.KeyUses, client: upstream.New("issuer", client, clock.Wall), clock: clock, logger: logger}
	if cfg.Discover {
		r.issuer = cfg.Issuer
	}
	return r
}

func (r *remote) fetch(ctx context.Context) (fetched, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.issuer != "" && (r.url == "" || r.clock.Now().Since(r.found) >= rediscover) {
		address, err := r.discover(ctx)
		if err != nil {
			return fetched{}, err
		}
		r.url, r.found = address, r.clock.Now()
	}
	f, err := r.keys(ctx)
	if err != nil && r.issuer != "" {
		r.url = ""
	}
	return f, err
}

func (r *remote) keys(ctx context.Context) (fetched, error) {
	res, err := r.get(ctx, "key set", r.url)
	if err != nil {
		return fetched{}, err
	}
	keys, skipped, err := jws.ParseSet(res.Body, r.uses...)
	if text := fmt.Sprint(errors.Join(skipped...)); text != r.skipped {
		r.skipped = text
		if len(skipped) > 0 {
			r.logger.Warn("keys of a key set cannot be used, and tokens that they sign are refused: ask the issuer, unless the keys are for another use", "skipped", text)
		}
	}
	if err != nil {
		return fetched{}, err
	}
	return fetched{keys, maxAge(res.Header)}, nil
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
		return "", errors.New("discovery document has no issuer")
	}
	if json.Unmarshal(doc["issuer"], &issuer) != nil || issuer != r.issuer {
		return "", fmt.Errorf("discovery document is another issuer's: its issuer is %s and not %s", quoted(string(doc["issuer"])), r.issuer)
	}
	if json.Unmarshal(doc["jwks_uri"], &jwks) != nil {
		return "", errors.New("discovery document has no jwks_uri")
	}
	if strings.HasPrefix(r.issuer, "https:") && !strings.HasPrefix(jwks, "https:") {
		return "", errors.New("jwks_uri: must be https, as the issuer is")
	}
	return jwks, checkAddress("jwks_uri", jwks, r.plain)
}

func (r *remote) get(ctx context.Context, op, address string) (*upstream.Response, error) {
	res, err := r.client.Do(ctx, upstream.Call{Op: op, Method: http.MethodGet, URL: address, Header: http.Header{"Accept": {accept}}})
	if err != nil {
		return nil, err
	}
	if res.Status != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d", op, res.Status)
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
