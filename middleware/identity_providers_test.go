package middleware_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
	"github.com/bearerkit/bearerkit/providers"
)

// The configurations of docs/identity-providers.md, which a test below compares
// with it, and the tokens that those providers issue.

func entraV2() middleware.Issuer {
	return middleware.Issuer{
		Issuer:     "https://login.microsoftonline.com/11111111-aaaa-4bbb-8ccc-000000000001/v2.0",
		Audiences:  []string{"99999999-aaaa-4bbb-8ccc-00000000000a"},
		Algorithms: []string{"RS256"}, Discover: true,
		Require: middleware.Rule{AnyScope: []string{"access_as_user"}},
	}
}

func entraV1() middleware.Issuer {
	return middleware.Issuer{
		Issuer:     "https://sts.windows.net/11111111-aaaa-4bbb-8ccc-000000000001/",
		Audiences:  []string{"api://99999999-aaaa-4bbb-8ccc-00000000000a"},
		Algorithms: []string{"RS256"}, Discover: true,
		Require: middleware.Rule{AnyScope: []string{"access_as_user"}},
	}
}

func entraTenants() middleware.Issuer {
	return middleware.Issuer{
		Issuer: "https://login.microsoftonline.com/{tenantid}/v2.0", Tenants: []string{middleware.AnyTenant}, Subjects: middleware.Qualified,
		Audiences:  []string{"99999999-aaaa-4bbb-8ccc-00000000000a"},
		Algorithms: []string{"RS256"}, Discover: true, SubjectClaim: "oid",
		Require: middleware.Rule{AnyScope: []string{"access_as_user"}},
	}
}

func okta() middleware.Issuer {
	return middleware.Issuer{
		Issuer:     "https://acme.okta.com/oauth2/default",
		Audiences:  []string{"api://default"},
		Algorithms: []string{"RS256"}, Discover: true,
		Require: middleware.Rule{AnyScope: []string{"orders"}},
	}
}

func keycloak() middleware.Issuer {
	return middleware.Issuer{
		Issuer:     "https://sso.example.com/realms/acme",
		Audiences:  []string{"orders"},
		Algorithms: []string{"RS256"}, Discover: true,
		Require: middleware.Rule{Claims: map[string][]string{"/typ": {"Bearer"}}},
	}
}

func auth0() middleware.Issuer {
	return middleware.Issuer{
		Issuer:     "https://acme.eu.auth0.com/",
		Audiences:  []string{"https://api.example.com"},
		Algorithms: []string{"RS256"}, Discover: true,
		Require: middleware.Rule{AnyScope: []string{"read:orders"}},
	}
}

func cognito() middleware.Issuer {
	return middleware.Issuer{
		Issuer:        "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI",
		AudienceClaim: "client_id", Audiences: []string{"1h57kf5cpq17m0eml12EXAMPLE"},
		Algorithms: []string{"RS256"}, Discover: true,
		Require: middleware.Rule{Claims: map[string][]string{"/token_use": {"access"}}},
	}
}

func clerk() middleware.Issuer {
	return middleware.Issuer{
		Issuer:     "https://clerk.example.com",
		Algorithms: []string{"RS256"}, Discover: true,
		AnyAudience: true, // a session token has no aud: azp is the page it is for
		Require:     middleware.Rule{Claims: map[string][]string{"/azp": {"https://app.example.com"}, "/sts": {"active"}}},
	}
}

func google() middleware.Issuer {
	return middleware.Issuer{
		Issuer:     "https://accounts.google.com",
		Audiences:  []string{"1234567890-abc.apps.googleusercontent.com"},
		Algorithms: []string{"RS256"}, Discover: true,
		Require: middleware.Rule{Claims: map[string][]string{"/hd": {"example.com"}}}, // your Workspace domain
	}
}

func firebase() middleware.Issuer {
	return middleware.Issuer{
		Issuer:     "https://securetoken.google.com/acme-project",
		Audiences:  []string{"acme-project"},
		Algorithms: []string{"RS256"}, Discover: true,
	}
}

