package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The lines of README.md that keep grants in a file start the gateway. In place
// of the go command is a script that prints what it is given.
func TestReadmesFileKeepsTheGrants(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(text), "a file keeps them over a restart:\n\n")
	require.True(t, ok)
	lines, _, _ := strings.Cut(rest, "\n\n")
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "examples"), 0o700))
	bin := t.TempDir()
	script := "#!/bin/sh\n[ \"$*\" = '-C examples run ./gateway' ] && cd \"$2\" && pwd && echo \"$DATABASE_URL\" && echo \"$STORE_KEYS_FILE\"\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "go"), []byte(script), 0o700))

	cmd := exec.Command("sh", "-ec", lines)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "PWD="+root, "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	said := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Len(t, said, 3)
	t.Chdir(said[0])
	for range 2 { // the second one after a restart
		_, srv, _ := start(t, map[string]string{"DATABASE_URL": said[1], "STORE_KEYS_FILE": said[2], "STORE_TIMEOUT": "20s"})
		status, _, v := call(t, srv, "POST", "/api/consent/token", "", `{"org_user_id":"ada"}`)
		require.Equal(t, 200, status, v)
	}
	require.FileExists(t, filepath.Join(root, "tokens.db"))
}
