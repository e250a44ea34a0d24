package authtest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"hash"
	"math/big"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// confusion has HMACs that use the public keys as secrets.
func confusion(b *builder) {
	claims := b.issuer.claims(nil)
	mac := func(alg string, key []byte, kid any) string {
		head, err := segment(overlay(object{"alg": alg, "typ": "JWT", "kid": kid}, nil))
		b.fail(err)
		body, err := segment(claims)
		b.fail(err)
		h := map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New}[alg]
		m := hmac.New(h, key)
		m.Write([]byte(head + "." + body))
		return head + "." + body + "." + encode(m.Sum(nil))
	}
	for _, k := range b.issuer.current {
		for name, form := range publicForms(b, k) {
			for _, alg := range []string{"HS256", "HS384", "HS512"} {
				b.refuse("confusion/"+alg+", "+k.alg+" key as "+name, "CVE-2016-10555, CVE-2022-29217, CVE-2026-34950, IN-03", mac(alg, form, k.kid))
			}
			b.refuse("confusion/no kid, "+k.alg+" key as "+name, "CVE-2024-33663, IN-03", mac("HS256", form, nil))
		}
	}
	b.refuse("confusion/key set", "IN-03", mac("HS256", b.issuer.JWKS(), b.key.kid))
	for name, key := range map[string]string{
		"empty": "", "NUL": "\x00", "secret": "secret", "null": "null", "undefined": "undefined", "kid": b.key.kid, "iss": b.issuer.URL, "aud": b.issuer.Audience,
		"your-256-bit-secret": "your-256-bit-secret",
	} {
		b.refuse("confusion/weak secret "+name, "CVE-2026-44351, CVE-2026-45363, CVE-2026-49852, F8", mac("HS256", []byte(key), b.key.kid))
	}
}

// publicForms returns k's public key in every form in which it may be stored.
func publicForms(b *builder, k *signingKey) map[string][]byte {
	public := k.private.Public()
	der, err := x509.MarshalPKIXPublicKey(public)
	b.fail(err)
	lf := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	jwk, err := json.Marshal(k.public)
	b.fail(err)
	forms := map[string][]byte{
		"PEM": lf, "PEM with CRLF": bytes.ReplaceAll(lf, []byte("\n"), []byte("\r\n")), "PEM without last newline": bytes.TrimSuffix(lf, []byte("\n")),
		"PEM after a blank": slices.Concat([]byte(" "), lf), "PEM after a newline": slices.Concat([]byte("\n"), lf),
		"DER": der, "base64 of DER": []byte(base64.StdEncoding.EncodeToString(der)), "JWK": jwk, "JWK's x or n": []byte(k.public.X + k.public.N),
	}
	switch p := public.(type) {
	case *rsa.PublicKey:
		pkcs1 := x509.MarshalPKCS1PublicKey(p)
		forms["PKCS#1"] = pkcs1
		forms["PKCS#1 PEM"] = pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1})
		forms["modulus"] = p.N.Bytes()
	case *ecdsa.PublicKey:
		point, err := p.Bytes()
		b.fail(err)
		forms["point"] = point
	case ed25519.PublicKey:
		forms["raw"] = p
	}
	return forms
}