func githubActions() middleware.Issuer {
	return middleware.Issuer{
		Issuer:     "https://token.actions.githubusercontent.com",
		Audiences:  []string{"https://api.example.com"},
		Algorithms: []string{"RS256"}, Discover: true,
		Require: middleware.Rule{Claims: map[string][]string{"/repository_owner": {"acme"}}},
	}
}

func kubernetes() middleware.Issuer {
	return middleware.Issuer{
		Issuer:     "https://kubernetes.default.svc.cluster.local",
		Audiences:  []string{"orders"},
		Algorithms: []string{"RS256"}, Discover: true,
		HTTPClient: cluster, // below
		Require:    middleware.Rule{Claims: map[string][]string{"/kubernetes.io/namespace": {"shop"}}},
	}
}

func uaa() middleware.Issuer {
	return middleware.Issuer{
		Issuer:     "https://uaa.example.com/oauth/token",
		Audiences:  []string{"orders"},
		Algorithms: []string{"RS256"}, JWKSURL: "https://uaa.example.com/token_keys",
		Require: middleware.Rule{AnyScope: []string{"orders.read"}},
	}
}

func spiffe() middleware.Issuer {
	return middleware.Issuer{
		Issuer: "spiffe://example.org", WithoutIssuer: true,
		Audiences:  []string{"spiffe://example.org/orders"},
		Algorithms: []string{"RS256", "ES256"}, JWKSURL: "https://spire.example.org/bundle.json",
		KeyUses: []string{"jwt-svid"}, Types: []string{"", "JWT", "JOSE"},
	}
}

func supabase() []middleware.Issuer {
	return []middleware.Issuer{{
		Issuer:     "https://abcdefgh.supabase.co/auth/v1",
		Audiences:  []string{"authenticated"},
		Algorithms: []string{"ES256"}, JWKSURL: "https://abcdefgh.supabase.co/auth/v1/.well-known/jwks.json",
		Require: middleware.Rule{Claims: map[string][]string{"/role": {"authenticated"}}},
	}, { // until the last token that was signed with the legacy secret has ended
		Issuer:     "https://abcdefgh.supabase.co/auth/v1",
		Audiences:  []string{"authenticated"},
		Algorithms: []string{"HS256"}, Secrets: [][]byte{legacySecret},
		Require: middleware.Rule{Claims: map[string][]string{"/role": {"authenticated"}}},
	}}
}

func b2c() []middleware.Issuer {
	policy := func(name string) middleware.Issuer {
		return middleware.Issuer{
			Issuer:     "https://acme.b2clogin.com/11111111-aaaa-4bbb-8ccc-000000000001/v2.0/",
			Audiences:  []string{"99999999-aaaa-4bbb-8ccc-00000000000a"},
			Algorithms: []string{"RS256"},
			JWKSURL:    "https://acme.b2clogin.com/acme.onmicrosoft.com/" + name + "/discovery/v2.0/keys",
			Require:    middleware.Rule{AnyScope: []string{"orders.read"}, Claims: map[string][]string{"/tfp": {name}}},
		}
	}
	return []middleware.Issuer{policy("B2C_1_signin"), policy("B2C_1_partner")}
}

func simpleJWT() middleware.Issuer {
	return middleware.Issuer{
		Issuer: "django", WithoutIssuer: true, AnyAudience: true,
		Algorithms: []string{"HS256"}, Secrets: [][]byte{legacySecret},
		SubjectClaim: "user_id", IntegerSubject: true,
		Require: middleware.Rule{Claims: map[string][]string{"/token_type": {"access"}}},
	}
}

func adfs() middleware.Issuer {
	return middleware.Issuer{
		Issuer:     "http://fs.example.com/adfs/services/trust", // access_token_issuer of its discovery document
		Audiences:  []string{"microsoft:identityserver:orders"},
		Algorithms: []string{"RS256"}, JWKSURL: "https://fs.example.com/adfs/discovery/keys",
		Require: middleware.Rule{AnyScope: []string{"orders.read"}},
	}
}

