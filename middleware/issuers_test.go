package middleware_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
)

// faultOf is the constructor's error for issuers, "" without one.
func faultOf(issuers ...middleware.Issuer) string {
	if _, err := middleware.New(middleware.Config{Issuers: issuers}); err != nil {
		return err.Error()
	}
	return ""
}

// static is i's configuration with its keys in it.
func static(i *authtest.Issuer, algs ...string) middleware.Issuer {
	cfg := trusting(i, algs...)
	cfg.JWKSURL, cfg.HTTPClient, cfg.Keys = "", nil, i.PublicKeys()
	return cfg
}

// RFC 8725 section 3.12: ID tokens and access tokens must not be mixed up.
func TestAudienceClaim(t *testing.T) {
	i := newIssuer(t)
	cfg := static(i)
	cfg.Audiences, cfg.AudienceClaim = []string{"our-client"}, "client_id"
	require.Contains(t, faultOf(cfg), "AudienceClaim says who asked")
	for _, bad := range []middleware.Rule{{Claims: map[string][]string{"/scope": {"x"}}}, {Claims: map[string][]string{"/token_use": {"access", "id"}}}, {Claims: map[string][]string{"/typ": {"ID"}}}} {
		cfg.Require = bad
		require.Contains(t, faultOf(cfg), "AudienceClaim says who asked", bad)
	}
	cfg.Require = middleware.Rule{}
	cfg.Types = []string{"at+jwt"}
	require.Empty(t, faultOf(cfg))
	cfg.Types = []string{"at+jwt", "JWT"}
	require.Contains(t, faultOf(cfg), "AudienceClaim says who asked")
	cfg.Types = nil
	cfg.Require = middleware.Rule{Claims: map[string][]string{"/token_use": {"access"}}}
	auth := authFor(t, cfg)
	good := map[string]any{"aud": nil, "client_id": "our-client", "token_use": "access"}
	v, err := auth.Verify(t.Context(), mint(t, i, good))
	require.NoError(t, err)
	require.Equal(t, []string{"our-client"}, v.Audience)
	for reason, over := range map[string][]map[string]any{
		"audience":  {{"client_id": "another"}, {"client_id": nil}, {"client_id": nil, "aud": "our-client"}, {"client_id": 1}},
		"claims":    {{"token_use": "id"}, {"token_use": nil}, {"token_use": []int{1}}},
		"malformed": {{"Client_Id": "our-client"}, {"Token_Use": "access"}},
	} {
		for _, o := range over {
			claims := map[string]any{}
			for k, v := range good {
				claims[k] = v
			}
			for k, v := range o {
				claims[k] = v
			}
			require.Equal(t, reason, reasonOf(t, auth, mint(t, i, claims)), o)
		}
	}
}

func TestClaimsThatARuleDemands(t *testing.T) {
	i := newIssuer(t)
	auth := authFor(t, static(i))
	demand := func(pointer string, values ...string) *middleware.Authenticator {
		a, err := auth.Require(middleware.Rule{Claims: map[string][]string{pointer: values}})
		require.NoError(t, err)
		return a
	}
	token := mint(t, i, map[string]any{
		"realm_access": map[string]any{"roles": []string{"user", "admin"}}, "cognito:groups": []string{"staff"}, "permissions": []any{"read:x", 1}, "token_use": "access",
		"resource_access": map[string]any{"portal": map[string]any{"roles": []string{"a"}}, "Portal": map[string]any{"roles": []string{"b"}}}, "a/b": "slash", "Team": "x", "n": 1, "bad": "\u0000",
	})
	for _, c := range []struct {
		pointer string
		values  []string
		want    string
	}{
		{"/realm_access/roles", []string{"none", "admin"}, ""}, {"/cognito:groups", []string{"staff"}, ""}, {"/token_use", []string{"access"}, ""}, {"/a~1b", []string{"slash"}, ""},
		{"/resource_access/portal/roles", []string{"a"}, ""}, {"/resource_access/portal/roles", []string{"b"}, "forbidden"}, {"/resource_access/portal/roles/0", []string{"a"}, ""},
		{"/realm_access/roles", []string{"Admin"}, "forbidden"}, {"/realm_access", []string{"admin"}, "forbidden"}, {"/roles", []string{"admin"}, "forbidden"},
		{"/permissions", []string{"read:x"}, "forbidden"}, {"/team", []string{"x"}, "forbidden"}, {"/n", []string{"1"}, "forbidden"}, {"/token_use", []string{""}, "forbidden"},
	} {
		for range 2 { // the second time from memory
			require.Equal(t, c.want, reasonOf(t, demand(c.pointer, c.values...), token), c)
		}
	}
	require.Contains(t, causeOf(t, demand("/team", "x"), token), "looks like")
	require.Equal(t, 403, ask(demand("/token_use", "id").Handler(ok), token).Code)
	// Half a surrogate pair, in what a rule reads.
	half, err := i.Sign(nil, strings.Replace(string(claimsOf(t, token)), `"x"`, `"x\ud800"`, 1))
	require.NoError(t, err)
	require.Empty(t, reasonOf(t, auth, half))
	require.Equal(t, "forbidden", reasonOf(t, demand("/Team", "x", "x\ufffd"), half))
	for _, bad := range []string{"", "token_use", "/a~2"} {
		_, err := auth.Require(middleware.Rule{Claims: map[string][]string{bad: {"x"}}})
		require.ErrorContains(t, err, "JSON Pointer", bad)
	}
	_, err = auth.Require(middleware.Rule{Claims: map[string][]string{"/a": nil}, Audiences: []string{""}})
	require.ErrorContains(t, err, "no values")
	require.ErrorContains(t, err, "an audience is empty")
}

