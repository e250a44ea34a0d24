package authtest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

func unix(t time.Time, plus int64) string { return strconv.FormatInt(t.Unix()+plus, 10) }

// algorithms has alg none and the other ways to have no signature.
func algorithms(b *builder) {
	_, payload, signature := cut(b.token(nil))
	for i, alg := range []any{
		"none", "None", "NONE", "nOnE", "noNe", " none", "none ", "none\x00", "no\u006ee", "", nil, 0, false, []string{"none"}, object{}, "null",
		strings.ToLower(b.key.alg) + " ", " " + b.key.alg, b.key.alg + "\x00", []string{b.key.alg}, "HS256",
	} {
		head, err := json.Marshal(object{"alg": alg, "typ": "JWT", "kid": b.key.kid})
		b.fail(err)
		h := encode(head)
		name := fmt.Sprintf("alg/%d %q", i, alg)
		b.refuse(name+", no signature", "CVE-2015-9235, CVE-2022-23540", h+"."+payload+".")
		b.refuse(name+", good signature", "RFC 8725bis 2.11", h+"."+payload+"."+signature)
	}
	noAlg, err := json.Marshal(object{"typ": "JWT", "kid": b.key.kid})
	b.fail(err)
	b.refuse("alg/absent", "CVE-2015-9235", encode(noAlg)+"."+payload+".")
	t, err := b.key.seal(encode(noAlg) + "." + payload)
	b.fail(err)
	b.refuse("alg/absent, good signature", "CVE-2026-22817", t)
	lower := b.headed(object{"alg": strings.ToLower(b.key.alg)})
	if lower != "" && strings.ToLower(b.key.alg) != b.key.alg {
		b.refuse("alg/lower case", "RFC 8725bis 2.11", lower)
	}
}

// injection has headers that bring a key of the attacker's, or name one.
func injection(b *builder) {
	evil, err := New(b.key.alg)
	if err != nil {
		b.fail(err)
		return
	}
	k := *evil.current[0]
	k.kid = b.key.kid
	jwk := k.public
	sign := func(header object) string { return b.signWith(&k, header, b.issuer.claims(nil)) }
	b.refuse("injected/our kid, their key", "CVE-2018-0114", sign(nil))
	for name, header := range map[string]object{
		"jwk":               {"jwk": jwk},
		"jwk, no kid":       {"jwk": jwk, "kid": nil},
		"jwk, their kid":    {"jwk": jwk, "kid": evil.current[0].kid},
		"jwk as text":       {"jwk": fmt.Sprint(jwk)},
		"jwks":              {"jwks": object{"keys": []any{jwk}}},
		"jku":               {"jku": "https://attacker.example/jwks"},
		"jku, metadata":     {"jku": "http://169.254.169.254/latest/meta-data/"},
		"jku, our host":     {"jku": b.issuer.URL + "/redirect?to=https://attacker.example"},
		"jku, userinfo":     {"jku": strings.Replace(b.issuer.URL, "://", "://attacker.example@", 1) + "/jwks"},
		"jku, file":         {"jku": "file:///etc/passwd"},
		"x5u":               {"x5u": "https://attacker.example/cert.pem"},
		"x5c":               {"x5c": []string{"MIIB"}},
		"x5t":               {"x5t": "AAAA", "kid": nil},
		"kid is an address": {"kid": "https://attacker.example/jwks#key"},
		"iss in the header": {"iss": "https://attacker.example"},
	} {
		b.refuse("injected/"+name, "CVE-2018-0114, CVE-2025-24976, CVE-2026-27962, IN-07, IN-08", sign(header))
	}
	b.refuse("injected/issuer of theirs", "CVE-2026-32301, IN-09", b.signWith(&k, nil, b.issuer.claims(object{"iss": "https://attacker.example"})))
}

// critical has crit and b64 under a good signature.
func critical(b *builder) {
	for i, crit := range []any{
		[]string{"exp"}, []string{}, []string{"alg"}, []string{"x"}, []string{"http://example.com/unknown"}, []string{"crit"},
		[]string{"exp", "exp"}, []string{""}, "exp", object{}, 1, true, []int{1}, []any{nil},
	} {
		b.refuse(fmt.Sprintf("crit/%d", i), "CVE-2025-59420, CVE-2026-32597, RFC 7515 4.1.11", b.headed(object{"crit": crit, "x": 1, "exp": 1}))
	}
	claims, err := json.Marshal(b.issuer.claims(nil))
	b.fail(err)
	b.refuse("crit/null", "RFC 7515 4.1.11", b.text(`{"alg":"`+b.key.alg+`","kid":"`+b.key.kid+`","crit":null}`, string(claims)))
	b.refuse("b64/false", "RFC 7797", b.headed(object{"b64": false}))
	b.refuse("b64/false, crit", "RFC 7797", b.headed(object{"b64": false, "crit": []string{"b64"}}))
	b.refuse("b64/true, crit", "RFC 7797", b.headed(object{"b64": true, "crit": []string{"b64"}}))
	for name, header := range map[string]object{
		"zip": {"zip": "DEF"}, "enc": {"enc": "A128GCM"}, "p2c": {"p2c": 2147483647, "p2s": "AAAA"}, "epk": {"epk": b.key.public},
	} {
		b.refuse("encrypted/"+name, "CVE-2024-28180, CVE-2023-51774, IN-22", b.headed(header))
	}
}