var (
	legacySecret = []byte("super-secret-jwt-token-with-at-least-32-characters-long")
	cluster      *http.Client // the test's own: see the document
)

// shape is one provider's token and its near misses.
type shape struct {
	provider string
	function string // of the configuration in this file
	issuers  []middleware.Issuer
	header   map[string]any
	claims   map[string]any
	subject  string
	// Near misses: what is laid over header and claims.
	misses map[string]over
	// opaque are tokens of the provider that are no JWTs.
	opaque []string
}

type over struct{ header, claims map[string]any }

func claims(c map[string]any) over { return over{claims: c} }

const client = "99999999-aaaa-4bbb-8ccc-00000000000a"

func one(i middleware.Issuer) []middleware.Issuer { return []middleware.Issuer{i} }

func shapes() []shape {
	entra := map[string]any{
		"aud": client, "iss": entraV2().Issuer, "tid": tenantA, "oid": "5b2f0f2e-0000-4000-8000-000000000001", "sub": "pairwise", "azp": "client", "azpacr": "1", "name": "Ada", "preferred_username": "ada@example.com", "rh": "0.x", "uti": "u", "ver": "2.0", "scp": "access_as_user", "aio": "x", "nbf": -10, "xms_ftd": "x", "roles": []string{"Reader"},
	}
	withOver := func(base, over map[string]any) map[string]any {
		out := maps.Clone(base)
		maps.Copy(out, over)
		return out
	}
	return []shape{
		{"Microsoft Entra ID, v2 tokens", "entraV2", one(entraV2()), map[string]any{"x5t": "t"}, entra, "pairwise", map[string]over{
			"ID token": claims(map[string]any{"scp": nil, "nonce": "n"}), "another API": claims(map[string]any{"aud": "00000003-0000-0000-c000-000000000000"}), "foreign tenant": claims(map[string]any{"iss": strings.Replace(entraV2().Issuer, tenantA, tenantB, 1), "tid": tenantB}),
			"v1 token": claims(map[string]any{"iss": entraV1().Issuer, "ver": "1.0"}),
		}, []string{"0.AXoA5ThT.AgABAAEAAAAmoFfGtYxvRrNriQdPKIZ-AgDs_wUA9P-refresh"}},
		{"Microsoft Entra ID, v1 tokens", "entraV1", one(entraV1()), map[string]any{"x5t": "t"}, withOver(entra, map[string]any{"iss": entraV1().Issuer, "aud": entraV1().Audiences[0], "ver": "1.0", "appid": "client", "azp": nil, "upn": "ada@example.com", "unique_name": "ada@example.com"}), "pairwise", map[string]over{
			"ID token": claims(map[string]any{"scp": nil, "nonce": "n"}), "another API": claims(map[string]any{"aud": "https://graph.microsoft.com"}), "foreign tenant": claims(map[string]any{"iss": "https://sts.windows.net/" + tenantB + "/", "tid": tenantB}),
		}, nil},
		{"Microsoft Entra ID, any tenant", "entraTenants", one(entraTenants()), nil, withOver(entra, map[string]any{"iss": strings.Replace(entraV2().Issuer, tenantA, tenantB, 1), "tid": tenantB}), "5b2f0f2e-0000-4000-8000-000000000001", map[string]over{
			"ID token": claims(map[string]any{"scp": nil, "nonce": "n"}), "another API": claims(map[string]any{"aud": "00000003-0000-0000-c000-000000000000"}), "tid of another tenant": claims(map[string]any{"tid": tenantA}),
			"iss of another tenant": claims(map[string]any{"iss": entraV2().Issuer}), "common": claims(map[string]any{"iss": strings.Replace(entraV2().Issuer, tenantA, "common", 1), "tid": "common"}), "no oid is no user": claims(map[string]any{"oid": 7}),
		}, nil},
		{"Okta", "okta", one(okta()), map[string]any{"typ": nil}, map[string]any{"ver": 1, "jti": "AT.x", "iss": okta().Issuer, "aud": "api://default", "sub": "ada@example.com", "cid": "0oa1", "uid": "00u1", "scp": []string{"openid", "orders"}, "auth_time": -100}, "ada@example.com", map[string]over{
			"ID token": claims(map[string]any{"scp": nil, "cid": nil, "amr": []string{"pwd"}, "nonce": "n", "at_hash": "h", "idp": "00o1"}), "another API": claims(map[string]any{"aud": "api://billing"}), "org server": claims(map[string]any{"iss": "https://acme.okta.com", "aud": "https://acme.okta.com"}), "foreign tenant": claims(map[string]any{"iss": "https://evil.okta.com/oauth2/default"}),
		}, []string{"mQ3oQ2refresh-token_of-Okta"}},
		{"Keycloak", "keycloak", one(keycloak()), nil, map[string]any{
			"iss": keycloak().Issuer, "aud": []string{"orders", "account"}, "sub": "f:1:ada", "typ": "Bearer", "azp": "shop", "sid": "s", "acr": "1", "allowed-origins": []string{"https://app"}, "scope": "openid email", "realm_access": map[string]any{"roles": []string{"user"}},
			"resource_access": map[string]any{"portal": map[string]any{"roles": []string{"a"}}, "Portal": map[string]any{"roles": []string{"b"}}}, "preferred_username": "ada",
		}, "f:1:ada", map[string]over{
			"ID token": claims(map[string]any{"typ": "ID", "nonce": "n", "at_hash": "h"}), "refresh token": {map[string]any{"alg": "HS512"}, map[string]any{"typ": "Refresh", "aud": keycloak().Issuer}}, "refresh token for us": claims(map[string]any{"typ": "Refresh"}), "offline token": claims(map[string]any{"typ": "Offline"}),
			"another API": claims(map[string]any{"aud": []string{"billing", "account"}}), "foreign realm": claims(map[string]any{"iss": "https://sso.example.com/realms/evil"}), "logout token": {map[string]any{"typ": "logout+jwt"}, map[string]any{"events": map[string]any{}}},
		}, nil},
		{"Auth0", "auth0", one(auth0()), nil, map[string]any{"iss": auth0().Issuer, "sub": "auth0|5f7c", "aud": []string{"https://api.example.com", "https://acme.eu.auth0.com/userinfo"}, "azp": "client", "scope": "openid read:orders", "permissions": []string{"read:orders"}, "https://example.com/roles": []string{"x"}}, "auth0|5f7c", map[string]over{
			"ID token": claims(map[string]any{"scope": nil, "nonce": "n", "sid": "s"}), "another API": claims(map[string]any{"aud": []string{"https://billing.example.com", "https://acme.eu.auth0.com/userinfo"}}), "foreign tenant": claims(map[string]any{"iss": "https://evil.eu.auth0.com/"}), "no slash": claims(map[string]any{"iss": "https://acme.eu.auth0.com"}),
		}, []string{"v1.MRrtrefreshtokenofauth0"}},
		{"Amazon Cognito, access tokens", "cognito", one(cognito()), map[string]any{"typ": nil}, map[string]any{"iss": cognito().Issuer, "sub": "aaaaaaaa-bbbb", "aud": nil, "client_id": cognito().Audiences[0], "token_use": "access", "scope": "aws.cognito.signin.user.admin", "cognito:groups": []string{"staff"}, "username": "ada", "origin_jti": "o", "event_id": "e", "auth_time": -100, "version": 2}, "aaaaaaaa-bbbb", map[string]over{
			"ID token": claims(map[string]any{"token_use": "id", "aud": cognito().Audiences[0], "client_id": nil}), "ID token with our client": claims(map[string]any{"token_use": "id"}), "another client": claims(map[string]any{"client_id": "other"}), "aud instead": claims(map[string]any{"client_id": nil, "aud": cognito().Audiences[0]}), "foreign pool": claims(map[string]any{"iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Evil"}),
		}, []string{"eyJjdHkiOiJKV1QiLCJlbmMiOiJBMjU2R0NNIiwiYWxnIjoiUlNBLU9BRVAifQ.a.b.c.d"}},
		{"Clerk", "clerk", one(clerk()), nil, map[string]any{"iss": clerk().Issuer, "aud": nil, "azp": "https://app.example.com", "sub": "user_1", "sid": "sess_1", "sts": "active", "v": 2, "fva": []int{1, -1}, "jti": "x"}, "user_1", map[string]over{
			"another page": claims(map[string]any{"azp": "https://evil.example.com"}), "pending session": claims(map[string]any{"sts": "pending"}), "ID token": claims(map[string]any{"aud": "https://app.example.com", "sts": nil, "nonce": "n"}), "foreign instance": claims(map[string]any{"iss": "https://clerk.evil.com"}),
		}, []string{"refresh-token-of-clerk"}},
		{"Google, ID tokens", "google", one(google()), nil, map[string]any{"iss": google().Issuer, "azp": "x", "aud": google().Audiences[0], "sub": "10769150350006150715113082367", "at_hash": "h", "hd": "example.com", "email": "ada@example.com", "email_verified": true, "nonce": "n"}, "10769150350006150715113082367", map[string]over{
			"another client": claims(map[string]any{"aud": "other.apps.googleusercontent.com"}), "foreign domain": claims(map[string]any{"hd": "evil.com"}), "no domain": claims(map[string]any{"hd": nil}), "iss without scheme": claims(map[string]any{"iss": "accounts.google.com"}),
		}, []string{"ya29.a0AfB_access-token", "1//0g-refresh-token"}},
		{"Firebase", "firebase", one(firebase()), nil, map[string]any{"iss": firebase().Issuer, "aud": "acme-project", "sub": "uid1", "user_id": "uid1", "auth_time": -100, "firebase": map[string]any{"identities": map[string]any{}, "sign_in_provider": "password"}}, "uid1", map[string]over{
			"session cookie": claims(map[string]any{"iss": "https://session.firebase.google.com/acme-project"}), "another project": claims(map[string]any{"iss": "https://securetoken.google.com/evil", "aud": "evil"}), "another audience": claims(map[string]any{"aud": "evil"}), "custom token": claims(map[string]any{"iss": "sa@acme.iam.gserviceaccount.com", "aud": "https://identitytoolkit.googleapis.com/x"}),
		}, []string{"AMf-vBx-refresh-token"}},
		{"GitHub Actions", "githubActions", one(githubActions()), map[string]any{"x5t": "t"}, map[string]any{"iss": githubActions().Issuer, "aud": "https://api.example.com", "sub": "repo:acme/app:ref:refs/heads/main", "repository": "acme/app", "repository_owner": "acme", "ref": "refs/heads/main", "run_id": "1", "runner_environment": "github-hosted"}, "repo:acme/app:ref:refs/heads/main", map[string]over{
			"foreign owner": claims(map[string]any{"repository_owner": "evil", "sub": "repo:evil/app:ref:refs/heads/main"}), "another audience": claims(map[string]any{"aud": "https://github.com/acme"}), "owner by case": claims(map[string]any{"repository_owner": "Acme"}), "enterprise server": claims(map[string]any{"iss": "https://github.example.com/_services/token"}),
		}, []string{"ghs_16C7e42F292c6912E7710c838347Ae178B4a"}},
		{"Kubernetes, projected tokens", "kubernetes", one(kubernetes()), map[string]any{"typ": nil}, map[string]any{"iss": kubernetes().Issuer, "aud": []string{"orders"}, "sub": "system:serviceaccount:shop:web", "kubernetes.io": map[string]any{"namespace": "shop", "pod": map[string]any{"name": "web-1", "uid": "u"}, "serviceaccount": map[string]any{"name": "web", "uid": "u"}}, "nbf": -10}, "system:serviceaccount:shop:web", map[string]over{
			"for the API server": claims(map[string]any{"aud": []string{kubernetes().Issuer}}), "another namespace": claims(map[string]any{"kubernetes.io": map[string]any{"namespace": "evil"}}), "legacy secret token": claims(map[string]any{"iss": "kubernetes/serviceaccount", "exp": nil, "aud": nil}), "another cluster": claims(map[string]any{"iss": "https://oidc.eks.eu-west-1.amazonaws.com/id/X"}),
		}, nil},
		{"Cloud Foundry UAA, SAP", "uaa", one(uaa()), map[string]any{"jku": "https://uaa.example.com/token_keys"}, map[string]any{"iss": uaa().Issuer, "aud": []string{"orders", "shop"}, "sub": "u1", "scope": []string{"orders.read", "openid"}, "client_id": "shop", "cid": "shop", "azp": "shop", "grant_type": "authorization_code", "user_id": "u1", "origin": "uaa", "zid": "uaa", "rev_sig": "x", "auth_time": -100}, "u1", map[string]over{
			"ID token": claims(map[string]any{"scope": []string{"openid"}, "nonce": "n"}), "refresh token": claims(map[string]any{"scope": nil, "granted_scopes": []string{"orders.read"}, "jti": "x-r", "nonce": "n"}), "another API": claims(map[string]any{"aud": []string{"billing"}}), "foreign zone": claims(map[string]any{"iss": "https://evil.uaa.example.com/oauth/token"}),
		}, nil},
		{"SPIFFE", "spiffe", one(spiffe()), nil, map[string]any{"iss": nil, "jti": nil, "aud": []string{"spiffe://example.org/orders"}, "sub": "spiffe://example.org/web"}, "spiffe://example.org/web", map[string]over{
			"another workload": claims(map[string]any{"aud": []string{"spiffe://example.org/billing"}}), "foreign issuer": claims(map[string]any{"iss": "https://evil.example.org"}), "empty issuer": claims(map[string]any{"iss": ""}), "another typ": {map[string]any{"typ": "at+jwt"}, nil},
		}, nil},
		{"Supabase", "supabase", supabase(), map[string]any{"alg": "ES256"}, map[string]any{"iss": supabase()[0].Issuer, "aud": "authenticated", "sub": "u1", "role": "authenticated", "aal": "aal1", "session_id": "s", "email": "ada@example.com", "is_anonymous": false, "amr": []any{map[string]any{"method": "password", "timestamp": 1}}}, "u1", map[string]over{
			"anon key": claims(map[string]any{"iss": "supabase", "role": "anon", "aud": nil, "sub": nil}), "anonymous role": claims(map[string]any{"role": "anon"}), "service role": claims(map[string]any{"role": "service_role"}), "another project": claims(map[string]any{"iss": "https://evil.supabase.co/auth/v1"}), "another audience": claims(map[string]any{"aud": "evil"}),
		}, []string{"v0refreshtokenofsupabase"}},
		{"Azure AD B2C, several policies", "b2c", b2c(), nil, map[string]any{"iss": b2c()[0].Issuer, "aud": client, "sub": "u1", "tfp": "B2C_1_signin", "scp": "orders.read", "azp": "client", "ver": "1.0", "auth_time": -100, "nonce": "n"}, "u1", map[string]over{
			"ID token": claims(map[string]any{"scp": nil}), "another policy": claims(map[string]any{"tfp": "B2C_1_reset"}), "another API": claims(map[string]any{"aud": "other"}), "foreign tenant": claims(map[string]any{"iss": strings.Replace(b2c()[0].Issuer, tenantA, tenantB, 1)}),
		}, nil},
		{"Django SimpleJWT, Flask-JWT-Extended", "simpleJWT", one(simpleJWT()), map[string]any{"alg": "HS256", "kid": nil}, map[string]any{"iss": nil, "aud": nil, "sub": nil, "token_type": "access", "user_id": 42}, "42", map[string]over{
			"refresh token": claims(map[string]any{"token_type": "refresh"}), "sliding token": claims(map[string]any{"token_type": "sliding"}), "foreign issuer": claims(map[string]any{"iss": "evil"}), "no type": claims(map[string]any{"token_type": nil}),
		}, nil},
		{"AD FS", "adfs", one(adfs()), map[string]any{"x5t": "t"}, map[string]any{"iss": adfs().Issuer, "aud": adfs().Audiences[0], "sub": "x", "appid": "client", "apptype": "Public", "scp": "orders.read openid", "ver": "1.0", "authmethod": "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport", "auth_time": "2026-01-01T00:00:00.000Z"}, "x", map[string]over{
			"ID token": claims(map[string]any{"iss": "https://fs.example.com/adfs", "scp": nil}), "ID token with the same iss": claims(map[string]any{"scp": nil, "nonce": "n"}), "another API": claims(map[string]any{"aud": "microsoft:identityserver:billing"}), "foreign farm": claims(map[string]any{"iss": "http://fs.evil.com/adfs/services/trust"}),
		}, nil},
	}
}

