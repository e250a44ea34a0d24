package authtest

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// audiences has values of aud that are not the audience.
func audiences(b *builder) {
	aud := b.issuer.Audience
	for name, v := range map[string]any{
		"other": "https://other.example", "empty": "", "empty array": []string{}, "array of empty": []string{""}, "number": 1, "true": true, "object": object{aud: true},
		"array of numbers": []int{1}, "array with a number": []any{aud, 1}, "array with null": []any{aud, nil}, "nested array": []any{[]string{aud}},
		"others": []string{"https://other.example", "x"}, "prefix": aud[:len(aud)-1], "suffix": aud + "x", "slash": aud + "/", "upper case": strings.ToUpper(aud),
		"space": aud + " ", "joined": aud + "," + aud, "joined by space": "x " + aud, "NUL": aud + "\x00", "NUL first": "\x00" + aud, "wildcard": "*", "null text": "null",
		"JSON in text": `["` + aud + `"]`,
	} {
		b.refuse("aud/"+name, "CVE-2020-26160, CVE-2024-5798, CVE-2026-55669, IN-12", b.token(object{"aud": v}))
	}
	b.refuse("aud/absent", "CVE-2026-55689, IN-12", b.token(object{"aud": nil}))
	b.refuse("aud/null", "CVE-2020-26160", b.with(`"aud":null`, "aud"))
}

// issuers has values of iss that are not the issuer.
func issuers(b *builder) {
	iss := b.issuer.URL
	for name, v := range map[string]any{
		"other": "https://other.example", "empty": "", "number": 1, "array": []string{iss}, "object": object{"iss": iss}, "true": true, "slash": iss + "/",
		"upper case": strings.ToUpper(iss), "prefix": iss[:len(iss)-1], "suffix": iss + ".attacker.example", "http": strings.Replace(iss, "https:", "http:", 1) + "#",
		"userinfo": strings.Replace(iss, "://", "://attacker@", 1), "NUL": iss + "\x00", "space": " " + iss, "newline": iss + "\n", "path": iss + "/../",
		"homoglyph": strings.Replace(iss, "e", "е", 1), "full width": strings.Replace(iss, "e", "ｅ", 1), "fragment": iss + "#", "null text": "null",
		"joined": iss + " " + iss,
	} {
		if v == iss {
			continue // no letter to replace
		}
		b.refuse("iss/"+name, "CVE-2024-5037, CVE-2025-30144, IN-13", b.token(object{"iss": v}))
	}
	b.refuse("iss/absent", "IN-13", b.token(object{"iss": nil}))
	b.refuse("iss/null", "IN-13", b.with(`"iss":null`, "iss"))
}

// with signs good claims without some, and with members given as text.
func (b *builder) with(members string, without ...string) string {
	claims := b.issuer.claims(nil)
	for _, name := range without {
		delete(claims, name)
	}
	body, err := json.Marshal(claims)
	b.fail(err)
	return b.sign(nil, strings.TrimSuffix(string(body), "}")+","+members+"}")
}

// dates has every bad type and extreme of exp, nbf and iat.
func dates(b *builder) {
	now := b.now.Unix()
	past, future := unix(b.now, -7200), unix(b.now, 7200)
	bad := []string{
		`"` + future + `"`, `""`, `"never"`, `"Infinity"`, `"2099-01-01T00:00:00Z"`, "null", "true", "false", "[]", "{}", "[" + future + "]", `{"$date":` + future + `}`,
		"-1", "-0", "-1e300", "1e300", "1e309", "9.3e18", fmt.Sprint(int64(math.MaxInt64)), "9223372036854775808", "18446744073709551616", "253402300800", "1e20",
	}
	for _, v := range append(bad, "0", past, "1e-300", past+".5") {
		b.refuse("exp/"+v, "F2, F3, F6, GO-2026-5732, CVE-2026-9097, IN-14", b.with(`"exp":`+v, "exp"))
	}
	b.refuse("exp/absent", "F3, IN-14", b.token(object{"exp": nil}))
	b.refuse("exp/milliseconds", "IN-14", b.token(object{"exp": now * 1000}))
	for _, v := range append(bad, future) {
		b.refuse("nbf/"+v, "F2, IN-14", b.with(`"nbf":`+v))
		b.refuse("iat/"+v, "F2, IN-14", b.with(`"iat":`+v, "iat"))
	}
	t := b.token(object{"exp": now - 7200})
	b.refuse("exp/past", "RFC 7519 4.1.4", t)
	forged := flip(t)
	b.refuse("exp/past and forged", "CVE-2024-51744, F15, IN-26", forged)
	b.never("expired")
	b.refuse("exp/past and another audience", "pitfall 6", b.token(object{"exp": now - 7200, "aud": "other"}))
	b.never("expired")
}

