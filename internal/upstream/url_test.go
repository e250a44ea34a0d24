package upstream_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/bearerkit/bearerkit/internal/upstream"
)

func TestCheckURL(t *testing.T) {
	for _, good := range []string{
		"https://api.example.com", "HTTPS://api.example.com:8443/base/", "https://[2001:db8::1]/",
		"http://localhost", "http://LocalHost:8080", "http://127.0.0.1:8080", "http://127.9.9.9/x", "http://[::1]:1", "http://[::ffff:127.0.0.1]",
	} {
		u, err := upstream.CheckURL("F", good)
		if assert.NoError(t, err, good) {
			assert.NotEmpty(t, u.Hostname(), good)
		}
	}
	for bad, want := range map[string]string{
		"": "not an absolute URL", "/path": "not an absolute URL", "api.example.com": "not an absolute URL",
		"https:api.example.com": "not an absolute URL", "https://": "not an absolute URL", "https:///x": "not an absolute URL", "https://:443": "not an absolute URL",
		"https://u:planted@api.example.com": "not allowed", "https://@api.example.com": "not allowed",
		"https://api.example.com?planted": "not allowed", "https://api.example.com?": "not allowed",
		"https://api.example.com#planted": "not allowed", "https://api.example.com#": "not allowed",
		"http://api.example.com": "must be https", "ftp://127.0.0.1": "must be https", "ws://localhost": "must be https",
		"http://127.0.0.1.example.com": "must be https", "http://localhost.example.com": "must be https", "http://localhoſt": "must be https", "http://127.1": "must be https",
		"http://0.0.0.0": "must be https", "http://10.0.0.1": "must be https", "http://[::]": "must be https", "http://2130706433": "must be https",
		"https://planted\x7f": "not a URL", "https://[planted": "not a URL", "https://api.example.com/%zz": "not a URL", "https://api.example.com:x": "not a URL",
	} {
		_, err := upstream.CheckURL("F", bad)
		if assert.ErrorContains(t, err, want, bad) {
			assert.ErrorContains(t, err, "F: ", bad)
			assert.NotContains(t, err.Error(), "planted")
		}
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.255.0.1": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "Localhost.": false, "localhost.": false, "localhost6": false, "128.0.0.1": false, "::2": false, "::1%lo": false, "[::1]": false, "0x7f.1": false,
	} {
		assert.Equal(t, want, upstream.Loopback(host), host)
	}
}