// world answers discovery for every issuer, and has one key set everywhere.
type world struct {
	jwks  func(address string) string
	asked []string
}

func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	address := r.URL.String()
	w.asked = append(w.asked, address)
	if iss, ok := strings.CutSuffix(address, "/.well-known/openid-configuration"); ok {
		switch {
		case strings.HasPrefix(iss, "https://login.microsoftonline.com/common"):
			iss = entraTenants().Issuer
		case strings.HasPrefix(iss, "https://sts.windows.net/"), strings.HasSuffix(iss, "auth0.com"):
			iss += "/"
		}
		return pages{address: fmt.Sprintf(`{"issuer":%q,"jwks_uri":"https://%s/keys","response_types_supported":["id_token"]}`, iss, r.URL.Host)}.RoundTrip(r)
	}
	return pages{address: w.jwks(address)}.RoundTrip(r)
}

// sign signs s's token, relative dates being made absolute.
func (s *shape) sign(t *testing.T, i *authtest.Issuer, o over) string {
	t.Helper()
	all := map[string]any{"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(), "jti": "j", "sub": "ada"}
	for _, layer := range []map[string]any{s.claims, o.claims} {
		maps.Copy(all, layer)
	}
	for name, v := range all {
		switch n, relative := v.(int); {
		case v == nil:
			delete(all, name)
		case relative && (name == "nbf" || name == "auth_time"):
			all[name] = time.Now().Unix() + int64(n)
		}
	}
	header := map[string]any{"alg": "RS256"}
	for _, layer := range []map[string]any{s.header, o.header} {
		maps.Copy(header, layer)
	}
	if alg := header["alg"].(string); strings.HasPrefix(alg, "HS") {
		token := jwt.NewWithClaims(jwt.GetSigningMethod(alg), jwt.MapClaims(all))
		signed, err := token.SignedString(legacySecret)
		require.NoError(t, err)
		return signed
	}
	token, err := i.Sign(header, all)
	require.NoError(t, err)
	return token
}

func TestTokensOfIdentityProviders(t *testing.T) {
	i, stranger := newIssuer(t, "RS256", "ES256"), newIssuer(t, "RS256", "ES256")
	bundle := string(setOf(t, i, func(k map[string]any) { k["use"] = "jwt-svid"; delete(k, "alg") }))
	entraKeys := string(setOf(t, i, func(k map[string]any) { k["issuer"] = entraTenants().Issuer; k["x5c"] = []string{"MIIB"} }))
	for _, s := range shapes() {
		t.Run(s.provider, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{jwks: func(address string) string {
					switch {
					case strings.HasSuffix(address, "bundle.json"):
						return bundle
					case address == "https://login.microsoftonline.com/keys":
						return entraKeys
					}
					return string(i.JWKS())
				}}
				for n := range s.issuers {
					if len(s.issuers[n].Secrets) == 0 {
						s.issuers[n].HTTPClient = &http.Client{Transport: w}
					}
				}
				auth := authFor(t, s.issuers...)
				v, err := auth.Verify(t.Context(), s.sign(t, i, over{}))
				if err != nil {
					t.Fatal(causeOf(t, auth, s.sign(t, i, over{})))
				}
				require.Equal(t, s.subject, v.Subject)
				user, is := v.User()
				require.True(t, is && strings.HasSuffix(user, s.subject))
				if s.function == "supabase" || s.function == "b2c" {
					require.Len(t, s.issuers, 2)
				}
				require.GreaterOrEqual(t, len(s.misses), 3)
				for name, miss := range s.misses {
					reason := reasonOf(t, auth, s.sign(t, i, miss))
					require.NotEmpty(t, reason, "%s: %s passes", s.provider, name)
					require.NotEqual(t, "unavailable", reason, "%s: %s", s.provider, name)
				}
				for _, token := range s.opaque {
					require.NotEmpty(t, reasonOf(t, auth, token), token)
				}
				// Signed by anybody else.
				if s.function != "simpleJWT" {
					require.NotEmpty(t, reasonOf(t, auth, s.sign(t, stranger, over{})))
				}
				require.NotEmpty(t, reasonOf(t, auth, s.sign(t, i, claims(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}))))
			})
		})
	}
}

