package main

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers/providertest"
)

// redoxSample runs a listing of the Redox document, with its placeholders filled
// in, against a Redox that knows our keys by the URL that the gateway publishes.
func redoxSample(t *testing.T, file string, fill map[string]string, command ...string) (stdout string, stats providertest.Stats) {
	t.Helper()
	if _, err := exec.LookPath(command[0]); err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	vars, _, _ := realVars(t)
	_, gateway, _ := start(t, vars)
	vendor, err := providertest.NewRedox(providertest.RedoxConfig{ClientID: "client-1", JWKSURL: gateway.URL + "/.well-known/jwks.json"})
	require.NoError(t, err)
	srv := httptest.NewTLSServer(vendor)
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600))
	key, err := os.ReadFile(vars["REDOX_PRIVATE_KEY_FILE"])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "private_key.pem"), key, 0o600))
	listing, err := os.ReadFile(filepath.Join("testdata/redox", file))
	require.NoError(t, err)
	text := strings.ReplaceAll(string(listing), "https://api.redoxengine.com", srv.URL)
	for from, to := range fill {
		require.True(t, strings.Contains(text, from), from) // the text may hold the key
		text = strings.ReplaceAll(text, from, strings.ReplaceAll(to, "KEY", string(key)))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
	modules, err := filepath.Abs("testdata/redox/node_modules")
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), command[0], append(command[1:], file)...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+ca, "REQUESTS_CA_BUNDLE="+ca, "NODE_PATH="+modules, "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
	out, err := cmd.Output()
	require.NoError(t, err, "%s", out)
	return string(out), vendor.Stats()
}

// Both halves of the JavaScript listing, which sends no exp, get a token.
func TestRedoxJavaScriptListing(t *testing.T) {
	if _, err := os.Stat("testdata/redox/node_modules/jose"); err != nil {
		if os.Getenv("CI") == "" {
			t.Skip("npm ci in testdata/redox")
		}
		require.NoError(t, err)
	}
	const axios, bare = "  const accessTokenAxios = await requestJwtAccessTokenAxios(signedAssertion);\n", "  const accessTokenNoLibrary = await requestJwtAccessTokenNoLibrary(signedAssertion);\n"
	for half, order := range map[string]string{"accessTokenAxios": axios + bare, "accessTokenNoLibrary": bare + axios} {
		t.Run(half, func(t *testing.T) {
			out, stats := redoxSample(t, "sample.js", map[string]string{
				"const privateKeyPEM = ``": "const privateKeyPEM = `KEY`", "<INSERT CLIENT ID HERE>": "client-1", "<INSERT KID HERE>": "key-1",
				axios + bare: order,
			}, "node")
			_, rest, _ := strings.Cut(out, "{\n  "+half+": ")
			got, _, _ := strings.Cut(rest, "\n  }")
			assert.Contains(t, got, "access_token: '")
			assert.Contains(t, got, "expires_in: 300")
			// The listing sends one assertion twice, and a jti counts once: the half
			// that comes second is refused.
			assert.Equal(t, 2, stats.Generates)
			assert.Equal(t, 1, stats.Refused)
		})
	}
}

// The Python listing: AuthBase gets a token and the call that shows it succeeds.
func TestRedoxPythonListing(t *testing.T) {
	python := "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import jwt, requests, cryptography").Run(); err != nil && os.Getenv("CI") == "" {
		t.Skip("apt-get install python3-jwt python3-requests python3-cryptography")
	}
	out, stats := redoxSample(t, "sample.py", map[string]string{"<your client id>": "client-1", "<the key id (kid) for your private key>": "key-1"}, python)
	assert.Contains(t, out, "success! ")
	assert.Equal(t, 1, stats.Generates)
	assert.Equal(t, 1, stats.APICalls)
	assert.Zero(t, stats.Unauthorized+stats.Refused)
}
