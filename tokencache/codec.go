package tokencache

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// wireRecord is a record at rest. Times are Unix milliseconds, but those of a
// token, which keep their resolution.
type wireRecord struct {
	Format  int         `json:"f"`
	Nonce   string      `json:"n"`
	Version uint64      `json:"v"`
	Gen     uint64      `json:"g,omitempty"`
	Fence   uint64      `json:"fence,omitempty"`
	Forced  int64       `json:"forced,omitempty"`
	Token   *wireToken  `json:"token,omitempty"`
	Spent   []wireSpent `json:"spent,omitempty"`
	Fail    *wireFail   `json:"fail,omitempty"`
	Intent  *wireIntent `json:"intent,omitempty"`
}

type wireToken struct {
	AccessToken   string         `json:"at"`
	TokenType     string         `json:"type"`
	RefreshToken  string         `json:"rt,omitempty"`
	Expiry        time.Time      `json:"exp"`
	RefreshExpiry time.Time      `json:"rexp,omitzero"`
	IssuedAt      time.Time      `json:"iat"`
	Scopes        []string       `json:"scopes,omitempty"`
	Extra         map[string]any `json:"extra,omitempty"`
	Version       uint64         `json:"v"`
}

type wireSpent struct {
	RT []byte `json:"rt"`
	At int64  `json:"at"`
}

type wireFail struct {
	Code   providers.Code  `json:"code"`
	Class  providers.Class `json:"class"`
	Op     string          `json:"op,omitempty"`
	Status int             `json:"status,omitempty"`
	N      int             `json:"n"`
	At     int64           `json:"at"`
	Wait   int64           `json:"wait"`
}

type wireIntent struct {
	Owner string `json:"owner"`
	At    int64  `json:"at"`
	Ended bool   `json:"ended,omitempty"`
}

const format = 1

var errFormat = errors.New("tokencache: the record in the store is not one of ours")

// encode writes r; nonce tells this write from all others.
func encode(r *record, nonce string) ([]byte, error) {
	w := wireRecord{Format: format, Nonce: nonce, Version: r.version, Gen: r.gen, Fence: r.fence}
	if !r.forced.IsZero() {
		w.Forced = r.forced.UnixMilli()
	}
	if t := r.token; t.AccessToken != "" || t.RefreshToken != "" {
		w.Token = &wireToken{t.AccessToken, t.TokenType, t.RefreshToken, t.Expiry, t.RefreshExpiry, t.IssuedAt, t.Scopes, t.Extra, t.Version}
	}
	for _, s := range r.spent {
		w.Spent = append(w.Spent, wireSpent{s.rt[:], s.at.UnixMilli()})
	}
	if f := r.fail; f != nil {
		w.Fail = &wireFail{f.err.Code, f.err.Class, f.err.Op, f.err.Status, f.n, f.at.UnixMilli(), f.wait.Milliseconds()}
	}
	if i := r.intent; i != nil {
		w.Intent = &wireIntent{i.owner, i.at.UnixMilli(), i.ended}
	}
	b, err := json.Marshal(w)
	if err != nil && w.Token != nil { // Extra breaks the contract; a grant is worth more
		w.Token.Extra = nil
		b, err = json.Marshal(w)
	}
	return b, err
}

func decode(b []byte) (r record, nonce string, err error) {
	var w wireRecord
	if json.Unmarshal(b, &w) != nil || w.Format != format { // a json error may quote the record
		return r, "", errFormat
	}
	r.version, r.gen, r.fence = w.Version, w.Gen, w.Fence
	if w.Forced != 0 {
		r.forced = time.UnixMilli(w.Forced)
	}
	if t := w.Token; t != nil {
		r.token = providers.Token(*t)
	}
	for _, s := range w.Spent {
		if len(s.RT) != len(id{}) {
			return record{}, "", errFormat
		}
		r.spent = append(r.spent, spent{id(s.RT), time.UnixMilli(s.At)})
	}
	if f := w.Fail; f != nil {
		e := &providers.Error{Code: f.Code, Class: f.Class, Op: f.Op, Status: f.Status}
		r.fail = &failure{err: e, n: f.N, at: time.UnixMilli(f.At), wait: time.Duration(f.Wait) * time.Millisecond}
	}
	if i := w.Intent; i != nil {
		r.intent = &intent{i.Owner, time.UnixMilli(i.At), i.Ended}
	}
	return r, w.Nonce, nil
}

// A ref at rest is a byte of flags, the record's id and the tenant.
const (
	flagAnon = 1 << iota
	flagClaimed
	flagDead
)

func (r ref) encode() []byte {
	var flags byte
	if r.anon {
		flags |= flagAnon
	}
	if r.claimed {
		flags |= flagClaimed
	}
	if r.dead {
		flags |= flagDead
	}
	return append(append([]byte{flags}, r.id[:]...), r.tenant...)
}

func decodeRef(b []byte) (ref, error) {
	if len(b) < 1+len(id{}) {
		return ref{}, errFormat
	}
	return ref{
		id: id(b[1 : 1+len(id{})]), tenant: string(b[1+len(id{}):]),
		anon: b[0]&flagAnon != 0, claimed: b[0]&flagClaimed != 0, dead: b[0]&flagDead != 0,
	}, nil
}
