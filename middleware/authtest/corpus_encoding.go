package authtest

import (
	"encoding/json"
	"fmt"
	"strings"
)

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// encodings has spellings of a good token that are not base64url.
func encodings(b *builder) {
	t := b.token(object{"sub": "ada lovelace"})
	header, payload, signature := cut(t)
	for i, name := range []string{"header", "payload", "signature"} {
		part := []string{header, payload, signature}
		at := func(s string) string {
			p := append([]string{}, part...)
			p[i] = s
			return strings.Join(p, ".")
		}
		s := part[i]
		b.refuse("base64/dot behind the "+name, "IN-19", at(s+"."))
		b.refuse("base64/tilde in the "+name, "RFC 4648 5", at(s[:4]+"~"+s[5:]))
		b.refuse("base64/plus in the "+name, "RFC 4648 5", at(s[:4]+"+"+s[5:]))
		b.refuse("base64/slash in the "+name, "RFC 4648 5", at(s[:4]+"/"+s[5:]))
		b.refuse("base64/length 1 mod 4 in the "+name, "RFC 4648 4", at(s+strings.Repeat("A", (5-len(s)%4)%4)))
		if len(s)%4 != 0 { // the last character has bits to spare
			last := strings.IndexByte(alphabet, s[len(s)-1])
			b.refuse("base64/trailing bits in the "+name, "RFC 4648 3.5, golang-jwt#259", at(s[:len(s)-1]+string(alphabet[last|1])))
		}
	}
	b.refuse("base64/padding", "RFC 7515 2, F12", t+strings.Repeat("=", (4-len(signature)%4)%4+1))
	b.refuse("base64/padding of four", "RFC 7515 2", t+"====")
	b.header("padding inside", "RFC 6750 2.1", 400, invalidRequest, "Bearer "+header+"=."+payload+"."+signature)
}

// segments has tokens with a wrong number of segments.
func segments(b *builder) {
	header, payload, signature := cut(b.token(nil))
	none, err := json.Marshal(object{"alg": "none"})
	b.fail(err)
	for name, t := range map[string]string{
		"one": header, "two": header + "." + payload, "two and a dot": header + "." + payload + ".", "four": header + "." + payload + "." + signature + "." + signature,
		"four, last empty": header + "." + payload + "." + signature + ".", "five": header + "." + payload + "." + signature + "." + payload + "." + signature,
		"dots alone": "..", "one dot": ".", "three dots": "...", "four dots": "....", "no header": "." + payload + "." + signature, "no payload": header + ".." + signature,
		"header alone and dots": header + "..", "signature alone": ".." + signature, "payload first": payload + "." + header + "." + signature,
		"none and dots": encode(none) + "..", "16,000 dots": strings.Repeat(".", 16000), "100,000 dots": strings.Repeat(".", 1e5), "900,000 dots": strings.Repeat(".", 9e5),
		"token and dots": header + "." + payload + "." + signature + strings.Repeat(".", 10000), "letters": "abc", "null": "null", "undefined": "undefined", "JWE": jwe, "UUID": "bbf18f21-3d0d-4a4c-b650-9c14d4075ce0",
	} {
		b.refuse("segments/"+name, "CVE-2020-28042, CVE-2025-30204, CVE-2025-27144, CVE-2026-34986, IN-02, IN-20, IN-22", t)
	}
}

// jwe is an encrypted token in the shape of RFC 7516.
const jwe = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA"