// names has ambiguous claims sets under a good signature.
func names(b *builder) {
	iss, aud := b.issuer.URL, b.issuer.Audience
	for name, members := range map[string]string{
		"sub twice": `"sub":"admin"`, "iss twice": `"iss":"` + iss + `"`, "exp twice": `"exp":9999999999`, "aud twice": `"aud":"` + aud + `"`,
		"escaped sub": `"\u0073ub":"admin"`, "SUB": `"SUB":"admin"`, "Sub": `"Sub":"admin"`, "Iss": `"Iss":"x"`, "EXP": `"EXP":9999999999`, "Aud": `"Aud":"x"`,
		"long s": `"iſs":"x"`, "long s in sub": `"ſub":"admin"`, "Cyrillic": `"ѕub":"admin"`, "full width": `"ｓｕｂ":"admin"`, "zero width": "\"su\u200bb\":\"admin\"",
		"combining": "\"sub\u0301\":\"admin\"", "mathematical": "\"\U0001d42c\U0001d42e\U0001d41b\":\"admin\"",
		"Scope": `"Scope":"admin"`, "Scp": `"SCP":["admin"]`, "Client_Id": `"Client_Id":"x"`,
		"Tid": `"Tid":"x"`, "AZP": `"AZP":"x"`, "Token_Use": `"Token_Use":"access"`, "Typ": `"Typ":"Bearer"`, "Auth_Time": `"Auth_Time":1`, "Events": `"Events":{}`,
		"role twice": `"role":"user","role":"admin"`, "escaped role twice": `"role":"user","r\u006fle":"admin"`, "nested": `"realm":{"roles":["user"],"roles":["admin"]}`,
		"empty name twice": `"":1,"":2`,
	} {
		b.refuse("names/"+name, "F5, F13, CVE-2026-23990, IN-15", b.with(members))
	}
	for _, name := range []string{"iss", "aud", "exp"} {
		over := object{name: nil, strings.ToUpper(name): b.issuer.claims(nil)[name]}
		b.refuse("names/"+strings.ToUpper(name)+" instead", "F5", b.token(over))
	}
	b.refuse("names/iſs instead", "F5", b.token(object{"iss": nil, "iſs": iss}))
	for name, v := range map[string]any{"number": 1, "array": []string{"ada"}, "object": object{"id": 1}, "true": true} {
		b.refuse("sub/"+name, "RFC 7519 4.1.2", b.token(object{"sub": v}))
		b.refuse("jti/"+name, "RFC 7519 4.1.7", b.token(object{"jti": v}))
	}
	b.refuse("sub/null", "CVE-2026-41571", b.with(`"sub":null`, "sub"))
	for _, name := range []string{"sub", "jti", "iss", "aud", "scope", "scp", "acr"} {
		b.refuse("names/half surrogate in "+name, "RFC 8259 8.2", b.with(`"`+name+`":"a\ud800"`, name))
		b.refuse("names/other half surrogate in "+name, "RFC 8259 8.2", b.with(`"`+name+`":"\udc00a"`, name))
	}
	for _, name := range []string{"aud", "scope", "scp"} {
		b.refuse("names/half surrogate in an array of "+name, "RFC 8259 8.2", b.with(`"`+name+`":["`+aud+`","\ud800"]`, name))
	}
	for name, v := range map[string]any{"number": 1, "object": object{"a": 1}, "array of numbers": []int{1}, "true": true} {
		b.refuse("scope/"+name, "RFC 8693 4.2", b.token(object{"scope": v}))
	}
}
