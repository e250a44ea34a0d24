package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// record is everything that came out of the process, with where it came from.
type record struct {
	mu  sync.Mutex
	out map[string]*bytes.Buffer
}

func (r *record) add(where, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.out == nil {
		r.out = map[string]*bytes.Buffer{}
	}
	if r.out[where] == nil {
		r.out[where] = &bytes.Buffer{}
	}
	r.out[where].WriteString(text + "\n")
}

// forms are the ways in which a secret may be written. Base64 of a longer text
// has the secret in one of three shifts, of which the ends depend on what is
// around it.
func forms(secret string) map[string]string {
	out := map[string]string{
		"plain": secret, "hex": hex.EncodeToString([]byte(secret)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"query": url.QueryEscape(secret), "path": url.PathEscape(secret), "quoted": strings.Trim(fmt.Sprintf("%q", secret), `"`),
	}
	j, _ := json.Marshal(secret)
	out["json"] = strings.Trim(string(j), `"`)
	for shift := range 3 {
		b := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
		b = strings.TrimRight(b, "=")
		b = b[(shift*8+5)/6:]
		b = b[:len(b)-1]
		out[fmt.Sprintf("base64+%d", shift)] = b
		out[fmt.Sprintf("base64url+%d", shift)] = strings.NewReplacer("+", "-", "/", "_").Replace(b)
	}
	return out
}

// find names every place and form in which a secret came out.
func (r *record) find(secrets map[string]string) (found []string) {
	for name, secret := range secrets {
		for form, text := range forms(secret) {
			for where, out := range r.out {
				if bytes.Contains(out.Bytes(), []byte(text)) {
					found = append(found, fmt.Sprintf("%s as %s in %s", name, form, where))
				}
			}
		}
	}
	return found
}

// The search finds what it looks for: a secret that is planted on purpose, in
// each form, with other text around it.
func TestTheSearchFindsALeak(t *testing.T) {
	const secret = planted + "äöü/+?&=\"<secret>"
	for around := range 4 {
		text := strings.Repeat("x", around) + secret + " and more"
		for _, leak := range []string{
			text, fmt.Sprintf("%q", text), hex.EncodeToString([]byte(text)), fmt.Sprintf("%X", text), url.QueryEscape(text), url.PathEscape(text),
			base64.StdEncoding.EncodeToString([]byte(text)), base64.RawURLEncoding.EncodeToString([]byte(text)),
		} {
			r := &record{}
			r.add("here", "before"+leak+"after")
			if len(r.find(map[string]string{"s": secret})) == 0 {
				t.Errorf("not found: %s", leak)
			}
		}
	}
	r := &record{}
	r.add("here", planted+"something else")
	if found := r.find(map[string]string{"s": secret}); len(found) > 0 {
		t.Error(found)
	}
}
