package handlers_test

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/bearerkit/bearerkit/handlers"
)

// document is a key set that a test can exchange.
type document struct{ v atomic.Value }

func (d *document) JWKS() []byte { return []byte(d.v.Load().(string)) }

func keys(s string) *document {
	d := &document{}
	d.v.Store(s)
	return d
}

const publicKeys = `{"keys":[{"kty":"RSA","kid":"1","n":"AQ","e":"AQAB"},{"kty":"EC","kid":"2","crv":"P-256","x":"AQ","y":"AQ"}]}`

func TestJWKS(t *testing.T) {
	doc := keys(publicKeys)
	var log bytes.Buffer
	h, err := handlers.JWKS(doc, logTo(&log))
	must(t, h, err)
	get := func(method, etag string) answer {
		r := httptest.NewRequest(method, "/.well-known/jwks.json", nil)
		if etag != "" {
			r.Header.Set("If-None-Match", etag)
		}
		return serve(t, h, r)
	}
	a := get("GET", "")
	assert.Equal(t, 200, a.status)
	assert.Equal(t, publicKeys, a.body)
	assert.Equal(t, "application/json", a.header.Get("Content-Type"))
	assert.Equal(t, "public, max-age=300", a.header.Get("Cache-Control"))
	assert.Equal(t, "nosniff", a.header.Get("X-Content-Type-Options"))
	etag := a.header.Get("Etag")
	assert.NotEmpty(t, etag)

	a = get("GET", etag)
	assert.Equal(t, 304, a.status)
	assert.Empty(t, a.body)
	assert.Equal(t, etag, a.header.Get("Etag"))
	a = serve(t, h, httptest.NewRequest("HEAD", "/", nil))
	assert.Equal(t, 200, a.status)
	a = get("POST", "")
	assert.Equal(t, 405, a.status)
	assert.Equal(t, "GET, HEAD", a.header.Get("Allow"))
	assert.Equal(t, "method_not_allowed", a.json["code"])

	next := `{"keys":[{"kty":"OKP","kid":"3","crv":"Ed25519","x":"AQ"}]}`
	doc.v.Store(next)
	a = get("GET", etag)
	assert.Equal(t, 200, a.status)
	assert.Equal(t, next, a.body)
	assert.NotEqual(t, etag, a.header.Get("Etag"))

	doc.v.Store(`{"keys":[{"kty":"RSA","kid":"1","d":"private-part"}]}`)
	for range 3 {
		a = get("GET", "")
		assert.Equal(t, next, a.body, "the last good one stays")
	}
	assert.Equal(t, 1, strings.Count(log.String(), "private part"), "told once a minute and not for each request")
	assert.Contains(t, log.String(), "private part")
	assert.NotContains(t, log.String(), "private-part")
}

func TestJWKSRefusesWhatMustNotBePublished(t *testing.T) {
	for name, doc := range map[string]string{
		"nothing": ``, "null": `null`, "no keys": `{}`, "other case": `{"Keys":[{"kty":"RSA"}]}`, "empty": `{"keys":[]}`,
		"not a list": `{"keys":{}}`, "not an object": `{"keys":["x"]}`, "null key": `{"keys":[null]}`,
		"symmetric": `{"keys":[{"kty":"oct","k":"AQ"}]}`, "kind unknown": `{"keys":[{"kty":"AKP"}]}`, "no kind": `{"keys":[{}]}`,
		"beside a good one":   `{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"},{"kty":"oct","k":"AQ"}]}`,
		"hidden by a repeat":  `{"keys":[{"kty":"RSA","d":"AQ"}],"keys":[{"kty":"RSA"}]}`,
		"another spelling":    `{"keys":[{"kty":"RSA","D":"AQ"}]}`,
		"a key in two halves": `{"keys":[{"kty":"RSA"}]}{"keys":[]}`,
	} {
		_, err := handlers.JWKS(keys(doc), nil)
		assert.ErrorContains(t, err, "handlers: jwks: ", name)
	}
	for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		_, err := handlers.JWKS(keys(fmt.Sprintf(`{"keys":[{"kty":"EC",%q:"AQ"}]}`, member)), nil)
		assert.ErrorContains(t, err, "private part", member)
	}
	_, err := handlers.JWKS(nil, nil)
	assert.Error(t, err)
}