func TestRoutesWithAudiencesOfTheirOwn(t *testing.T) {
	i := newIssuer(t)
	cfg := static(i)
	cfg.Audiences = []string{"orders", "billing"}
	auth := authFor(t, cfg)
	orders, err := auth.Require(middleware.Rule{Audiences: []string{"orders"}})
	require.NoError(t, err)
	both, billing := mint(t, i, map[string]any{"aud": []string{"orders", "x"}}), mint(t, i, map[string]any{"aud": "billing"})
	for range 2 {
		require.Empty(t, reasonOf(t, orders, both))
		require.Empty(t, reasonOf(t, auth, billing))
		require.Equal(t, "audience", reasonOf(t, orders, billing))
	}
	v, err := orders.Verify(t.Context(), both)
	require.NoError(t, err)
	require.Equal(t, []string{"orders", "x"}, v.Audience)
	require.Equal(t, 401, ask(orders.Handler(ok), billing).Code)
}

func TestTypesOfAnIssuer(t *testing.T) {
	i := newIssuer(t)
	cfg := static(i)
	cfg.Types = []string{"application/Own+JWT", ""}
	auth := authFor(t, cfg)
	for typ, want := range map[any]string{"own+jwt": "", "OWN+jwt": "", "application/own+jwt": "", nil: "", "JWT": "type", "at+jwt": "type", "dpop+jwt": "type"} {
		require.Equal(t, want, reasonOf(t, auth, mustSign(t, i, map[string]any{"typ": typ})), typ)
	}
	require.Equal(t, `header typ is jwt: it must be one of own+jwt, `, causeOf(t, auth, mustSign(t, i, map[string]any{"typ": "JWT"})))
	cfg.Types = []string{}
	require.Contains(t, faultOf(cfg), "Types is empty")
	for _, never := range []string{"dpop+jwt", "Logout+JWT", "application/secevent+jwt"} {
		cfg.Types = []string{never}
		require.Contains(t, faultOf(cfg), "is never an access token's")
	}
	cfg.Types, cfg.AccessTokenProfile = []string{"JWT"}, true
	require.Contains(t, faultOf(cfg), "Types must be nil")
}

