package contactsmanager

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/internal/jose"
	"github.com/bearerkit/bearerkit/internal/warnlog"
	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
)

const (
	maxDeviceInfo = 4 << 10
	minSecret     = 32 // RFC 7518 section 3.2
)

// Config configures a [Provider]. OrgID is required, and either APIKey with
// APISecret or Credentials.
type Config struct {
	// OrgID is the organization's id.
	OrgID string
	// APIKey and APISecret are the organization's credentials. The bytes of the
	// secret are the HMAC key; it is not decoded.
	APIKey, APISecret string
	// Credentials returns both keys, for rotation without a restart. It
	// replaces APIKey and APISecret and is called once per token.
	Credentials func(context.Context) (apiKey, apiSecret string, err error)
	// Profile selects the claims and their order: "python" (the default) and
	// "node" are those of the vendor's SDKs, "docs" is the documented table.
	Profile string
	// DeviceClaim names the claim that holds deviceInfo: "device_info",
	// "device", "both" or "none"; "" leaves it to the profile.
	DeviceClaim string
	// ExtraClaims are added to every token. They cannot replace the vendor's
	// claims. JSON values only.
	ExtraClaims map[string]any
	// TTL is a token's life in whole seconds; 0 means 24 hours.
	TTL time.Duration
	// MaxTTL is the most that TTL may be; 0 means 7 days.
	MaxTTL time.Duration
	// ISOExpiry makes [Provider.Encode] write expiresAt as an ISO 8601 string,
	// as the vendor's Node SDK does, instead of Unix seconds.
	ISOExpiry bool
	// Logger gets the warning about a short secret; nil means slog.Default.
	Logger *slog.Logger
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

// Format hides the credentials from every verb of package fmt.
func (Config) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "contactsmanager.Config(redacted)")
}

// Provider signs ContactsManager tokens. It implements [providers.Provider] and
// [providers.Keyer], and the wire of package handlers: [Provider.Decode],
// [Provider.Encode] and [Provider.EncodeError]. Many tokens may live at once.
type Provider struct {
	orgID       string
	credentials func(context.Context) (apiKey, apiSecret string, err error)
	order       []string
	extra       map[string]any
	ttl         time.Duration
	iso         bool
	logger      *slog.Logger
	warned      atomic.Bool
	now         func() time.Time
}

// claimOrder returns the claims of a profile in their order, or says what is
// wrong with profile or device. The entry "device" stands for the claims that
// DeviceClaim chooses.
func claimOrder(profile, device string) (order []string, fault string) {
	var own string
	switch profile {
	case "", "python":
		order, own = []string{"iss", "org_id", "api_key", "user_id", "device", "jti", "iat", "exp"}, "device_info"
	case "node":
		order, own = []string{"user_id", "api_key", "org_id", "device", "jti", "iat", "exp"}, "device"
	case "docs":
		order, own = []string{"org_id", "api_key", "user_id", "device", "jti", "iat", "exp"}, "none"
	default:
		return nil, "Profile: must be python, node or docs"
	}
	var names []string
	switch device = cmp.Or(device, own); device {
	case "device_info", "device":
		names = []string{device}
	case "both":
		names = []string{"device_info", "device"}
	case "none":
	default:
		return nil, "DeviceClaim: must be device_info, device, both or none"
	}
	at := slices.Index(order, "device")
	return slices.Replace(order, at, at+1, names...), ""
}

