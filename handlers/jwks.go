package handlers

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/internal/wire"
)

// JWKS returns the handler that publishes the public keys of source (RFC 7517),
// such as a redox provider. The document may change; every change is checked. A
// document with a symmetric key or a private part is an error of the
// constructor. Later such a document is logged and not published, and the last
// good one stays. Answers have an ETag and may be stored for five minutes. log
// may be nil.
func JWKS(source interface{ JWKS() []byte }, log *slog.Logger) (http.Handler, error) {
	if source == nil {
		return nil, errors.New("handlers: jwks: source: required")
	}
	s := &keySet{source: source, reporter: reporter{log: logger(log), op: "jwks", allow: "GET, HEAD"}}
	doc := source.JWKS()
	if err := checkKeys(doc); err != nil {
		return nil, fmt.Errorf("handlers: jwks: %w", err)
	}
	s.last.Store(newDocument(doc))
	return s, nil
}

type keySet struct {
	reporter
	source interface{ JWKS() []byte }
	last   atomic.Pointer[document]
}

type document struct {
	body []byte
	etag string
}

func newDocument(b []byte) *document {
	sum := sha256.Sum256(b)
	return &document{body: bytes.Clone(b), etag: `"` + hex.EncodeToString(sum[:16]) + `"`}
}

func (s *keySet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.fail(w, r, refuse(codeMethod, ""))
		return
	}
	doc := s.last.Load()
	if now := s.source.JWKS(); !bytes.Equal(now, doc.body) {
		if err := checkKeys(now); err != nil {
			s.told(r, err)
		} else {
			doc = newDocument(now)
			s.last.Store(doc)
		}
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("ETag", doc.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(doc.body))
}

// told logs once a minute that the source's document is refused.
func (s *keySet) told(r *http.Request, err error) {
	if s.rare.Allow("document", time.Now()) {
		s.log.LogAttrs(r.Context(), slog.LevelError, "handlers: jwks: the new key set is refused, and the last one stays published",
			slog.String("cause", err.Error()), slog.String("do", "look at the keys that the provider publishes: those that verify its signatures may be missing"))
	}
}

// private are the members of RFC 7518 section 6 that must not be published.
var private = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

func checkKeys(doc []byte) error {
	set, err := wire.Parse(doc) // not into a struct, because its tags match in any case
	var keys []map[string]any
	if err != nil || json.Unmarshal(set["keys"], &keys) != nil || len(keys) == 0 {
		return errors.New("not a key set with a key in it")
	}
	for i, key := range keys {
		switch key["kty"] {
		case "RSA", "EC", "OKP":
		default:
			return fmt.Errorf("key %d: not a public key type", i)
		}
		for name := range key {
			for _, p := range private {
				if strings.EqualFold(name, p) {
					return fmt.Errorf("key %d: has a private part", i)
				}
			}
		}
	}
	return nil
}
