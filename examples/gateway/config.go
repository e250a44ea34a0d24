package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/internal/plainhttp"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers/oauth"
)

// config is what the variables say. A vendor that is nil is not configured.
type config struct {
	addr     string
	embedded bool

	redacto *redactoConfig
	redox   *redoxConfig
	cm      *cmConfig
	kudo    *kudoConfig

	issuer *middleware.Issuer
	leeway time.Duration

	limit   rate
	store   storeConfig
	proxies []netip.Prefix
	origins []string

	metrics string // address of /metrics; "" for none
	forward *forwardConfig
	obo     *oboConfig

	hosts    []string      // names that callers on loopback may use, besides localhost
	grace    time.Duration // between a red /readyz and the end of listening
	drain    time.Duration // between that and the closing of the caches
	bodyTime time.Duration // that a caller may take over a body

	tls *certificate // nil: plain HTTP
}

type redactoConfig struct {
	baseURL, prefix string
	days            int
	key             *secret
	tenants         *secret       // org:workspace[:key],…
	anyone          bool          // any caller may name any person
	expired         time.Duration // after its end, in which a page's token is renewed
}

type redoxConfig struct {
	clientID, baseURL, sourceID string
	scopes                      []string
	key, next                   oauth.Key
}

type cmConfig struct {
	key, secret *secret
	orgID       string
	profile     string
	ttl         time.Duration
	anyone      bool
	renewWindow time.Duration
}

type kudoConfig struct {
	key, auth       *secret
	baseURL, server string
	editor          string // where /kudo/open goes; "" for no such route
	anyone          bool
}

// rate is a number of requests per time; the zero rate is no limit.
type rate struct {
	requests int
	window   time.Duration
}

// readConfig returns all faults of single variables at once, and those of
// combinations when there are none.
func readConfig(getenv func(string) string, log *slog.Logger) (config, error) {
	e := &env{get: getenv, log: log}
	c := config{
		addr:     e.str("ADDR", "127.0.0.1:8080"),
		embedded: e.get("EMBEDDED") != "off",
		redacto:  e.redacto(),
		redox:    e.redox(),
		cm:       e.contactsManager(),
		kudo:     e.kudo(),
		issuer:   e.issuer(),
		leeway:   e.duration("AUTH_LEEWAY", time.Minute, 0),
		store:    e.store(),
		proxies:  e.prefixes("TRUSTED_PROXIES"),
		origins:  e.originList("CORS_ORIGINS"),
		metrics:  e.get("METRICS_ADDR"),
		forward:  e.forward(),
		obo:      e.obo(),
		hosts:    e.list("HOSTS", ""),
		grace:    e.duration("READYZ_GRACE", 5*time.Second, 0),
		drain:    drainTime,
		bodyTime: 30 * time.Second,
		tls:      e.certificate(),
	}
	c.limit = e.rate("RATE_LIMIT", c.real())
	if behind := e.flag("BEHIND_TLS_PROXY", false); c.real() && c.tls == nil && !behind && !onLoopback(c.addr) {
		e.fail("TLS_CERT_FILE and TLS_KEY_FILE missing: a real vendor's tokens would leave this machine in the clear; BEHIND_TLS_PROXY=1 says that a proxy in front speaks TLS")
	}
	if v := e.get("EMBEDDED"); v != "" && v != "off" && v != "on" {
		e.fail("EMBEDDED: neither on nor off")
	}
	if c.real() && c.issuer == nil && len(e.errs) == 0 {
		e.fail("AUTH_ISSUER and AUTH_AUDIENCE missing: a real vendor is configured, which the demo issuer must not guard")
	}
	if c.obo != nil && !c.obo.authenticates() && len(e.errs) == 0 {
		e.fail("calling on behalf of the caller is half configured: OBO_CLIENT_SECRET, OBO_PRIVATE_KEY_FILE or OBO_ASSERTION_FILE missing")
	}
	return c, errors.Join(e.errs...)
}

