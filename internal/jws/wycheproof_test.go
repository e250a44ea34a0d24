package jws_test

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/jws"
)

// The vectors are fetched as a Go module, as golang.org/x/crypto does, and are
// in no go.mod.
const wycheproof = "github.com/C2SP/wycheproof@v0.0.0-20250901140545-b51abcfb8daf"

type vector struct {
	ID      int             `json:"tcId"`
	Comment string          `json:"comment"`
	Result  string          `json:"result"`
	JWS     json.RawMessage `json:"jws"`
	JWE     json.RawMessage `json:"jwe"`
}

type group struct {
	Comment string          `json:"comment"`
	Public  json.RawMessage `json:"public"`
	Private json.RawMessage `json:"private"`
	Tests   []vector        `json:"tests"`
}

func vectors(t *testing.T, file string) []group {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", wycheproof)
	cmd.Dir = t.TempDir() // outside any module
	out, err := cmd.Output()
	if err != nil { // a failure: vectors that did not run must not look like vectors that passed
		t.Fatalf("Wycheproof's vectors cannot be downloaded: %v %s", err, out)
	}
	var mod struct{ Dir string }
	require.NoError(t, json.Unmarshal(out, &mod))
	raw, err := os.ReadFile(filepath.Join(mod.Dir, "testvectors_v1", file))
	require.NoError(t, err)
	var doc struct {
		Groups []group `json:"testGroups"`
	}
	require.NoError(t, json.Unmarshal(raw, &doc))
	return doc.Groups
}

// keysOf reads a group's key or key set the way the kit is configured with
// one: public keys through ParseSet, secrets by themselves.
func keysOf(g group) []jws.Key {
	raw := g.Public
	if raw == nil {
		raw = g.Private
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(raw, &set) != nil || set.Keys == nil {
		set.Keys = []json.RawMessage{raw}
	}
	var secrets []jws.Key
	for _, k := range set.Keys {
		var oct struct{ Kty, Kid, Alg, Use, K string }
		if json.Unmarshal(k, &oct) == nil && oct.Kty == "oct" {
			b, _ := base64.RawURLEncoding.DecodeString(oct.K)
			secrets = append(secrets, jws.Key{ID: oct.Kid, Algorithm: oct.Alg, Public: b})
		}
	}
	if len(secrets) == len(set.Keys) {
		return jws.Distinct(secrets)
	}
	body, _ := json.Marshal(set)
	keys, _, _ := jws.ParseSet(body)
	return keys
}

func verifies(token string, keys []jws.Key) bool {
	t, err := jws.Parse(token)
	if err != nil {
		return false
	}
	for i := range keys {
		if (t.KeyID == "" || keys[i].ID == t.KeyID) && keys[i].Fits(t.Algorithm) && t.Verify(keys[i].Public) == nil {
			return true
		}
	}
	return false
}

// Labels of the vectors that are not followed, with the reason.
var exceptions = map[string]map[int]string{
	"json_web_signature_test.json": {
		346: "the key says PS384, the token PS256", 350: "the key says PS384, the token PS256",
		347: "the key says ES521, which is no algorithm", 351: "the key says ES521, which is no algorithm",
		367: "is byte for byte the valid 357", 370: "is byte for byte the valid 357",
		372: "holds a character outside base64url", 373: "holds a character outside base64url",
	},
	"json_web_key_test.json":    {7: "ROCA is about how a key was made"},
	"json_web_crypto_test.json": {46: "ROCA is about how a key was made"},
}

func TestWycheproofSignatures(t *testing.T) {
	total, followed := 0, 0
	for _, file := range []string{"json_web_signature_test.json", "json_web_key_test.json", "json_web_crypto_test.json"} {
		for _, g := range vectors(t, file) {
			keys := keysOf(g)
			for _, v := range g.Tests {
				if v.JWS == nil {
					continue
				}
				var token string
				if json.Unmarshal(v.JWS, &token) != nil {
					token = string(v.JWS) // a JSON serialization
				}
				total++
				want := v.Result == "valid"
				if why := exceptions[file][v.ID]; why != "" {
					require.NotEqual(t, want, verifies(token, keys), "%s %d: not an exception any more (%s)", file, v.ID, why)
					continue
				}
				followed++
				require.Equal(t, want, verifies(token, keys), "%s %d: %s, %s", file, v.ID, g.Comment, v.Comment)
			}
		}
	}
	require.Greater(t, followed, 440)
	t.Logf("%d signature vectors, %d as labelled, %d exceptions", total, followed, total-followed)
}

func TestWycheproofEncryptedTokensAreRefused(t *testing.T) {
	n := 0
	for _, file := range []string{"json_web_encryption_test.json", "json_web_crypto_test.json"} {
		for _, g := range vectors(t, file) {
			for _, v := range g.Tests {
				if v.JWE == nil {
					continue
				}
				var token string
				if json.Unmarshal(v.JWE, &token) != nil {
					token = string(v.JWE)
				}
				n++
				_, err := jws.Parse(token)
				require.Error(t, err, "%s %d", file, v.ID)
			}
		}
	}
	require.Greater(t, n, 150)
	t.Logf("%d encrypted tokens, all refused", n)
}
