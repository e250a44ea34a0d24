package jose_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/jose"
)

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestParsePrivateKey(t *testing.T) {
	pkcs1 := block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))
	sec1 := block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(p384)))
	pkcs8RSA := block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(rsaKey)))
	pkcs8EC := block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(p256)))
	pkcs8Ed := block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(ed)))
	params := block("EC PARAMETERS", []byte{6, 5, 0x2b, 0x81, 4, 0, 0x22})
	for name, tc := range map[string]struct {
		text []byte
		want any
	}{
		"PKCS#1":               {pkcs1, rsaKey},
		"SEC1":                 {sec1, p384},
		"SEC1 with parameters": {append(bytes.Clone(params), sec1...), p384},
		"PKCS#8 RSA":           {pkcs8RSA, rsaKey},
		"PKCS#8 EC":            {pkcs8EC, p256},
		"PKCS#8 Ed25519":       {pkcs8Ed, ed},
		"CRLF":                 {bytes.ReplaceAll(pkcs8EC, []byte("\n"), []byte("\r\n")), p256},
		"no last newline":      {bytes.TrimSpace(pkcs8EC), p256},
		"blanks before":        {append([]byte(" \n\t"), pkcs8EC...), p256},
		"byte order mark":      {append([]byte("\ufeff"), pkcs8EC...), p256},
		"text before":          {append([]byte("Key of test\n"), pkcs8EC...), p256},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := jose.ParsePrivateKey(tc.text)
			require.NoError(t, err)
			switch want := tc.want.(type) {
			case *rsa.PrivateKey:
				require.True(t, want.Equal(got))
			case *ecdsa.PrivateKey:
				require.True(t, want.Equal(got))
			default:
				require.Equal(t, want, got)
			}
		})
	}
}

func TestParsePrivateKeyRefuses(t *testing.T) {
	der := must(x509.MarshalPKCS8PrivateKey(p256))
	good := string(block("PRIVATE KEY", der))
	legacy := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte("x"),
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}})
	x25519 := must(x509.MarshalPKCS8PrivateKey(must(ecdh.X25519().GenerateKey(rand.Reader))))
	for name, tc := range map[string]struct{ text, want string }{
		"empty":            {"", "no PEM block"},
		"not PEM":          {"hunter2-secret", "no PEM block"},
		"escaped newlines": {strings.ReplaceAll(good, "\n", `\n`), `written as \n`},
		"public key":       {string(block("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(&p256.PublicKey)))), "only a PUBLIC KEY"},
		"certificate":      {string(block("CERTIFICATE", []byte("x"))), "only a CERTIFICATE"},
		"encrypted PKCS#8": {string(block("ENCRYPTED PRIVATE KEY", []byte("x"))), "encrypted"},
		"encrypted PKCS#1": {string(legacy), "encrypted"},
		"OpenSSH":          {string(block("OPENSSH PRIVATE KEY", []byte("x"))), "OpenSSH"},
		"truncated":        {string(block("PRIVATE KEY", der[:len(der)-7])), "not a valid PKCS#8"},
		"garbage PKCS#1":   {string(block("RSA PRIVATE KEY", []byte("hunter2-secret"))), "not a valid PKCS#1"},
		"garbage SEC1":     {string(block("EC PRIVATE KEY", []byte("hunter2-secret"))), "not a valid SEC1"},
		"wrong label":      {string(block("RSA PRIVATE KEY", der)), "not a valid PKCS#1"},
		"key agreement":    {string(block("PRIVATE KEY", x25519)), "cannot sign"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := jose.ParsePrivateKey([]byte(tc.text))
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestOneOf(t *testing.T) {
	text := block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(p384)))
	var typedNil *rsa.PrivateKey
	signer, err := jose.OneOf(text, typedNil)
	require.NoError(t, err)
	require.True(t, p384.Equal(signer))
	signer, err = jose.OneOf(nil, ed)
	require.NoError(t, err)
	require.Equal(t, ed, signer)
	_, err = jose.OneOf(text, ed)
	require.ErrorContains(t, err, "both")
	for _, none := range []crypto.Signer{nil, typedNil} {
		_, err = jose.OneOf(nil, none)
		require.ErrorContains(t, err, "no private key")
	}
}

func FuzzParsePrivateKey(f *testing.F) {
	f.Add(block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(p256))))
	f.Add(block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(p384))))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----"))
	f.Fuzz(func(t *testing.T, text []byte) {
		signer, err := jose.ParsePrivateKey(text)
		require.False(t, (signer == nil) == (err == nil), "signer %v with error %v", signer != nil, err)
		if err == nil { // whatever parses, NewKey does not crash on
			for alg := range goodPairs {
				_, _ = jose.NewKey(signer, alg, "k")
			}
		}
	})
}