// New validates cfg. The error joins every fault of cfg.
func New(cfg Config) (*Provider, error) {
	p := &Provider{
		orgID: cfg.OrgID, credentials: cfg.Credentials, extra: maps.Clone(cfg.ExtraClaims),
		ttl: cmp.Or(cfg.TTL, 24*time.Hour), iso: cfg.ISOExpiry, logger: cfg.Logger, now: cfg.Now,
	}
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("contactsmanager: "+format, args...))
	}
	var wrong string
	if p.order, wrong = claimOrder(cfg.Profile, cfg.DeviceClaim); wrong != "" {
		fault("%s", wrong)
	}
	if cfg.OrgID == "" {
		fault("OrgID is required")
	}
	key, secret := cfg.APIKey, cfg.APISecret
	switch {
	case cfg.Credentials != nil && (key != "" || secret != ""):
		fault("Credentials excludes APIKey and APISecret")
	case cfg.Credentials == nil:
		if key == "" {
			fault("APIKey or Credentials is required")
		}
		if secret == "" {
			fault("APISecret or Credentials is required")
		}
		p.credentials = func(context.Context) (string, string, error) { return key, secret, nil }
	}
	for name := range p.extra {
		if slices.Contains([]string{"iss", "org_id", "api_key", "user_id", "device_info", "device", "jti", "iat", "exp"}, name) {
			fault("ExtraClaims: %s is the vendor's", name)
		}
	}
	if _, err := (providers.Request{Params: p.extra}).Key(); err != nil {
		fault("ExtraClaims: JSON values only")
	}
	switch longest := cmp.Or(cfg.MaxTTL, 7*24*time.Hour); {
	case p.ttl < 0:
		fault("TTL: must be positive")
	case p.ttl%time.Second != 0:
		fault("TTL: must be whole seconds")
	case p.ttl > longest:
		fault("TTL: over MaxTTL, %v", longest)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	p.logger = warnlog.OrDefault(p.logger)
	if p.now == nil {
		p.now = time.Now
	}
	if cfg.Credentials == nil {
		p.warn(secret)
	}
	return p, nil
}

// warn says once that the secret is short.
func (p *Provider) warn(secret string) {
	if len(secret) < minSecret && p.warned.CompareAndSwap(false, true) {
		p.logger.Warn("contactsmanager: the API secret is shorter than HS256 requires (RFC 7518 section 3.2), so that tokens may be forged by guessing it: ask the vendor for a longer one", "bytes", len(secret), "want", minSecret)
	}
}

// Generate signs a token for req.
func (p *Provider) Generate(ctx context.Context, req providers.Request) (providers.Token, error) {
	fail := func(err error) (providers.Token, error) {
		return providers.Token{}, wire.KeyError(ctx, "contactsmanager: generate", err)
	}
	device, err := check(req)
	if err != nil {
		return providers.Token{}, err
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	key, secret, err := p.credentials(ctx)
	if err == nil && (key == "" || secret == "") {
		return providers.Token{}, &providers.Error{Code: providers.CodeInternal, Class: providers.Permanent, Op: "contactsmanager: generate",
			Description: "Credentials returned an empty API key or secret"}
	}
	if err != nil {
		return fail(err)
	}
	p.warn(secret)
	now := p.now()
	iat := now.Unix()
	exp := iat + int64(p.ttl/time.Second)
	value := map[string]any{
		"iss": p.orgID, "org_id": p.orgID, "api_key": key, "user_id": req.Subject,
		"device_info": device, "device": device, "jti": wire.NewUUID(), "iat": iat, "exp": exp,
	}
	var c claims
	for _, name := range p.order {
		c = append(c, claim{name, value[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(p.extra)) {
		c = append(c, claim{name, p.extra[name]})
	}
	token, err := jose.HS256([]byte(secret), c)
	if err != nil {
		return fail(err)
	}
	return providers.Token{AccessToken: token, TokenType: "Bearer", Expiry: time.Unix(exp, 0).UTC(), IssuedAt: now}, nil
}

// Key is the default key of a request that names a user.
func (p *Provider) Key(req providers.Request) (string, error) {
	if _, err := check(req); err != nil {
		return "", err
	}
	return req.Key()
}

// check validates req and returns its device information.
func check(req providers.Request) (map[string]any, error) {
	if req.Subject == "" {
		return nil, &providers.Error{
			Code: providers.CodeIdentityRequired, Class: providers.Permanent, Op: "contactsmanager: request",
			Description: "Missing required field: userId",
		}
	}
	if err := wire.OnePerson(req); err != nil {
		return nil, err
	}
	device := map[string]any{}
	for name, v := range req.Params {
		object, ok := v.(map[string]any)
		if name != "deviceInfo" || !ok && v != nil {
			return nil, wire.Invalid("Params: only the object deviceInfo is known")
		}
		if object != nil {
			device = object
		}
	}
	b, err := json.Marshal(device)
	if err != nil {
		return nil, wire.Invalid("deviceInfo must hold JSON values")
	}
	if len(b) > maxDeviceInfo {
		return nil, wire.Invalid("deviceInfo is over 4 KiB")
	}
	return device, nil
}

type claim struct {
	name  string
	value any
}

// claims is a list of claims that marshals in its own order. The vendor's SDKs
// have different orders.
type claims []claim

// MarshalJSON returns the claims as one object.
func (c claims) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, m := range c {
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, name...), ':'), value...)
	}
	return append(b, '}'), nil
}