func TestIntegerSubjects(t *testing.T) {
	cfg := middleware.Issuer{Issuer: "a", AnyAudience: true, Algorithms: []string{"HS256"}, Secrets: [][]byte{secret}, SubjectClaim: "user_id"}
	text, integer := authFor(t, cfg), cfg
	integer.IntegerSubject = true
	auth := authFor(t, integer)
	token := func(v string) string {
		input, err := json.Marshal(json.RawMessage(`{"iss":"a","exp":9999999999,"sub":"s","user_id":` + v + `}`))
		require.NoError(t, err)
		return hs256Text(t, string(input))
	}
	for v, want := range map[string]string{"42": "42", `"42"`: "42", "0": "0", "18446744073709551615": "18446744073709551615"} {
		got, err := auth.Verify(t.Context(), token(v))
		require.NoError(t, err, v)
		require.Equal(t, want, got.Subject)
	}
	for _, v := range []string{"42.0", "4.2e1", "-1", "1e2", "18446744073709551616", `"042"`, `"+1"`, `"x"`, `""`, "true", "null", "[42]"} {
		require.Equal(t, "claims", reasonOf(t, auth, token(v)), v)
	}
	require.Equal(t, "claims", reasonOf(t, text, token("42")), "one only where the type is declared")
	require.Equal(t, "claim user_id is 42: it must be a string (IntegerSubject accepts integers)", causeOf(t, text, token("42")))
	cfg.SubjectClaim, cfg.IntegerSubject = "", true
	require.Contains(t, faultOf(cfg), "IntegerSubject needs a SubjectClaim")
	require.Equal(t, "malformed", reasonOf(t, text, hs256(t, jwt.MapClaims{"iss": "a", "exp": int64(9999999999), "user_id": "u", "Sub": "x"})))
	require.Equal(t, "claims", reasonOf(t, text, hs256(t, jwt.MapClaims{"iss": "a", "exp": int64(9999999999), "user_id": "u", "User_ID": "x"})), "a name that the configuration has")
	require.Equal(t, "claims", reasonOf(t, text, token(`"\ud800"`)))
}

// hs256Text signs a payload given as text.
func hs256Text(t *testing.T, payload string) string {
	t.Helper()
	input := b64url(`{"alg":"HS256"}`) + "." + b64url(payload)
	sig, err := jwt.SigningMethodHS256.Sign(input, secret)
	require.NoError(t, err)
	return input + "." + b64url(string(sig))
}

// Supabase signs with a secret and with ES256 keys, B2C has a key set for each
// policy: of several entries all checks of one apply, with its key.
func TestSeveralEntriesForOneIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newIssuer(t), newIssuer(t)
		require.NoError(t, b.Rotate(false)) // other kids
		entry := func(i *authtest.Issuer, policy string) middleware.Issuer {
			cfg := trusting(i)
			cfg.Require = middleware.Rule{Claims: map[string][]string{"/tfp": {policy}}}
			return cfg
		}
		shared := middleware.Issuer{Issuer: a.URL, Audiences: []string{a.Audience}, Algorithms: []string{"HS256"}, Secrets: [][]byte{secret}}
		auth := authFor(t, entry(a, "signin"), entry(b, "reset"), shared)
		either := func(i *authtest.Issuer) middleware.Issuer { return trusting(i) } // without the rule
		both := authFor(t, either(a), either(b))
		require.Empty(t, reasonOf(t, both, mint(t, a, nil)))
		require.Empty(t, reasonOf(t, both, mint(t, b, nil)))
		v, err := both.Verify(t.Context(), mint(t, b, map[string]any{"aud": []string{"x", b.Audience, "y"}}))
		require.NoError(t, err)
		require.Equal(t, []string{"x", b.Audience, "y"}, v.Audience)
		token := func(i *authtest.Issuer, header map[string]any, policy string) string {
			s, err := i.Sign(header, claimsOf(t, mint(t, i, map[string]any{"tfp": policy})))
			require.NoError(t, err)
			return s
		}
		bare := map[string]any{"kid": nil}
		require.Empty(t, reasonOf(t, auth, token(a, nil, "signin")))
		require.Empty(t, reasonOf(t, auth, token(b, nil, "reset")))
		require.Empty(t, reasonOf(t, auth, token(b, bare, "reset")))
		require.Empty(t, reasonOf(t, auth, hs256(t, jwt.MapClaims{"iss": a.URL, "aud": a.Audience, "exp": time.Now().Unix() + 60})))
		require.Equal(t, []int{2, 2}, []int{a.Fetches(), b.Fetches()}, "one for each of the two")
		for name, bad := range map[string]string{
			"policy of a, key of b": token(b, nil, "signin"), "policy of b, key of a": token(a, nil, "reset"), "no kid either": token(b, bare, "signin"), "another policy": token(a, nil, "x"),
			"secret with another audience": hs256(t, jwt.MapClaims{"iss": a.URL, "aud": "x", "exp": time.Now().Unix() + 60}),
		} {
			require.NotEmpty(t, reasonOf(t, auth, bad), name)
		}
		// The token of one entry causes no fetch for another.
		before := a.Fetches()
		for range 20 {
			require.Empty(t, reasonOf(t, auth, token(b, nil, "reset")))
		}
		require.Equal(t, before, a.Fetches())
		// Nor does a bad signature under a kid that one of them has.
		stranger := newIssuer(t)
		before = a.Fetches() + b.Fetches()
		for range 3 {
			require.Equal(t, "signature", reasonOf(t, both, token(stranger, map[string]any{"kid": "es256-1"}, "signin")))
		}
		require.Equal(t, before, a.Fetches()+b.Fetches())
		require.NoError(t, b.Rotate(false))
		require.Empty(t, reasonOf(t, auth, token(b, nil, "reset")))
		b.Down(true)
		require.Empty(t, reasonOf(t, auth, token(a, nil, "signin")), "one entry's outage is not the other's")
	})
	one, two := static(newIssuer(t)), static(newIssuer(t))
	two.SubjectClaim = "oid"
	require.Contains(t, faultOf(one, two), "one SubjectClaim")
	two = static(newIssuer(t))
	two.Subjects = middleware.Qualified
	require.Contains(t, faultOf(one, two), "must have one SubjectClaim, IntegerSubject and Subjects")
	two = static(newIssuer(t))
	two.Algorithms, two.Secrets = append(two.Algorithms, "HS256"), [][]byte{secret}
	require.Contains(t, faultOf(two), "exactly one of")
	require.Contains(t, faultOf(two), "ES256 does not go with Secrets")
}