// keyIDs has kids that the key set does not have, under a good signature.
func keyIDs(b *builder) {
	for name, kid := range map[string]any{
		"unknown": "unknown", "empty": "", "number": 1, "zero": 0, "array": []string{b.key.kid}, "object": object{"kid": b.key.kid}, "false": false,
		"path": "../../../../dev/null", "path, encoded": "..%2f..%2fdev%2fnull", "absolute path": "/proc/self/environ", "windows path": `C:\windows\win.ini`,
		"SQL": "x' UNION SELECT 'AAAA' --", "LDAP": "*)(uid=*))(|(uid=*", "command": "x | sleep 10", "template": "{{7*7}}${7*7}",
		"NUL": b.key.kid + "\x00", "CRLF": b.key.kid + "\r\nX-Injected: 1", "upper case": strings.ToUpper(b.key.kid), "space": " " + b.key.kid,
		"prefix": b.key.kid[:len(b.key.kid)-1], "257 bytes": strings.Repeat("k", 257), "10 KiB": strings.Repeat("k", 10<<10), "64 KiB": strings.Repeat("k", 64<<10),
		"markup": "<script>alert(1)</script>",
	} {
		b.refuse("kid/"+name, "CVE-2026-45363, GHSA-869p-cjfg-cm3x, IN-10", b.headed(object{"kid": kid}))
		if text, ok := kid.(string); ok && len(text) > 3 {
			b.never(text)
		}
	}
	claims, err := json.Marshal(b.issuer.claims(nil))
	b.fail(err)
	b.refuse("kid/null", "IN-10", b.text(`{"alg":"`+b.key.alg+`","kid":null}`, string(claims)))
	b.refuse("kid/twice", "RFC 7515 4", b.text(`{"alg":"`+b.key.alg+`","kid":"x","kid":"`+b.key.kid+`"}`, string(claims)))
}

// types has tokens of another type.
func types(b *builder) {
	for _, typ := range []string{
		"dpop+jwt", "logout+jwt", "secevent+jwt", "token-introspection+jwt", "oauth-authz-req+jwt", "id_token+jwt", "JOSE", "JOSE+JSON", "JWE", "jwt ", "at+jwt2",
		"application/", "text/jwt", "application/application/jwt",
	} {
		b.refuse("typ/"+typ, "RFC 8725bis 3.11, IN-16", b.headed(object{"typ": typ}))
	}
	for name, typ := range map[string]any{"number": 1, "array": []string{"JWT"}, "object": object{}, "true": true, "empty": ""} {
		b.refuse("typ/"+name, "CVE-2026-41164", b.headed(object{"typ": typ}))
	}
	b.refuse("typ/DPoP proof", "RFC 9449 4.2", b.sign(object{"typ": "dpop+jwt", "jwk": b.key.public}, object{"jti": "x", "htm": "GET", "htu": "https://api.example/", "iat": b.now.Unix()}))
	logout := object{"events": object{"http://schemas.openid.net/event/backchannel-logout": object{}}, "sid": "x"}
	b.refuse("typ/logout token without typ", "OpenID Connect Back-Channel Logout 2.4", b.sign(object{"typ": nil}, b.issuer.claims(logout)))
	b.refuse("typ/logout token", "OpenID Connect Back-Channel Logout 2.4", b.token(logout))
	b.refuse("typ/ID token of a client", "RFC 8725 2.8", b.token(object{"aud": "client-id", "nonce": "n", "at_hash": "h"}))
	for name, cnf := range map[string]any{
		"jkt": object{"jkt": "x"}, "x5t#S256": object{"x5t#S256": "x"}, "jwk": object{"jwk": b.key.public}, "empty": object{}, "text": "x", "false": false,
	} {
		b.refuse("cnf/"+name, "RFC 9449 7.1, RFC 8705 3, IN-16", b.token(object{"cnf": cnf}))
	}
}
