package authtest

import (
	"net/http"
	"net/url"
)

// good has tokens that must be accepted.
func good(b *builder) {
	b.accept("plain", "RFC 7519", b.token(nil))
	for _, typ := range []string{"JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"} {
		b.accept("typ "+typ, "RFC 7515 4.1.9, RFC 9068", b.headed(object{"typ": typ}))
	}
	b.accept("no typ", "RFC 7519 5.1", b.headed(object{"typ": nil}))
	b.accept("no kid", "RFC 7515 4.1.4", b.headed(object{"kid": nil}))
	b.accept("thumbprints in the header", "RFC 7515 4.1.7", b.headed(object{"x5t": "abc", "x5t#S256": "def", "own": object{"a": 1}}))
	b.accept("aud array", "RFC 7519 4.1.3", b.token(object{"aud": []string{"other", b.issuer.Audience}}))
	b.accept("scp array", "Entra ID, Okta", b.token(object{"scp": []string{"a", "b"}}))
	b.accept("scope", "RFC 8693 4.2", b.token(object{"scope": "a b"}))
	b.accept("no sub, iat, jti", "RFC 7519 4.1", b.token(object{"sub": nil, "iat": nil, "jti": nil}))
	b.accept("exp with fraction", "RFC 7519 2", b.token(object{"exp": float64(b.now.Unix()) + 1000.5}))
	b.accept("exp in the year 9999", "F2", b.token(object{"exp": int64(253402300799)}))
	b.accept("nbf now", "RFC 7519 4.1.5", b.token(object{"nbf": b.now.Unix()}))
	b.accept("claims of any kind", "RFC 7519 4.2", b.token(object{
		"name": "Zoë ☃ 😀", "größe": 1, "имя": "x", "https://example.com/roles": []string{"a"}, "address": object{"sub": 1, "iss": nil},
		"realm_access": object{"roles": []string{"x"}}, "resource_access": object{"a": object{"roles": []string{"x"}}},
		"sessionState": "x", "at_hash": "x", "nonce": "x", "empty": object{}, "null": nil, "t": true, "n": -1.5e-3,
	}))
	// Names of claims that the kit does not use are case-sensitive, at every
	// depth.
	b.accept("names by case", "RFC 7519 10.1.1", b.with(`"role":"user","Role":"admin","resource_access":{"portal":{"roles":["a"]},"Portal":{"roles":["b"]},"SUB":1,"sub":2}`))
	b.accept("half surrogate in a note", "RFC 8259 8.2", b.with(`"note":"\ud800","notes":["\udc00"]`))
	// Other libraries look for a key here. It must not be fetched or used.
	for name, header := range map[string]object{
		"jku": {"jku": "https://attacker.example/jwks"}, "jku of UAA": {"jku": "https://uaa.example/token_keys"}, "jku of no type": {"jku": 1}, "x5u": {"x5u": "https://attacker.example/cert.pem"},
		"x5c": {"x5c": []string{"MIIB"}}, "x5c as text": {"x5c": "MIIB"}, "x5t of no type": {"x5t": object{}, "x5t#S256": 1}, "cty": {"cty": "JWT"},
		"zip NONE": {"zip": "NONE"}, "zip of no type": {"zip": []string{"DEF"}}, "names of headers by case": {"JKU": "x", "X5T": "y"},
	} {
		b.accept("header with "+name, "RFC 7515 4", b.headed(header))
	}
	claims := `"iss":"` + b.issuer.URL + `","aud":"` + b.issuer.Audience + `","exp":` + unix(b.now, 1000)
	b.accept("white space in JSON", "RFC 7519 3.1", b.sign(nil, " {\r\n\t"+claims+" }\n"))
	b.accept("escapes in JSON", "RFC 8259 7", b.sign(nil, `{`+claims+`,"sub":"\u0061\/\ud83d\ude00"}`))
	b.accept("long", "IN-21", b.token(object{"filler": make([]int, 3000)}))
}

// goodKeys has a good token for each algorithm.
func goodKeys(b *builder) {
	for _, k := range b.issuer.current {
		b.accept(k.alg, "RFC 7518 3.1", b.signWith(k, nil, b.issuer.claims(nil)))
		b.accept(k.alg+" without kid", "RFC 7515 4.1.4", b.signWith(k, object{"kid": nil}, b.issuer.claims(nil)))
	}
}