func TestEightSignatureChecksOverAllEntries(t *testing.T) {
	var entries []middleware.Issuer
	for range 3 {
		cfg := middleware.Issuer{Issuer: "a", AnyAudience: true, Algorithms: []string{"HS256"}}
		for range 5 {
			cfg.Secrets = append(cfg.Secrets, []byte(rand.Text()+rand.Text()))
		}
		entries = append(entries, cfg)
	}
	auth := authFor(t, entries...)
	sign := func(secret []byte) string {
		s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"iss": "a", "exp": int64(9999999999)}).SignedString(secret)
		require.NoError(t, err)
		return s
	}
	require.Empty(t, reasonOf(t, auth, sign(entries[1].Secrets[2])))
	require.Contains(t, causeOf(t, auth, sign(entries[1].Secrets[3])), "more candidates were not tried (8 keys tried)")
}

func TestTemplateOfTenants(t *testing.T) {
	for _, version := range []string{"https://login.example/{tenantid}/v2.0", "https://sts.example/{tenantid}/"} {
		synctest.Test(t, func(t *testing.T) {
			i := newIssuer(t)
			jwks := "https://login.example/common/keys"
			common := strings.TrimSuffix(strings.Replace(version, "{tenantid}", "common", 1), "/")
			web := pages{
				common + "/.well-known/openid-configuration": fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, version, jwks),
				jwks: string(setOf(t, i, func(k map[string]any) { k["issuer"] = version })),
			}
			cfg := middleware.Issuer{
				Issuer: version, Tenants: []string{tenantA}, Audiences: []string{i.Audience}, Algorithms: []string{"ES256"}, Discover: true,
				HTTPClient: &http.Client{Transport: web},
			}
			anyTenant := cfg
			anyTenant.Tenants, anyTenant.Subjects = []string{middleware.AnyTenant}, middleware.Qualified
			some, all := authFor(t, cfg), authFor(t, anyTenant)
			ours := cfg // a token of tenantA may be of both entries
			ours.Issuer, ours.Tenants, ours.Subjects, ours.Discover, ours.JWKSURL = strings.Replace(version, "{tenantid}", tenantA, 1), nil, middleware.Own, false, jwks
			require.Empty(t, faultOf(anyTenant, ours))
			ours.SubjectClaim = "oid"
			require.Contains(t, faultOf(anyTenant, ours), "Issuers[0] and Issuers[1] accept one tenant and must have one SubjectClaim")
			require.Contains(t, faultOf(ours, anyTenant), "accept one tenant")
			ours.Issuer = "https://another.example"
			require.Empty(t, faultOf(anyTenant, ours))
			token := func(iss, tid any) string { return mint(t, i, map[string]any{"iss": iss, "tid": tid}) }
			at := func(tid string) string { return strings.Replace(version, "{tenantid}", tid, 1) }
			for range 2 {
				v, err := some.Verify(t.Context(), token(at(tenantA), tenantA))
				require.NoError(t, err)
				require.Equal(t, at(tenantA), v.Issuer, "the real one")
			}
			require.Empty(t, reasonOf(t, all, token(at(tenantB), tenantB)))
			require.Equal(t, "issuer", reasonOf(t, some, token(at(tenantB), tenantB)))
			for name, bad := range map[string]string{
				"tid of another": token(at(tenantA), tenantB), "no tid": token(at(tenantA), nil), "tid a number": token(at(tenantA), 1), "the template": token(version, "{tenantid}"), "template and tid": token(version, tenantA),
				"upper case": token(at(strings.ToUpper(tenantA)), strings.ToUpper(tenantA)), "iss upper": token(at(strings.ToUpper(tenantA)), tenantA), "common": token(at("common"), "common"),
				"short": token(at("1"), "1"), "path": token(at(tenantA+"/x"), tenantA+"/x"), "another host": token("https://evil.example/"+tenantA+"/v2.0", tenantA), "behind": token(at(tenantA)+"x", tenantA), "empty": token(at(""), ""),
				"a domain": token(at("contoso.onmicrosoft.com"), "contoso.onmicrosoft.com"),
			} {
				require.Equal(t, "issuer", reasonOf(t, all, bad), name)
				require.Equal(t, "issuer", reasonOf(t, some, bad), name)
			}
			require.Contains(t, causeOf(t, some, token(at(tenantA), nil)), "claim tid is missing: it must be the tenant in iss, "+tenantA)
			require.Contains(t, causeOf(t, all, token(at(tenantA), tenantB)), `claim tid is "`+tenantB+`": it must be the tenant in iss, `+tenantA)
			require.Contains(t, causeOf(t, some, token(at(tenantB), tenantB)), `claim iss is "`+at(tenantB)+`": it must be that of one of Tenants`)
			require.Contains(t, causeOf(t, all, token(at("x"), "x")), "it must be that of a configured Issuer")
		})
	}
	i := newIssuer(t)
	cfg := static(i)
	cfg.Issuer = "https://login.example/{tenantid}/v2.0"
	require.Contains(t, faultOf(cfg), "Tenants is empty")
	for want, tenants := range map[string][]string{"not a lower-case GUID": {strings.ToUpper(tenantA)}, `"contoso" is not`: {"contoso"}, "stands alone": {middleware.AnyTenant, tenantA}} {
		cfg.Tenants = tenants
		require.Contains(t, faultOf(cfg), want)
	}
	cfg.Tenants = []string{middleware.AnyTenant}
	require.Contains(t, faultOf(cfg), "with more than one tenant it must say Own or Qualified")
	cfg.Subjects = middleware.Own
	require.Empty(t, faultOf(cfg))
	for _, claim := range []string{"email", "upn", "preferred_username"} {
		cfg.SubjectClaim = claim
		require.Contains(t, faultOf(cfg), "can be set by any tenant")
	}
	cfg.SubjectClaim, cfg.WithoutIssuer = "oid", true
	require.Contains(t, faultOf(cfg), "WithoutIssuer and a template")
	cfg = static(i)
	cfg.Tenants = []string{tenantA}
	require.Contains(t, faultOf(cfg), "Tenants needs {tenantid}")
}

