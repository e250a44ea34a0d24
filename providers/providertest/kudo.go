package providertest

import (
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/bearerkit/bearerkit/internal/wire"
)

// KudoConfig configures [NewKudo].
type KudoConfig struct {
	// AccessKey is the partner's key. Required.
	AccessKey string
}

type kudo struct {
	*Fake
	key string
}

// NewKudo returns a fake of the token service of Graebert's ARES Kudo:
//
//	POST /generate
//	GET  /verify
//
// /generate takes a flat JSON object of editor parameters. It answers a token
// (a UUID) and expiration_time in Unix seconds, an hour ahead. /verify takes
// that token in x-api-token and answers its parameters. A wrong access key or
// token is a 403 with the body { Wrong token }, which is not JSON. A new token
// does not end earlier ones.
func NewKudo(cfg KudoConfig) (*Fake, error) {
	if cfg.AccessKey == "" {
		return nil, errors.New("providertest: KudoConfig.AccessKey is required")
	}
	v := &kudo{Fake: newFake(time.Hour, 0), key: cfg.AccessKey}
	v.handle("POST /generate", generates, v.generate)
	v.handle("GET /verify", verifies, v.verify)
	return v.Fake, nil
}

func wrongToken(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusForbidden)
	_, _ = w.Write([]byte("{ Wrong token }"))
}

func (v *kudo) generate(w http.ResponseWriter, r *http.Request) {
	var params map[string]any
	switch wellFormed := jsonObject(r, &params) && params != nil; {
	case r.Header.Get("X-Api-Key") != v.key:
		v.set(func() { v.stats.Refused++ })
		wrongToken(w)
		return
	case !wellFormed:
		v.set(func() { v.stats.Refused++ })
		answer(w, http.StatusBadRequest, object{"message": "Bad request"})
		return
	}
	g := &grant{access: wire.NewUUID(), params: maps.Clone(params)}
	v.set(func() {
		now := v.now()
		g.accessEnds = now.Add(v.lifetime.access)
		v.book.add(g, now)
		v.stats.Issued++
	})
	answer(w, http.StatusOK, object{"token": g.access, "expiration_time": g.accessEnds.Unix()})
}

func (v *kudo) verify(w http.ResponseWriter, r *http.Request) {
	var g *grant
	v.set(func() {
		if g = v.book.live(r.Header.Get("X-Api-Token"), v.now()); g == nil {
			v.stats.Unauthorized++
		}
	})
	if g == nil {
		wrongToken(w)
		return
	}
	answer(w, http.StatusOK, g.params)
}