// credentials is about the Authorization header.
func credentials(b *builder) {
	t := b.token(nil)
	ok := func(name, line string) {
		b.add(Case{Name: "good/header " + name, Ref: "RFC 9110 11.1", Header: http.Header{"Authorization": {line}}, Status: http.StatusOK})
	}
	ok("lower case", "bearer "+t)
	ok("upper case", "BEARER "+t)
	ok("two spaces", "Bearer  "+t)

	const none, bad = http.StatusUnauthorized, http.StatusBadRequest
	b.header("absent", "RFC 6750 3.1", none, "")
	b.header("empty", "RFC 6750 3.1", none, "", "")
	b.header("Basic", "HT-07", none, "", "Basic YTpi")
	b.header("Basic without credentials", "HT-07", none, "", "Basic")
	b.header("Basic with the token", "HT-07", none, "", "Basic "+t)
	b.header("DPoP", "RFC 9449 7.1", none, "", "DPoP "+t)
	b.header("Token", "HT-07", none, "", "Token "+t)
	b.header("Bearerx", "HT-07", none, "", "Bearerx "+t)
	b.header("x-Bearer", "HT-07", none, "", "x-Bearer "+t)
	b.header("the token alone", "HT-07", none, "", t)
	b.header("Bearer alone", "HT-07", bad, invalidRequest, "Bearer")
	b.header("Bearer and spaces", "HT-07", bad, invalidRequest, "Bearer   ")
	b.header("tab", "RFC 9110 11.4", bad, invalidRequest, "Bearer\t"+t)
	b.header("space and tab", "RFC 9110 11.4", bad, invalidRequest, "Bearer \t"+t)
	b.header("colon", "RFC 6750 2.1", bad, invalidRequest, "Bearer: "+t)
	b.header("equals sign", "RFC 6750 2.1", bad, invalidRequest, "Bearer="+t)
	b.header("quoted", "RFC 6750 2.1", bad, invalidRequest, `Bearer "`+t+`"`)
	b.header("as a parameter", "RFC 6750 2.1", bad, invalidRequest, `Bearer token="`+t+`"`)
	b.header("two tokens", "RFC 6750 3.1", bad, invalidRequest, "Bearer "+t+" "+t)
	b.header("comma-joined", "RFC 6750 3.1", bad, invalidRequest, "Bearer "+t+", Bearer "+t)
	b.header("comma-joined with Basic", "RFC 6750 3.1", bad, invalidRequest, "Bearer "+t+", Basic YTpi")
	b.header("Basic, then comma-joined", "RFC 9110 11.4", none, "", "Basic YTpi, Bearer "+t)
	b.header("two lines", "RFC 6750 3.1", bad, invalidRequest, "Bearer "+t, "Bearer "+t)
	b.header("two lines, Basic first", "RFC 6750 3.1", bad, invalidRequest, "Basic YTpi", "Bearer "+t)
	b.header("two lines, Basic last", "RFC 6750 3.1", bad, invalidRequest, "Bearer "+t, "Basic YTpi")
	for name, c := range map[string]string{
		"NUL": "\x00", "CRLF": "\r\n", "newline": "\n", "space": " ", "non-ASCII": "é", "byte order mark": "\ufeff", "no-break space": "\u00a0",
		"percent": "%2E", "semicolon": ";", "brace": "{", "full-width dot": "．", "zero width": "\u200b", "invalid UTF-8": "\xff", "DEL": "\x7f",
	} {
		b.header(name+" in the token", "RFC 6750 2.1, IN-19", bad, invalidRequest, "Bearer "+t[:20]+c+t[20:])
	}
	for name, body := range map[string]string{
		"flattened": `{"payload":"e30","protected":"eyJhbGciOiJub25lIn0","signature":""}`,
		"general":   `{"payload":"e30","signatures":[{"protected":"eyJhbGciOiJub25lIn0","signature":""}]}`,
		"polyglot":  `{"` + t + `":"","payload":"e30"}`,
	} {
		b.header("JSON serialization, "+name, "RFC 8725bis 3.14, CVE-2022-39227", bad, invalidRequest, "Bearer "+body)
	}
}

// elsewhere puts a good token, or the claim to be a user, where it does not
// count.
func elsewhere(b *builder) {
	t := b.token(nil)
	absent := func(name, ref string, c Case) {
		c.Name, c.Ref, c.Status = "elsewhere/"+name, ref, http.StatusUnauthorized
		b.add(c)
	}
	q := url.Values{"access_token": {t}, "token": {t}, "jwt": {t}, "authorization": {"Bearer " + t}}.Encode()
	absent("query", "CVE-2026-44883, RFC 9700 4.3.2", Case{Query: q})
	absent("form", "HT-02", Case{Form: q})
	for name, h := range map[string]http.Header{
		"cookie":                {"Cookie": {"access_token=" + t + "; token=" + t + "; Authorization=" + t}},
		"Proxy-Authorization":   {"Proxy-Authorization": {"Bearer " + t}},
		"X-Authorization":       {"X-Authorization": {"Bearer " + t}},
		"X-Access-Token":        {"X-Access-Token": {t}},
		"forwarded":             {"X-Forwarded-Authorization": {"Bearer " + t}, "X-Original-Authorization": {"Bearer " + t}},
		"underscore":            {"Authorization_": {"Bearer " + t}, "Http_authorization": {"Bearer " + t}},
		"gateway's identity":    {"X-Forwarded-User": {"admin"}, "X-Auth-Request-User": {"admin"}, "X-Remote-User": {"admin"}, "X-User-Id": {"1"}},
		"gateway's claims":      {"X-Jwt-Claim-Sub": {"admin"}, "X-Goog-Authenticated-User-Email": {"a@b"}, "X-Amzn-Oidc-Data": {t}},
		"gateway's address":     {"X-Original-Url": {"/livez"}, "X-Rewrite-Url": {"/livez"}, "X-Forwarded-Uri": {"/livez"}, "X-Forwarded-Prefix": {"/public"}},
		"method override":       {"X-Http-Method-Override": {"OPTIONS"}},
		"probe of Kubernetes":   {"User-Agent": {"kube-probe/1.30"}},
		"probe of a balancer":   {"User-Agent": {"ELB-HealthChecker/2.0"}},
		"hop-by-hop":            {"Connection": {"Authorization"}},
		"preflight":             {"Access-Control-Request-Method": {"GET"}, "Access-Control-Request-Headers": {"authorization"}, "Origin": {"https://a.example"}},
		"internal address":      {"X-Forwarded-For": {"127.0.0.1"}, "X-Real-Ip": {"127.0.0.1"}},
		"websocket subprotocol": {"Sec-Websocket-Protocol": {"bearer, " + t}},
	} {
		absent(name, "HT-02, HT-03", Case{Header: h})
	}
}