// A key that another entry has does not tell whose a token without iss is.
func TestTokensWithoutIssuerAndKeysThatAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, other := newIssuer(t), newIssuer(t)
		other.URL = "https://other.example"
		cfg := trusting(i)
		cfg.WithoutIssuer = true
		auth := authFor(t, own(cfg, trusting(other))...)
		bare := mint(t, i, map[string]any{"iss": nil})
		require.Empty(t, reasonOf(t, auth, bare))
		require.Empty(t, reasonOf(t, auth, mint(t, i, nil)))
		require.Equal(t, "issuer", reasonOf(t, auth, mint(t, i, map[string]any{"iss": ""})))
		require.Empty(t, reasonOf(t, auth, mint(t, other, nil)), "its set is at hand now")
		require.Empty(t, reasonOf(t, auth, bare))
		// The other publishes our key too, under another kid.
		other.ServeSet(setOf(t, i, func(k map[string]any) { k["kid"] = "moved" }))
		time.Sleep(17 * time.Minute)
		_ = reasonOf(t, auth, mint(t, other, nil))
		synctest.Wait()
		require.Equal(t, "key", reasonOf(t, auth, bare), "also one that is remembered")
		require.Contains(t, causeOf(t, auth, mint(t, i, map[string]any{"iss": nil})), "another entry has the key")
		require.Empty(t, reasonOf(t, auth, mint(t, i, nil)), "a token with iss is not touched")
	})
	i := newIssuer(t)
	without, with := static(i), static(i)
	without.WithoutIssuer, with.Issuer = true, "https://other.example"
	require.Contains(t, faultOf(own(without, with)...), "has one of its keys")
}

