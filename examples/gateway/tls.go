package main

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
)

// certificate is the pair of TLS_CERT_FILE and TLS_KEY_FILE, read again when
// either changes. While the files do not fit each other, as between the two
// writes of a renewal, the last good pair stays.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu        sync.Mutex
	cert, key []byte // the two files as last read, whether they fit each other or not
	last      *tls.Certificate
}

func (e *env) certificate() *certificate {
	if !e.group("TLS", []string{"TLS_CERT_FILE", "TLS_KEY_FILE"}, nil) {
		return nil
	}
	c := &certificate{certFile: e.get("TLS_CERT_FILE"), keyFile: e.get("TLS_KEY_FILE"), log: e.log}
	if err := c.read(); err != nil {
		e.fail("TLS_CERT_FILE, TLS_KEY_FILE: %w", err)
		return nil
	}
	return c
}

func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if err := c.read(); err != nil {
			c.log.Warn("keeping the last certificate", "err", err)
		}
		return c.last, nil
	}}
}

// read takes the pair over. A pair that it has seen before is not looked at
// again.
func (c *certificate) read() error {
	cert, err := os.ReadFile(c.certFile)
	if err != nil {
		return err
	}
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		return err
	}
	if c.last != nil && bytes.Equal(cert, c.cert) && bytes.Equal(key, c.key) {
		return nil
	}
	c.cert, c.key = cert, key
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return err
	}
	c.last = &pair
	return nil
}

// strictTransport has browsers come by TLS alone for a year (RFC 6797).
func strictTransport(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		next.ServeHTTP(w, r)
	})
}

// onLoopback reports that only this machine reaches addr.
func onLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}
