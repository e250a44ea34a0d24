package paths_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/paths"
)

func TestAPathThatServersReadAsAnotherIsAmbiguous(t *testing.T) {
	for _, raw := range []string{
		"/a/../b", "/..", "/.", "/a/./b", "/a/..;x/b", "/a/%2e%2e/b", "/a/%2E/b", "//a", "/a//b", `/a\b`, "/a%5Cb", "/a%2Fb", "/a%252Fb",
		"/a%00", "/a%0Ab", "/a%7F", "/a/.%20/b", "/a%C0%AE", "a", "",
	} {
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			u = &url.URL{Path: raw}
		}
		require.True(t, paths.Ambiguous(u, false), raw)
	}
}

func TestAPathOfOneReadingIsNotAmbiguous(t *testing.T) {
	for _, raw := range []string{"/", "/orders", "/orders/", "/a/b.json", "/a/..b", "/a;v=1/b", "/caf%C3%A9", "/a%20b", "/a/...", "/a?x=//../"} {
		u, err := url.ParseRequestURI(raw)
		require.NoError(t, err)
		require.False(t, paths.Ambiguous(u, false), raw)
	}
}

func TestAnEncodedSlashIsAllowedByNameAlone(t *testing.T) {
	for raw, want := range map[string]bool{"/a%2Fb": false, "/a%2F/b": true, "/a%2F..%2Fb": true, "/%2Fa": true} {
		u, err := url.ParseRequestURI(raw)
		require.NoError(t, err)
		require.Equal(t, want, paths.Ambiguous(u, true), raw)
	}
}
