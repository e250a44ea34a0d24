package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// stored is the stored form of a record. Times are Unix milliseconds, except
// for those of a token, which keep their resolution.
type stored struct {
	Format   int            `json:"f"`
	Nonce    string         `json:"n"`
	Version  uint64         `json:"v"`
	Purges   uint64         `json:"g,omitempty"`
	Fence    uint64         `json:"fence,omitempty"`
	Forced   int64          `json:"forced,omitempty"`
	Salvages int            `json:"salvages,omitempty"`
	Brought  bool           `json:"brought,omitempty"`
	Bound    bool           `json:"bound,omitempty"`
	Ends     int64          `json:"ends,omitempty"`
	Ended    []byte         `json:"ended,omitempty"` // digests in a row
	Tenant   string         `json:"tenant,omitempty"`
	Anon     bool           `json:"anon,omitempty"`
	Token    *storedToken   `json:"token,omitempty"`
	Spent    []byte         `json:"spent,omitempty"` // see appendSpent
	Failure  *storedFailure `json:"fail,omitempty"`
	Intent   *storedIntent  `json:"intent,omitempty"`
}

type storedToken struct {
	AccessToken   string         `json:"at"`
	TokenType     string         `json:"type"`
	RefreshToken  string         `json:"rt,omitempty"`
	Expiry        time.Time      `json:"exp,omitzero"`
	RefreshExpiry time.Time      `json:"rexp,omitzero"`
	IssuedAt      time.Time      `json:"iat"`
	Scopes        []string       `json:"scopes,omitempty"`
	Extra         map[string]any `json:"extra,omitempty"`
	Version       uint64         `json:"v"`
}

type storedFailure struct {
	Code        providers.Code  `json:"code"`
	Class       providers.Class `json:"class"`
	Description string          `json:"text,omitempty"`
	Op          string          `json:"op,omitempty"`
	Status      int             `json:"status,omitempty"`
	N           int             `json:"n"`
	At          int64           `json:"at"`
	Wait        int64           `json:"wait"`
}

type storedIntent struct {
	Owner string `json:"owner"`
	At    int64  `json:"at"`
	Ended bool   `json:"ended,omitempty"`
}

// format is the version of the encoding. A record of another format is an
// error.
const format = 2

// ErrFormat is the error of bytes that [Encode] did not write.
var ErrFormat = errors.New("tokencache: the record in the store is not one of ours")

// Encode returns r as bytes. The nonce makes every write different. Members of
// Extra that are not JSON values are left out.
func Encode(r *Record, nonce string) ([]byte, error) {
	s := stored{
		Format: format, Nonce: nonce, Version: r.Version, Purges: r.Purges, Fence: r.Fence,
		Forced: millis(r.Forced), Salvages: r.Salvages, Brought: r.Brought, Bound: r.Bound, Ends: millis(r.Ends), Tenant: r.Tenant, Anon: r.Anonymous,
	}
	if t := r.Token; !r.Empty() {
		s.Token = &storedToken{t.AccessToken, t.TokenType, t.RefreshToken, t.Expiry, t.RefreshExpiry, t.IssuedAt, t.Scopes, t.Extra, t.Version}
	}
	for _, spent := range r.Spent {
		s.Spent = appendSpent(s.Spent, spent)
	}
	for _, d := range r.Ended {
		s.Ended = append(s.Ended, d[:]...)
	}
	if f := r.Failure; f != nil {
		s.Failure = &storedFailure{f.Err.Code, f.Err.Class, f.Err.Description, f.Err.Op, f.Err.Status, f.N, f.At.UnixMilli(), f.Wait.Milliseconds()}
	}
	if i := r.Intent; i != nil {
		s.Intent = &storedIntent{i.Owner, i.At.UnixMilli(), i.Ended}
	}
	b, err := json.Marshal(s)
	if err != nil && s.Token != nil {
		s.Token.Extra = nil // Extra breaks the contract of providers.Token; the grant is kept without it
		b, err = json.Marshal(s)
	}
	return b, err
}

// Decode reads what [Encode] wrote. The error quotes nothing of b, which may
// contain a token.
func Decode(b []byte) (r Record, nonce string, err error) {
	var s stored
	if unmarshal(b, &s) != nil || s.Format != format || len(s.Spent)%spentSize != 0 || len(s.Ended)%len(Digest{}) != 0 {
		return r, "", ErrFormat
	}
	r.Details = Details{Version: s.Version, Purges: s.Purges, Fence: s.Fence, Salvages: s.Salvages, Brought: s.Brought, Bound: s.Bound, Tenant: s.Tenant, Anonymous: s.Anon}
	if s.Forced != 0 {
		r.Forced = time.UnixMilli(s.Forced)
	}
	if s.Ends != 0 {
		r.Ends = time.UnixMilli(s.Ends)
	}
	if s.Token != nil {
		r.Token = providers.Token(*s.Token)
	}
	for rest := s.Spent; len(rest) > 0; rest = rest[spentSize:] {
		r.Spent = append(r.Spent, decodeSpent(rest))
	}
	for rest := s.Ended; len(rest) > 0; rest = rest[len(Digest{}):] {
		r.Ended = append(r.Ended, Digest(rest[:len(Digest{})]))
	}
	if f := s.Failure; f != nil {
		e := &providers.Error{Code: f.Code, Class: f.Class, Description: f.Description, Op: f.Op, Status: f.Status}
		r.Failure = &Failure{Err: e, N: f.N, At: time.UnixMilli(f.At), Wait: time.Duration(f.Wait) * time.Millisecond}
	}
	if i := s.Intent; i != nil {
		r.Intent = &Intent{i.Owner, time.UnixMilli(i.At), i.Ended}
	}
	return r, s.Nonce, nil
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// unmarshal is json.Unmarshal with numbers in Extra that keep their digits.
func unmarshal(b []byte, s *stored) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(s); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return ErrFormat
	}
	return nil
}

// spentSize is a digest and six bytes of Unix milliseconds.
const spentSize = len(Digest{}) + 6

func appendSpent(b []byte, s Spent) []byte {
	b = append(b, s.Token[:]...)
	ms := uint64(max(s.At.UnixMilli(), 0))
	for shift := 40; shift >= 0; shift -= 8 {
		b = append(b, byte(ms>>shift))
	}
	return b
}

func decodeSpent(b []byte) Spent {
	var ms int64
	for _, c := range b[len(Digest{}):spentSize] {
		ms = ms<<8 | int64(c)
	}
	return Spent{Digest(b[:len(Digest{})]), time.UnixMilli(ms)}
}

// TTL is how long r is kept at now: as long as its last token may live.
// lifetime is the life of a token without an expiry. A sign-out is kept as long
// as the tokens that it ended. A record that never had a token is kept while it
// fails fast.
func (r *Record) TTL(now time.Time, lifetime time.Duration) time.Duration {
	if r.Version == 0 {
		ttl := r.Failure.Remaining(now) + time.Second
		if r.Intent != nil {
			ttl = max(ttl, time.Hour)
		}
		return ttl
	}
	ttl := max(r.end(now, lifetime).Sub(now), r.Ends.Sub(now), 0)
	if len(r.Spent) > 0 || r.Empty() {
		ttl = max(ttl, KeepSpent)
	}
	return ttl + time.Hour
}