// real reports whether any vendor is.
func (c *config) real() bool {
	return c.redacto != nil || c.redox != nil || c.cm != nil || c.kudo != nil || c.obo != nil
}

func (e *env) redacto() *redactoConfig {
	names := []string{"CMS_API_KEY", "REDACTO_TENANTS"}
	if tenants := e.secret("REDACTO_TENANTS"); tenants != nil && allKeyed(tenants.value()) {
		names = names[1:]
	}
	if !e.group("Redacto", names, []string{"CMS_API_KEY", "REDACTO_BASE_URL", "REDACTO_PREFIX", "REDACTO_EXPIRES_IN_DAYS", "REDACTO_ANYONE", "REDACTO_RENEW_EXPIRED"}) {
		return nil
	}
	return &redactoConfig{
		baseURL: e.str("REDACTO_BASE_URL", "https://api.redacto.io"),
		prefix:  e.str("REDACTO_PREFIX", "/consent/public"),
		days:    e.number("REDACTO_EXPIRES_IN_DAYS", 1),
		key:     e.secret("CMS_API_KEY"),
		tenants: e.secret("REDACTO_TENANTS"),
		anyone:  e.flag("REDACTO_ANYONE", true), // the vendor's document says so
		expired: e.duration("REDACTO_RENEW_EXPIRED", 0, 0),
	}
}

// tenantKeys reads org:workspace[:key],… into names in order and their keys.
func tenantKeys(s string) (names []string, keys map[string]string) {
	keys = map[string]string{}
	for _, t := range strings.Split(s, ",") {
		if t = strings.TrimSpace(t); t == "" {
			continue
		}
		parts := strings.SplitN(t, ":", 3)
		name := strings.Join(parts[:min(len(parts), 2)], ":")
		names = append(names, name)
		if len(parts) == 3 {
			keys[name] = parts[2]
		}
	}
	return names, keys
}

func allKeyed(tenants string) bool {
	names, keys := tenantKeys(tenants)
	for _, n := range names {
		if keys[n] == "" {
			return false
		}
	}
	return len(names) > 0
}

func (e *env) redox() *redoxConfig {
	if !e.group("Redox", []string{"REDOX_CLIENT_ID", "REDOX_KEY_ID", "REDOX_PRIVATE_KEY_FILE"},
		[]string{"REDOX_BASE_URL", "REDOX_NEXT_KEY_ID", "REDOX_NEXT_PRIVATE_KEY_FILE", "REDOX_SCOPE", "REDOX_SOURCE_ID"}) {
		return nil
	}
	c := &redoxConfig{
		clientID: e.get("REDOX_CLIENT_ID"),
		baseURL:  e.str("REDOX_BASE_URL", "https://api.redoxengine.com"),
		sourceID: e.get("REDOX_SOURCE_ID"),
		scopes:   strings.Fields(e.get("REDOX_SCOPE")),
		key:      oauth.Key{ID: e.get("REDOX_KEY_ID"), PEM: e.file("REDOX_PRIVATE_KEY_FILE")},
	}
	if e.group("Redox's next key", []string{"REDOX_NEXT_KEY_ID", "REDOX_NEXT_PRIVATE_KEY_FILE"}, nil) {
		c.next = oauth.Key{ID: e.get("REDOX_NEXT_KEY_ID"), PEM: e.file("REDOX_NEXT_PRIVATE_KEY_FILE")}
	}
	return c
}

func (e *env) contactsManager() *cmConfig {
	if !e.group("ContactsManager", []string{"CM_API_KEY", "CM_API_SECRET", "CM_ORGANIZATION_ID"}, []string{"CM_PROFILE", "CM_TTL", "CM_ANYONE", "CM_RENEW_WINDOW"}) {
		return nil
	}
	return &cmConfig{
		key:     e.secret("CM_API_KEY"),
		secret:  e.secret("CM_API_SECRET"),
		orgID:   e.str("CM_ORGANIZATION_ID", ""),
		profile: e.str("CM_PROFILE", "python"),
		ttl:     e.duration("CM_TTL", 24*time.Hour, time.Second),
		anyone:  e.flag("CM_ANYONE", false),

		renewWindow: e.duration("CM_RENEW_WINDOW", 7*24*time.Hour, time.Second),
	}
}

