package authtest

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// Case is a request and the answer that it must get from a handler. The handler
// accepts tokens of the Issuer for its Audience in the Authorization header,
// with all of the Issuer's algorithms, and demands nothing else.
type Case struct {
	// Name is unique in a corpus, like "alg/none".
	Name string
	// Ref says where the case comes from: a CVE, a section of an RFC, or a case
	// of the kit's threat list.
	Ref string
	// Token is the token in Header; "" if the case has no single token.
	Token string
	// Header and Query are those of the request. Form is its url-encoded body,
	// or "".
	Header http.Header
	Query  string
	Form   string
	// Status is the required status. 200 means the answer of the protected
	// handler.
	Status int
	// Error is the error parameter that the Bearer challenge must have; ""
	// means a challenge without one.
	Error string
	// Never lists further texts, besides the token, that the answer must not
	// have.
	Never []string
}

// Request returns the case's request for target.
func (c Case) Request(target string) *http.Request {
	method, body := http.MethodGet, ""
	if c.Form != "" {
		method, body = http.MethodPost, c.Form
	}
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.URL.RawQuery = c.Query
	maps.Copy(r.Header, c.Header)
	if c.Form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

// Run sends every case to h, as one subtest each. The requests are GET and POST
// requests for "/", and a router in front of the protected handler must route
// both.
func Run(t *testing.T, h http.Handler, cases []Case) {
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, c.Request("/"))
			if err := c.Check(w.Result(), w.Body.String()); err != nil {
				t.Errorf("%v (%s)", err, c.Ref)
			}
		})
	}
}

// Check compares an answer with the required one.
func (c Case) Check(res *http.Response, body string) error {
	challenge := res.Header.Get("WWW-Authenticate")
	answer := challenge + "\n" + body
	switch {
	case c.Status == http.StatusOK && res.StatusCode != http.StatusUnauthorized && res.StatusCode != http.StatusBadRequest:
		return nil
	case res.StatusCode != c.Status:
		return fmt.Errorf("status is %s and not %d", res.Status, c.Status)
	case !strings.HasPrefix(challenge, "Bearer"):
		return errors.New("no Bearer challenge: " + challenge)
	case c.Error == "" && strings.Contains(challenge, "error="):
		return errors.New("the challenge has an error: " + challenge)
	case c.Error != "" && !strings.Contains(challenge, `error="`+c.Error+`"`):
		return errors.New("the challenge lacks " + c.Error + ": " + challenge)
	case !strings.Contains(res.Header.Get("Cache-Control"), "no-store"):
		return errors.New("the answer may be stored")
	}
	for _, word := range c.Never {
		if strings.Contains(answer, word) {
			return errors.New("the answer contains " + word)
		}
	}
	if len(c.Token) > 20 && strings.Contains(answer, c.Token) {
		return errors.New("the answer contains the token")
	}
	return nil
}

// Corpus returns the cases for i, whose URL and Audience must be final. Its
// good tokens are valid for an hour and are signed with the current keys. Cases
// about algorithms for which i has no key are left out.
func Corpus(i *Issuer) ([]Case, error) {
	b := &builder{issuer: i, key: i.current[0], now: time.Now()}
	for _, add := range []func(*builder){
		good, goodKeys, credentials, elsewhere, algorithms, confusion, keySwaps, injection, critical, keyIDs,
		audiences, issuers, dates, names, types, ecdsaEdges, rsaEdges, rsaPaddings, encodings, segments, shapes, sizes, tampering,
	} {
		add(b)
	}
	if b.err != nil {
		return nil, b.err
	}
	slices.SortStableFunc(b.cases, func(a, b Case) int { return strings.Compare(a.Name, b.Name) })
	return b.cases, nil
}

// builder collects cases and the first error.
type builder struct {
	issuer *Issuer
	key    *signingKey
	now    time.Time
	cases  []Case
	err    error
}

const (
	invalidToken   = "invalid_token"
	invalidRequest = "invalid_request"
)

type object = map[string]any

// refuse adds a token that must be answered 401 invalid_token.
func (b *builder) refuse(name, ref, token string) {
	b.add(Case{Name: name, Ref: ref, Token: token, Header: bearer(token), Status: http.StatusUnauthorized, Error: invalidToken})
}

// accept adds a token that must pass.
func (b *builder) accept(name, ref, token string) {
	b.add(Case{Name: "good/" + name, Ref: ref, Token: token, Header: bearer(token), Status: http.StatusOK})
}

// header adds Authorization headers that are malformed or no Bearer ones.
func (b *builder) header(name, ref string, status int, code string, lines ...string) {
	b.add(Case{Name: "header/" + name, Ref: ref, Header: http.Header{"Authorization": lines}, Status: status, Error: code})
}

func (b *builder) add(c Case) { b.cases = append(b.cases, c) }

// never adds a text that the answer to the last case must not have.
func (b *builder) never(word string) {
	last := &b.cases[len(b.cases)-1]
	last.Never = append(last.Never, word)
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// token signs good claims, with the members of over in place of theirs.
func (b *builder) token(over object) string { return b.sign(nil, b.issuer.claims(over)) }

// headed signs good claims under a header with the members of over.
func (b *builder) headed(over object) string { return b.sign(over, b.issuer.claims(nil)) }

func (b *builder) sign(header object, claims any) string { return b.signWith(b.key, header, claims) }

func (b *builder) signWith(k *signingKey, header object, claims any) string {
	token, err := k.sign(header, claims)
	b.fail(err)
	return token
}

// text signs a payload and a header given as JSON texts.
func (b *builder) text(header, payload string) string {
	token, err := b.key.seal(encode([]byte(header)) + "." + encode([]byte(payload)))
	b.fail(err)
	return token
}

func (b *builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// keyOf returns the issuer's key for alg, or nil if it has none.
func (b *builder) keyOf(alg string) *signingKey {
	for _, k := range b.issuer.current {
		if k.alg == alg {
			return k
		}
	}
	return nil
}

// cut splits a token into its segments.
func cut(token string) (header, payload, signature string) {
	header, rest, _ := strings.Cut(token, ".")
	payload, signature, _ = strings.Cut(rest, ".")
	return header, payload, signature
}
