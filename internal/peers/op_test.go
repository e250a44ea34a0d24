package peers_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers/oauth"
)

func TestMain(m *testing.M) {
	if err := install(); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// install makes node_modules what package-lock.json says, if it is not yet.
func install() error {
	lock, err := os.Stat("package-lock.json")
	if err != nil {
		return err
	}
	// npm writes this file last.
	if done, err := os.Stat("node_modules/.package-lock.json"); err == nil && !done.ModTime().Before(lock.ModTime()) {
		return nil
	}
	out, err := exec.Command("npm", "ci").CombinedOutput()
	if err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
}

// peer is a running authorization server.
type peer struct {
	t      *testing.T
	issuer string
}

// metadata is a client's registration (RFC 7591).
type metadata map[string]any

// start runs a server that knows clients until the test ends. Its access tokens
// live for ttl.
func start(t *testing.T, ttl time.Duration, clients ...metadata) *peer {
	t.Helper()
	for _, c := range clients {
		if c["grant_types"] == nil {
			c["grant_types"], c["redirect_uris"], c["response_types"] = []string{"client_credentials"}, []string{}, []string{}
		}
	}
	cmd := exec.Command("node", "op.mjs")
	cmd.Stderr = &logWriter{t: t}
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start(), "the tests need Node.js")
	t.Cleanup(func() {
		_ = stdin.Close() // ends the process
		require.NoError(t, cmd.Wait())
	})
	require.NoError(t, json.NewEncoder(stdin).Encode(map[string]any{"clients": clients, "accessTokenTTL": int(ttl.Seconds())}))
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	require.NoError(t, err, "the server did not start")
	p := &peer{t: t}
	require.NoError(t, json.Unmarshal(line, &struct{ Issuer *string }{&p.issuer}))
	return p
}

type logWriter struct{ t *testing.T }

func (w *logWriter) Write(b []byte) (int, error) {
	fmt.Fprintf(w.t.Output(), "op: %s", b)
	return len(b), nil
}

// config is what every client of the server has in common.
func (p *peer) config(clientID string) oauth.Config {
	return oauth.Config{
		ClientID:         clientID,
		TokenURL:         p.issuer + "/token",
		IntrospectionURL: p.issuer + "/token/introspection",
		RevocationURL:    p.issuer + "/token/revocation",
		AudienceParam:    "resource",
	}
}

type counts struct{ Granted, Refused int }

// control asks one of the server's test endpoints.
func (p *peer) control(name string) (c counts) {
	p.t.Helper()
	res, err := http.Post(p.issuer+"/control/"+name, "", nil)
	require.NoError(p.t, err)
	defer res.Body.Close()
	require.NoError(p.t, json.NewDecoder(res.Body).Decode(&c))
	return c
}