// A plain issuer inside a compose network is reached over http by name only.
func TestPlainHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		i.URL = "http://keycloak:8080/realms/x"
		jwks := i.URL + "/jwks"
		cfg := middleware.Issuer{Issuer: i.URL, Audiences: []string{i.Audience}, Algorithms: []string{"ES256"}, Discover: true}
		web := pages{i.URL + "/.well-known/openid-configuration": fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, i.URL, jwks), jwks: string(i.JWKS())}
		cfg.HTTPClient = &http.Client{Transport: web}
		require.Contains(t, faultOf(cfg), "must be https")
		for _, bad := range []string{"keycloak", "*:8080", "*", "keycloak:", "http://keycloak:8080", "keycloak:8080/x"} {
			cfg.DangerouslyPlainHTTP = []string{bad}
			require.Contains(t, faultOf(cfg), "is not an exact host:port", bad)
		}
		cfg.DangerouslyPlainHTTP = []string{"keycloak:8081"}
		require.Contains(t, faultOf(cfg), "must be https")
		cfg.DangerouslyPlainHTTP = []string{"keycloak:8080"}
		require.Empty(t, reasonOf(t, authFor(t, cfg), mint(t, i, nil)))
		web[i.URL+"/.well-known/openid-configuration"] = fmt.Sprintf(`{"issuer":%q,"jwks_uri":"http://elsewhere:8080/jwks"}`, i.URL)
		require.Contains(t, causeOf(t, authFor(t, cfg), mint(t, i, nil)), "jwks_uri: must be https", "a host that is not in the list")
		// What begins with https never goes on over http.
		i.URL = "https://keycloak/realms/x"
		cfg.Issuer = i.URL
		web[i.URL+"/.well-known/openid-configuration"] = fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, i.URL, jwks)
		require.Contains(t, causeOf(t, authFor(t, cfg), mint(t, i, nil)), "jwks_uri: must be https, as the issuer is")
	})
	for _, loopback := range []string{"http://localhost:1", "http://LocalHost:1", "http://127.0.0.1:1", "http://[::1]:1"} {
		require.Empty(t, faultOf(middleware.Issuer{Issuer: loopback, AnyAudience: true, Algorithms: []string{"RS256"}, Discover: true}), loopback)
	}
}

// Keycloak's tokens have 10 to 70 KB.
func TestMaxTokenBytes(t *testing.T) {
	i := newIssuer(t)
	roles := map[string]any{}
	for n := range 400 {
		roles[fmt.Sprint("client-", n)] = map[string]any{"roles": []string{"role-of-some-length", "another-role-of-some-length", fmt.Sprint(n)}}
	}
	large := mint(t, i, map[string]any{"resource_access": roles})
	require.Greater(t, len(large), 40<<10)
	require.Equal(t, "too_long", reasonOf(t, authFor(t, static(i)), large))
	with := func(n int) middleware.Config {
		return middleware.Config{Issuers: []middleware.Issuer{static(i)}, MaxTokenBytes: n}
	}
	require.Empty(t, reasonOf(t, newAuth(t, with(64<<10)), large))
	require.Empty(t, reasonOf(t, newAuth(t, with(len(large))), large))
	require.Equal(t, "too_long", reasonOf(t, newAuth(t, with(len(large)-1)), large))
	for _, bad := range []int{-1, 128<<10 + 1} {
		_, err := middleware.New(with(bad))
		require.ErrorContains(t, err, "MaxTokenBytes")
	}
	many := map[string]any{}
	for n := range 1000 {
		many[fmt.Sprintf("a claim with a longer name %d", n)] = n
	}
	require.Empty(t, reasonOf(t, newAuth(t, with(128<<10)), mint(t, i, many)), "the bound on members follows")
}

func TestKeysOfAnotherKindDoNotFit(t *testing.T) {
	i := newIssuer(t)
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	cfg := static(i, "ES256", "RS256")
	cfg.Keys = map[string]crypto.PublicKey{"es256-1": &k.PublicKey}
	require.Equal(t, "the key of kid es256-1 is not for ES256", strings.TrimPrefix(causeOf(t, authFor(t, cfg), mint(t, i, nil)), "signature does not verify: "))
}