// shapes has headers and payloads that are not the right JSON, under a good
// signature.
func shapes(b *builder) {
	claims, err := json.Marshal(b.issuer.claims(nil))
	b.fail(err)
	c, h := string(claims), `{"alg":"`+b.key.alg+`","kid":"`+b.key.kid+`"}`
	open := strings.TrimSuffix(c, "}")
	for name, payload := range map[string]string{
		"empty": "", "null": "null", "true": "true", "number": "1", "text": `"x"`, "array": "[]", "array of claims": "[" + c + "]", "empty object": "{}",
		"two objects": c + `{"sub":"admin"}`, "two objects, newline": c + "\n" + c, "garbage behind": c + "x", "NUL behind": c + "\x00", "brace behind": c + "}",
		"truncated": open, "comma at the end": open + ",}", "comment": open + "/**/}", "byte order mark": "\ufeff" + c, "UTF-16": "{\x00}\x00",
		"invalid UTF-8": open + ",\"x\":\"\xff\"}", "invalid UTF-8 in a name": open + ",\"\xff\":1}", "half surrogate in a nested name": open + `,"x":{"\ud800":1}}`, "half surrogate in a name": open + `,"\udc00":1}`,
		"NaN": open + `,"x":NaN}`, "Infinity": open + `,"x":Infinity}`, "leading zero": open + `,"x":01}`, "plus": open + `,"x":+1}`, "hex": open + `,"x":0x1}`,
		"single quotes": open + `,'x':1}`, "bare name": open + `,x:1}`, "control character": open + ",\"x\":\"\x01\"}", "bad escape": open + `,"x":"\x41"}`,
		"deep arrays": open + `,"x":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + "}", "deep objects": open + `,"x":` + strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000) + "}",
		"open arrays": open + `,"x":` + strings.Repeat("[", 5000), "a token": b.token(nil), "1,000 members": open + members(1000) + "}",
	} {
		b.refuse("payload/"+name, "CVE-2024-21664, CVE-2020-26521, CVE-2026-42576, F4, F7, IN-25", b.text(h, payload))
	}
	head := strings.TrimSuffix(h, "}")
	for name, header := range map[string]string{
		"empty": "", "null": "null", "text": `"x"`, "array": "[]", "number": "1", "empty object": "{}", "two objects": h + h, "garbage behind": h + "x", "truncated": head,
		"comment": head + "/**/}", "byte order mark": "\ufeff" + h, "alg twice": head + `,"alg":"none"}`, "alg twice, none first": `{"alg":"none",` + head[1:] + "}",
		"Alg": head + `,"Alg":"none"}`, "aſg": strings.Replace(h, `"alg"`, `"aIg"`, 1), "ALG alone": strings.Replace(h, `"alg"`, `"ALG"`, 1), "KID": head + `,"KID":"x"}`,
		"Crit": head + `,"Crit":["x"]}`, "escaped alg twice": head + `,"\u0061lg":"none"}`, "deep": head + `,"x":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + "}",
		"invalid UTF-8": head + ",\"x\":\"\xff\"}", "1,000 members": head + members(1000) + "}",
	} {
		b.refuse("header JSON/"+name, "RFC 7515 4, F13, IN-25", b.text(header, c))
	}
}

func members(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, `,"%x":1`, i)
	}
	return s.String()
}

// sizes has tokens beyond 16 KiB.
func sizes(b *builder) {
	for name, n := range map[string]int{"17 KiB": 17 << 10, "64 KiB": 64 << 10, "1 MiB": 1 << 20} {
		filler := strings.Repeat("x", n*3/4)
		b.refuse("size/"+name, "CVE-2025-61920, IN-21", b.token(object{"x": filler}))
		b.refuse("size/header of "+name, "CVE-2025-61920, IN-21", b.headed(object{"x": filler}))
		b.refuse("size/letters, "+name, "CVE-2025-53864, IN-21", strings.Repeat("a", n))
	}
}

// tampering changes good tokens.
func tampering(b *builder) {
	t := b.token(nil)
	header, payload, signature := cut(t)
	evil, err := segment(b.issuer.claims(object{"sub": "admin"}))
	b.fail(err)
	_, _, other := cut(b.token(object{"sub": "eve"}))
	b.refuse("tampered/payload", "RFC 7515 5.2", header+"."+evil+"."+signature)
	b.refuse("tampered/signature of another token", "RFC 7515 5.2", header+"."+payload+"."+other)
	b.refuse("tampered/signature flipped", "RFC 7515 5.2", flip(t))
	b.refuse("tampered/signature cut", "RFC 7515 5.2", t[:len(t)-8])
	b.refuse("tampered/signature doubled", "RFC 7515 5.2", t+signature)
	b.refuse("tampered/signature is the payload", "RFC 7515 5.2", header+"."+payload+"."+payload)
	again, err := segment(overlay(object{"alg": b.key.alg, "typ": "JWT", "kid": b.key.kid, "x": 1}, nil))
	b.fail(err)
	b.refuse("tampered/header", "RFC 7515 5.2", again+"."+payload+"."+signature)
	b.refuse("tampered/no signature", "CVE-2020-28042, IN-02", header+"."+payload+".")
}

// flip changes a character in the middle of the signature.
func flip(token string) string {
	at := len(token) - 20
	c := byte('A')
	if token[at] == c {
		c = 'B'
	}
	return token[:at] + string(c) + token[at+1:]
}
