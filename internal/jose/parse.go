package jose

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"reflect"
)

// OneOf returns the key of a configuration, which holds it as PEM text, see
// [ParsePrivateKey], or as signer. A nil pointer counts as no signer.
func OneOf(text []byte, signer crypto.Signer) (crypto.Signer, error) {
	v := reflect.ValueOf(signer)
	none := !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
	switch {
	case len(text) > 0 && !none:
		return nil, errors.New("jose: the private key is given both as PEM and as a crypto.Signer")
	case len(text) > 0:
		return ParsePrivateKey(text)
	case none:
		return nil, errors.New("jose: no private key")
	}
	return signer, nil
}

// ParsePrivateKey reads the first private key in PEM text: PKCS#1, PKCS#8 or
// SEC1, unencrypted. Other blocks before it, such as EC PARAMETERS or a
// certificate, are passed over. Errors say what was found instead and never
// quote the text.
func ParsePrivateKey(text []byte) (crypto.Signer, error) {
	seen := ""
	rest := bytes.TrimPrefix(bytes.TrimSpace(text), []byte("\ufeff"))
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Headers["DEK-Info"] != "" {
			return nil, errEncrypted
		}
		switch block.Type {
		case "PRIVATE KEY":
			return signerOf("PKCS#8", block.Bytes, x509.ParsePKCS8PrivateKey)
		case "RSA PRIVATE KEY":
			return signerOf("PKCS#1", block.Bytes, func(b []byte) (any, error) { return x509.ParsePKCS1PrivateKey(b) })
		case "EC PRIVATE KEY":
			return signerOf("SEC1", block.Bytes, func(b []byte) (any, error) { return x509.ParseECPrivateKey(b) })
		case "ENCRYPTED PRIVATE KEY":
			return nil, errEncrypted
		case "OPENSSH PRIVATE KEY":
			return nil, errors.New("jose: private key is in OpenSSH's own format; convert it to PKCS#8")
		case "PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE":
			seen = block.Type
		}
	}
	if seen != "" {
		return nil, fmt.Errorf("jose: no private key, only a %s", seen)
	}
	if bytes.Contains(text, []byte(`\n`)) {
		return nil, errors.New(`jose: no PEM block; the line breaks are written as \n`)
	}
	return nil, errors.New("jose: no PEM block with a private key")
}

var errEncrypted = errors.New("jose: private key is encrypted; decrypt it first")

func signerOf(form string, der []byte, parse func([]byte) (any, error)) (crypto.Signer, error) {
	key, err := parse(der)
	if err != nil { // x509's text is about bytes of the key
		return nil, fmt.Errorf("jose: not a valid %s private key", form)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("jose: a key of type %T cannot sign", key)
	}
	return signer, nil
}