// The legacy secret's tokens, and the other policy's, are accepted too.
func TestSecondEntriesOfIdentityProviders(t *testing.T) {
	i := newIssuer(t, "RS256", "ES256")
	for _, s := range shapes() {
		second := over{}
		switch s.function {
		case "supabase":
			second.header = map[string]any{"alg": "HS256"}
		case "b2c":
			second.claims = map[string]any{"tfp": "B2C_1_partner"}
		default:
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			for n := range s.issuers {
				if len(s.issuers[n].Secrets) == 0 {
					s.issuers[n].HTTPClient = &http.Client{Transport: &world{jwks: func(string) string { return string(i.JWKS()) }}}
				}
			}
			require.Empty(t, reasonOf(t, authFor(t, s.issuers...), s.sign(t, i, second)), s.provider)
		})
	}
}

// The document has every configuration of this file, as it is here.
func TestTheDocumentHasTheseConfigurations(t *testing.T) {
	doc, err := os.ReadFile("../docs/identity-providers.md")
	require.NoError(t, err)
	source, err := os.ReadFile("identity_providers_test.go")
	require.NoError(t, err)
	plain := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	for _, s := range shapes() {
		_, body, found := strings.Cut(string(source), "\nfunc "+s.function+"() ")
		require.True(t, found, s.function)
		_, body, _ = strings.Cut(body, "{\n")
		body, _, _ = strings.Cut(body, "\n}\n")
		body = strings.TrimPrefix(strings.TrimSpace(body), "return ")
		require.Contains(t, plain(string(doc)), plain(body), "%s is not in the document", s.provider)
		require.Contains(t, string(doc), "## "+s.provider)
	}
}

