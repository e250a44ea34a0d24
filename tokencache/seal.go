package tokencache

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
)

// sealer encrypts stored values and names them. Without keys it leaves values
// unchanged, and names are plain digests.
//
// A sealed value is
//
//	"bks" 2 · key id, 4 bytes · record version, 8 bytes · nonce · AES-256-GCM
//
// The additional data are the namespace, the key in the Store and all bytes
// before the nonce. A value that is moved to another key or namespace, or whose
// version is changed, cannot be opened. The version is that of the record and
// is not encrypted, so that the older of two copies of a database can be found
// without the keys. It is not the Store's revision, which changes when a value
// is restored.
//
// Each name has a separate key, derived from the sealing key. Random nonces
// allow 2^32 values under one key, which a large deployment writes in weeks.
type sealer struct {
	namespace string
	nameKey   []byte
	keys      [][]byte // the first one seals, all open
}

const (
	sealMagic  = "bks\x02"
	sealKeyID  = 4
	sealHeader = len(sealMagic) + sealKeyID + 8
	sealKeyLen = 32
)

var (
	errUnsealed  = errors.New("tokencache: the value in the store is not sealed, and SealKeys are set: refused")
	errNoSealKey = errors.New("tokencache: the value in the store is sealed under a key that is not among SealKeys")
	errMoved     = errors.New("tokencache: the sealed value in the store was altered, or belongs to another record")
)

func newSealer(namespace string, nameKey []byte, keys [][]byte) (*sealer, error) {
	var faults []error
	for i, k := range keys {
		if len(k) != sealKeyLen {
			faults = append(faults, fmt.Errorf("tokencache: SealKeys[%d]: must be %d bytes, and is %d", i, sealKeyLen, len(k)))
		}
		if bytes.Equal(k, nameKey) {
			faults = append(faults, fmt.Errorf("tokencache: SealKeys[%d]: is the NameKey too", i))
		}
	}
	switch {
	case len(keys) == 0 && len(nameKey) != 0:
		faults = append(faults, errors.New("tokencache: NameKey: only with SealKeys"))
	case len(keys) != 0 && len(nameKey) != sealKeyLen:
		faults = append(faults, fmt.Errorf("tokencache: NameKey: must be %d bytes with SealKeys, and is %d", sealKeyLen, len(nameKey)))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	s := &sealer{namespace: namespace, nameKey: bytes.Clone(nameKey)}
	for _, k := range keys {
		s.keys = append(s.keys, bytes.Clone(k))
	}
	return s, nil
}

// mac is HMAC-SHA256 over parts, each with its length.
func mac(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	var length [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(length[:], uint64(len(p)))
		_, _ = h.Write(length[:]) // never fails
		_, _ = h.Write([]byte(p))
	}
	return h.Sum(nil)
}

// name returns the key in the Store for the digest k. With a NameKey, names do
// not show whether a guessed subject is among them.
func (s *sealer) name(kind string, k id) string {
	digest := k[:]
	if len(s.keys) > 0 {
		digest = mac(s.nameKey, "name", s.namespace, kind, string(k[:]))
	}
	if kind == "rt" { // there are many of them, and 128 bits are enough
		digest = digest[:16]
	}
	// 2 is the format: values of an earlier release count as absent.
	return kind + "2/" + base64.RawURLEncoding.EncodeToString(digest)
}

// aead returns the cipher of one sealing key for the value named name.
func (s *sealer) aead(key []byte, name string) (cipher.AEAD, error) {
	block, err := aes.NewCipher(mac(key, "seal", s.namespace, name))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func sealKeyOf(key []byte) []byte { return mac(key, "key id")[:sealKeyID] }

// additional returns the data that a sealed value is bound to.
func (s *sealer) additional(name string, header []byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(len(s.namespace)))
	return append(append(append(b, s.namespace...), name...), header...)
}

// seal encrypts the value named name of a record at version.
func (s *sealer) seal(name string, version uint64, val []byte) ([]byte, error) {
	if len(s.keys) == 0 {
		return val, nil
	}
	aead, err := s.aead(s.keys[0], name)
	if err != nil {
		return nil, fmt.Errorf("tokencache: seal: %w", err)
	}
	header := make([]byte, 0, sealHeader+len(val)+aead.Overhead())
	header = append(append(header, sealMagic...), sealKeyOf(s.keys[0])...)
	header = binary.BigEndian.AppendUint64(header, version)
	return aead.Seal(header, nil, val, s.additional(name, header)), nil
}

// open decrypts the value named name. If there are keys, a value that is not
// sealed is refused, because no cache with these keys wrote it.
func (s *sealer) open(name string, val []byte) ([]byte, error) {
	switch {
	case len(s.keys) == 0: // names differ, so no sealed value has this name
		return val, nil
	case len(val) < sealHeader || string(val[:len(sealMagic)]) != sealMagic:
		return nil, errUnsealed
	}
	header := val[:sealHeader]
	known := false
	for _, k := range s.keys {
		if !bytes.Equal(sealKeyOf(k), header[len(sealMagic):len(sealMagic)+sealKeyID]) {
			continue
		}
		known = true
		aead, err := s.aead(k, name)
		if err != nil {
			return nil, fmt.Errorf("tokencache: open: %w", err)
		}
		if plain, err := aead.Open(nil, nil, val[sealHeader:], s.additional(name, header)); err == nil {
			return plain, nil
		}
	}
	if known {
		return nil, errMoved
	}
	return nil, errNoSealKey
}