func (e *env) kudo() *kudoConfig {
	if !e.group("Kudo", []string{"KUDO_ACCESS_KEY"}, []string{"KUDO_BASE_URL", "KUDO_AUTH", "KUDO_SERVER", "KUDO_ANYONE", "KUDO_EDITOR_URL"}) {
		return nil
	}
	return &kudoConfig{
		key:     e.secret("KUDO_ACCESS_KEY"),
		auth:    e.secret("KUDO_AUTH"),
		baseURL: e.str("KUDO_BASE_URL", "https://tokens.kudo.graebert.com"),
		server:  e.get("KUDO_SERVER"),
		editor:  e.get("KUDO_EDITOR_URL"),
		anyone:  e.flag("KUDO_ANYONE", false),
	}
}

func (e *env) issuer() *middleware.Issuer {
	if !e.group("the issuer of inbound tokens", []string{"AUTH_ISSUER", "AUTH_AUDIENCE"},
		[]string{"AUTH_JWKS_URL", "AUTH_ALGORITHMS", "AUTH_LEEWAY", "AUTH_JWKS_REFRESH", "PLAIN_HTTP_HOSTS"}) {
		return nil
	}
	plain := e.list("PLAIN_HTTP_HOSTS", "")
	if err := plainhttp.Check("PLAIN_HTTP_HOSTS", plain); err != nil {
		e.fail("%v", err)
	}
	return &middleware.Issuer{
		Issuer:       e.get("AUTH_ISSUER"),
		Audiences:    e.list("AUTH_AUDIENCE", ""),
		Algorithms:   e.list("AUTH_ALGORITHMS", "RS256,ES256,EdDSA"),
		JWKSURL:      e.get("AUTH_JWKS_URL"),
		Discover:     e.get("AUTH_JWKS_URL") == "",
		RefreshEvery: e.duration("AUTH_JWKS_REFRESH", 15*time.Minute, time.Second),

		DangerouslyPlainHTTP: plain,
	}
}

// rate reads off, or like 100/15m.
func (e *env) rate(name string, limited bool) rate {
	def := "off"
	if limited {
		def = "100/15m"
	}
	v := e.str(name, def)
	if v == "off" {
		return rate{}
	}
	n, window, _ := strings.Cut(v, "/")
	requests, err := strconv.Atoi(n)
	d, derr := time.ParseDuration(window)
	if err != nil || derr != nil || requests < 1 || d < time.Second {
		e.fail("%s: neither off nor like 100/15m", name)
	}
	return rate{requests, d}
}

func (e *env) prefixes(name string) []netip.Prefix {
	var out []netip.Prefix
	for _, v := range e.list(name, "") {
		p, err := netip.ParsePrefix(v)
		if a, aerr := netip.ParseAddr(v); err != nil && aerr == nil {
			p, err = a.Prefix(a.BitLen())
		}
		if err == nil && p.Addr().Is4In6() { // callers' addresses are compared unmapped
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if err != nil || !p.IsValid() {
			e.fail("%s: %q is neither an address nor a prefix", name, v)
			continue
		}
		out = append(out, p.Masked())
	}
	return out
}

func (e *env) originList(name string) []string {
	out := e.list(name, "")
	for _, v := range out {
		if u, err := url.Parse(v); err != nil || u.Host == "" || v != u.Scheme+"://"+u.Host || strings.Contains(v, "*") {
			e.fail("%s: %q is not an exact origin such as https://app.example.com", name, v)
		}
	}
	return out
}

func (r rate) String() string { return fmt.Sprintf("%d per %v and address", r.requests, r.window) }
