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

	"github.com/bearerkit/bearerkit/internal/jws"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

// rediscover is how long a discovered address is believed.
const rediscover = time.Hour

// remote fetches one issuer's key set. Its calls do not overlap: keySet has
// one flight at a time.
type remote struct {
	issuer string // "" unless the address is discovered
	client *upstream.Client
	now    func() time.Time
	logger *slog.Logger

	mu    sync.Mutex // a panicking client may leave its flight behind
	url   string
	found time.Time
}

func (r *remote) fetch(ctx context.Context) (fetched, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.issuer != "" && (r.url == "" || r.now().Sub(r.found) >= rediscover) {
		address, err := r.discover(ctx)
		if err != nil {
			return fetched{}, err
		}
		r.url, r.found = address, r.now()
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
	keys, skipped, err := jws.ParseSet(res.Body)
	if len(skipped) > 0 {
		r.logger.Warn("keys of a key set are of no use", "skipped", errors.Join(skipped...))
	}
	if err != nil {
		return fetched{}, err
	}
	return fetched{keys, maxAge(res.Header)}, nil
}

// discover tries OpenID Connect Discovery 1.0 section 4, which appends to the
// issuer's path, then RFC 8414 section 3, which goes before it.
func (r *remote) discover(ctx context.Context) (string, error) {
	u, err := url.Parse(r.issuer)
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
	var doc struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if json.Unmarshal(res.Body, &doc) != nil {
		return "", errors.New("discovery document is not JSON")
	}
	if doc.Issuer != r.issuer {
		return "", errors.New("discovery document is another issuer's")
	}
	return doc.JWKSURI, checkKeysURL("jwks_uri", doc.JWKSURI)
}

func (r *remote) get(ctx context.Context, op, address string) (*upstream.Response, error) {
	res, err := r.client.Do(ctx, upstream.Call{Op: op, Method: http.MethodGet, URL: address})
	if err != nil {
		return nil, err
	}
	if res.Status != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d", op, res.Status)
	}
	return res, nil
}

// maxAge reads Cache-Control (RFC 9111 section 5.2.2.1), 0 if it does not say.
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
