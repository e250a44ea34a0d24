package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func serveHandler(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// writePair writes a certificate of its own with the serial number n.
func writePair(t *testing.T, certFile, keyFile string, n int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := x509.Certificate{
		SerialNumber: big.NewInt(n), Subject: pkix.Name{CommonName: "gateway"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	require.NoError(t, err)
	k, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: k}} {
		if file != "" {
			require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
		}
	}
}

// The gateway speaks TLS itself, takes a new certificate without a restart, and
// keeps the last good one while the two files do not fit each other.
func TestCertificateIsReread(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, cert, key, 1)
	vars := map[string]string{"TLS_CERT_FILE": cert, "TLS_KEY_FILE": key}
	logs := &logBuffer{}
	c, err := readConfig(func(n string) string { return vars[n] }, slog.New(slog.NewTextHandler(logs, nil)))
	require.NoError(t, err)
	g, err := newGateway(t.Context(), c, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { _ = g.close() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &http.Server{Handler: g, TLSConfig: c.tls.config(), ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = srv.Close() })
	serial := func() int64 {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		res, err := client.Get("https://" + l.Addr().String() + "/livez")
		require.NoError(t, err)
		_ = res.Body.Close()
		assert.Equal(t, "max-age=31536000", res.Header.Get("Strict-Transport-Security"))
		return res.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	assert.EqualValues(t, 1, serial())
	writePair(t, cert, "", 2)
	assert.EqualValues(t, 1, serial(), "the key of the new one is not there yet")
	assert.Contains(t, logs.String(), "keeping the last certificate")
	writePair(t, cert, key, 3)
	assert.EqualValues(t, 3, serial())
	require.NoError(t, os.Remove(key))
	assert.EqualValues(t, 3, serial())
}

func TestWhereTLSIsDemanded(t *testing.T) {
	vars, _, _ := realVars(t)
	for name, c := range map[string]struct {
		more map[string]string
		want string
	}{
		"loopback":            {nil, ""},
		"all addresses":       {map[string]string{"ADDR": ":8080"}, "TLS_CERT_FILE and TLS_KEY_FILE missing"},
		"behind a proxy":      {map[string]string{"ADDR": "0.0.0.0:8080", "BEHIND_TLS_PROXY": "1"}, ""},
		"half":                {map[string]string{"TLS_CERT_FILE": "x"}, "TLS_KEY_FILE missing"},
		"no file":             {map[string]string{"TLS_CERT_FILE": "/nowhere/c", "TLS_KEY_FILE": "/nowhere/k"}, "no such file"},
		"a flag that is none": {map[string]string{"CM_ANYONE": "yes"}, "CM_ANYONE: neither 1 nor 0"},
	} {
		_, err := readConfig(func(n string) string {
			if v, ok := c.more[n]; ok {
				return v
			}
			return vars[n]
		}, slog.New(slog.DiscardHandler))
		if c.want == "" {
			assert.NoError(t, err, name)
			continue
		}
		assert.ErrorContains(t, err, c.want, name)
	}
	_, err := readConfig(func(n string) string { return map[string]string{"ADDR": ":8080"}[n] }, slog.New(slog.DiscardHandler))
	assert.NoError(t, err, "the demonstration has no vendor's tokens")
}

func TestOnlyThisMachineReachesTheGatewayByDefault(t *testing.T) {
	for addr, want := range map[string]string{"": "127.0.0.1:8080", ":3000": ":3000"} {
		c, err := readConfig(func(n string) string { return map[string]string{"ADDR": addr}[n] }, slog.New(slog.DiscardHandler))
		assert.NoError(t, err)
		assert.Equal(t, want, c.addr)
	}
}