// keySwaps uses keys with an algorithm of other keys.
func keySwaps(b *builder) {
	for _, k := range b.issuer.current {
		for _, alg := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed448", "ES256K"} {
			if alg == k.alg {
				continue
			}
			// If the key cannot sign with alg, it signs with its own algorithm.
			method := jwt.GetSigningMethod(alg)
			for name, kid := range map[string]any{"": k.kid, ", no kid": nil} {
				head, err := segment(overlay(object{"alg": alg, "typ": "JWT", "kid": kid}, nil))
				b.fail(err)
				body, err := segment(b.issuer.claims(nil))
				b.fail(err)
				input := head + "." + body
				token, err := k.seal(input)
				b.fail(err)
				if method != nil && b.keyOf(alg) == nil {
					if sig, err := method.Sign(input, k.private); err == nil {
						token = input + "." + encode(sig)
					}
				}
				b.refuse("swap/"+k.alg+" key as "+alg+name, "RFC 8725bis 3.1, F9, F16, IN-06", token)
			}
		}
		for _, other := range b.issuer.current {
			if other != k {
				b.refuse("swap/kid of "+other.alg+" over "+k.alg, "IN-06", b.signWith(k, object{"kid": other.kid}, b.issuer.claims(nil)))
			}
		}
	}
	if k := b.keyOf("ES256"); k != nil { // 96 bytes, as ES384 expects
		token := b.signWith(k, object{"alg": "ES384"}, b.issuer.claims(nil))
		input := token[:strings.LastIndexByte(token, '.')]
		digest := sha512.Sum384([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, k.private.(*ecdsa.PrivateKey), digest[:])
		b.fail(err)
		b.refuse("swap/P-256 key with 96 bytes of ES384", "F9", input+"."+encode(slices.Concat(r.FillBytes(make([]byte, 48)), s.FillBytes(make([]byte, 48)))))
	}
}

// ecdsaEdges has values of r and s that are not allowed.
func ecdsaEdges(b *builder) {
	k := b.keyOf("ES256")
	if k == nil {
		return
	}
	token := b.signWith(k, nil, b.issuer.claims(nil))
	input := token[:strings.LastIndexByte(token, '.')]
	sig, err := base64.RawURLEncoding.DecodeString(token[len(input)+1:])
	b.fail(err)
	params := k.private.(*ecdsa.PrivateKey).Curve.Params()
	r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
	zero, one := new(big.Int), big.NewInt(1)
	ff := new(big.Int).SetBytes(bytes.Repeat([]byte{0xff}, 32))
	join := func(r, s *big.Int) []byte {
		return slices.Concat(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32)))
	}
	der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	b.fail(err)
	for name, raw := range map[string][]byte{
		"0, 0": join(zero, zero), "0, s": join(zero, s), "r, 0": join(r, zero), "n, n": join(params.N, params.N), "n, s": join(params.N, s), "r, n": join(r, params.N),
		"p, s": join(params.P, s), "0, n": join(zero, params.N), "1, 1": join(one, one), "1, n": join(one, params.N), "ff": join(ff, ff), "n-1, n-1": join(new(big.Int).Sub(params.N, one), new(big.Int).Sub(params.N, one)),
		"swapped": join(s, r), "DER": der, "63 bytes": sig[:63], "65 bytes": slices.Concat(sig, []byte{0}), "leading zero": slices.Concat([]byte{0}, sig),
		"66 bytes": slices.Concat([]byte{0}, sig[:32], []byte{0}, sig[32:]), "32 bytes": sig[:32], "96 bytes": slices.Concat(sig, sig[:32]), "twice": slices.Concat(sig, sig),
	} {
		b.refuse("ecdsa/"+name, "CVE-2022-21449, IN-17", input+"."+encode(raw))
	}
	// Every ECDSA signature has a second form, which is valid too. Nothing may
	// therefore be withdrawn by the bytes of a token (F14).
	b.accept("ES256 with s negated", "F14", input+"."+encode(join(r, new(big.Int).Sub(params.N, s))))
	if k := b.keyOf("EdDSA"); k != nil {
		ed := b.signWith(k, nil, b.issuer.claims(nil))
		input := ed[:strings.LastIndexByte(ed, '.')]
		for name, raw := range map[string][]byte{"zeros": make([]byte, 64), "63 bytes": make([]byte, 63), "ff": bytes.Repeat([]byte{0xff}, 64)} {
			b.refuse("eddsa/"+name, "RFC 8032 5.1.7", input+"."+encode(raw))
		}
	}
}