// kube-apiserver has a CA of its own, wants a bearer token for its key set, and
// serves one media type.
func TestKeySetBehindABearerToken(t *testing.T) {
	i := newIssuer(t, "RS256")
	asked := 0
	apiserver := roundTrip(func(r *http.Request) (*http.Response, error) {
		asked++
		switch {
		case r.Header.Get("Authorization") != "Bearer pod-token":
			return &http.Response{StatusCode: 401, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
		case !strings.HasPrefix(r.Header.Get("Accept"), "application/jwk-set+json"):
			return &http.Response{StatusCode: 406, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
		}
		return pages{r.URL.String(): string(i.JWKS())}.RoundTrip(r)
	})
	cfg := kubernetes()
	cfg.Discover, cfg.JWKSURL = false, "https://kubernetes.default.svc/openid/v1/jwks"
	cfg.HTTPClient = &http.Client{Transport: &middleware.Transport{
		Base:    apiserver,
		Source:  middleware.Fixed(&source{tokens: []providers.Token{{AccessToken: "pod-token", TokenType: "Bearer"}}}),
		Origins: []string{"https://kubernetes.default.svc"},
	}}
	for _, s := range shapes() {
		if s.function == "kubernetes" {
			require.Empty(t, reasonOf(t, authFor(t, cfg), s.sign(t, i, over{})))
		}
	}
	require.Equal(t, 1, asked)
}