// rsaEdges has signatures of the wrong size or scheme.
func rsaEdges(b *builder) {
	k := b.keyOf("RS256")
	if k == nil {
		return
	}
	private := k.private.(*rsa.PrivateKey)
	token := b.signWith(k, nil, b.issuer.claims(nil))
	input := token[:strings.LastIndexByte(token, '.')]
	sig, err := base64.RawURLEncoding.DecodeString(token[len(input)+1:])
	b.fail(err)
	plusN := new(big.Int).Add(new(big.Int).SetBytes(sig), private.N).Bytes()
	digest := sha256.Sum256([]byte(input))
	pss, err := rsa.SignPSS(rand.Reader, private, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	b.fail(err)
	for name, raw := range map[string][]byte{
		"zeros": make([]byte, len(sig)), "one": append(make([]byte, len(sig)-1), 1), "zero byte before": slices.Concat([]byte{0}, sig), "zero byte behind": slices.Concat(sig, []byte{0}),
		"byte short": sig[1:], "byte short at the end": sig[:len(sig)-1], "plus modulus": plusN, "modulus": private.N.Bytes(), "PSS": pss, "one byte": {1},
	} {
		b.refuse("rsa/"+name, "RFC 8017 8.2.2, IN-18", input+"."+encode(raw))
	}
	if p := b.keyOf("PS256"); p != nil {
		token := b.signWith(p, nil, b.issuer.claims(nil))
		input := token[:strings.LastIndexByte(token, '.')]
		digest := sha256.Sum256([]byte(input))
		for name, salt := range map[string]int{"salt of 20 bytes": 20, "longest salt": rsa.PSSSaltLengthAuto} {
			sig, err := rsa.SignPSS(rand.Reader, p.private.(*rsa.PrivateKey), crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: salt})
			b.fail(err)
			b.refuse("pss/"+name, "RFC 7518 3.5, F11", input+"."+encode(sig))
		}
	}
}

// rsaPaddings has PKCS #1 v1.5 paddings that a lax parser accepts. They are
// made with the private key.
func rsaPaddings(b *builder) {
	k := b.keyOf("RS256")
	if k == nil {
		return
	}
	private := k.private.(*rsa.PrivateKey)
	token := b.signWith(k, nil, b.issuer.claims(nil))
	input := token[:strings.LastIndexByte(token, '.')]
	digest := sha256.Sum256([]byte(input))
	info := slices.Concat([]byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}, digest[:])
	noNull := slices.Concat([]byte{0x30, 0x2f, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x04, 0x20}, digest[:])
	size := private.Size()
	pad := func(start []byte, fill byte, end []byte) []byte {
		em := bytes.Repeat([]byte{fill}, size)
		copy(em, start)
		copy(em[size-len(end):], end)
		return em
	}
	sep := slices.Concat([]byte{0}, info)
	for name, em := range map[string][]byte{
		"block type 2": pad([]byte{0, 2}, 0xff, sep), "block type 0": pad([]byte{0, 0}, 0, sep), "first byte": pad([]byte{1, 1}, 0xff, sep), "no separator": pad([]byte{0, 1}, 0xff, info),
		"zeros for padding": pad([]byte{0, 1, 0xff}, 0, sep), "padding of 7f": pad([]byte{0, 1}, 0x7f, sep), "no NULL": pad([]byte{0, 1}, 0xff, slices.Concat([]byte{0}, noNull)),
		"bare digest":           pad([]byte{0, 1}, 0xff, slices.Concat([]byte{0}, digest[:])),
		"SHA-1's OID":           pad([]byte{0, 1}, 0xff, slices.Concat([]byte{0, 0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14}, digest[:20])),
		"garbage behind":        slices.Concat([]byte{0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0}, info, make([]byte, size-11-len(info))),
		"garbage in DigestInfo": pad([]byte{0, 1}, 0xff, slices.Concat([]byte{0, 0x30, 0x35, 0x30, 0x11, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x04, 0x04, 1, 2, 3, 4, 0x04, 0x20}, digest[:])),
	} {
		m := new(big.Int).SetBytes(em)
		sig := m.Exp(m, private.D, private.N).FillBytes(make([]byte, size))
		b.refuse("padding/"+name, "RFC 8017 9.2, IN-18", input+"."+encode(sig))
	}
}
