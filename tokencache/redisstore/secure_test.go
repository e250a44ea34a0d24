package redisstore_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/redisstore"
	"github.com/bearerkit/bearerkit/tokencache/tokencachetest"
)

// rules is the ACL that the package documents.
const rules = "resetkeys resetchannels ~bearerkit:* &bearerkit:* -@all +get +getrange +set +hmget +hset +hdel +pexpire +time +info +eval +evalsha +publish +subscribe +unsubscribe +ping"

func TestACL(t *testing.T) {
	t.Parallel()
	s := serve(t)
	const password = "p@ss/wörd:#?%"
	args := []any{"ACL", "SETUSER", "kit", "on", ">" + password}
	for _, r := range strings.Fields(rules) {
		args = append(args, r)
	}
	s.do(args...)
	s.do("ACL", "SETUSER", "default", "off")
	url := "redis://kit:p%40ss%2Fw%C3%B6rd%3A%23%3F%25@127.0.0.1:" + s.port
	tokencachetest.Run(t, func(t *testing.T) tokencache.Store { return open(t, url, redisstore.Options{}) })
	if _, err := open(t, url, redisstore.Options{}).Epoch(t.Context(), "k"); err != nil {
		t.Error("Epoch:", err)
	}
	for name, tt := range map[string]struct{ url, prefix, want string }{
		"wrong password": {"redis://kit:canary@127.0.0.1:" + s.port, "", "WRONGPASS"},
		"no password":    {s.url(), "", "NOAUTH"},
		"other prefix":   {url, "other:", "NOPERM"},
	} {
		store := open(t, tt.url, redisstore.Options{Prefix: tt.prefix})
		_, err := store.CAS(t.Context(), "k", 0, []byte("canary"), time.Minute)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: CAS: %v", name, err)
		}
		if _, _, err := store.Load(t.Context(), "k"); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Load: %v", name, err)
		}
	}
}

// more is what the package documents for another database and for replicas.
const more = "+select +wait +pttl"

func TestACLForAnotherDatabaseAndReplicas(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for user, all := range map[string]string{"less": rules, "kit": rules + " " + more} {
		args := []any{"ACL", "SETUSER", user, "on", ">password"}
		for _, r := range strings.Fields(all) {
			args = append(args, r)
		}
		s.do(args...)
	}
	for _, tt := range []struct {
		url      string
		replicas int
		want     string
	}{
		{"redis://less:password@127.0.0.1:" + s.port + "/3", 0, "NOPERM"},
		{"redis://less:password@127.0.0.1:" + s.port, 1, "NOPERM"},
		{"redis://kit:password@127.0.0.1:" + s.port + "/3", 0, ""},
		{"redis://kit:password@127.0.0.1:" + s.port + "/3", 1, "0 of 1 replicas"},
	} {
		store := open(t, tt.url, redisstore.Options{Replicas: tt.replicas})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		key := fmt.Sprint("k", tt.replicas)
		_, err := store.CAS(ctx, key, 0, nil, time.Minute)
		cancel()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s, %d replicas: CAS: %v, want %q", tt.url, tt.replicas, err, tt.want)
		}
		if tt.replicas == 0 || tt.want == "NOPERM" {
			continue
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		_, _, err = store.Load(ctx, key) // touches what the CAS left unsure
		cancel()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Load: %v, want %q", err, tt.want)
		}
	}
}

// TestDocumentedACL keeps the documentation's rules those that are tested.
func TestDocumentedACL(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	plain := strings.Join(strings.Fields(strings.NewReplacer("//", " ", "\\\n", " ").Replace(string(doc))), " ")
	for _, rule := range strings.Fields(more) {
		if !strings.Contains(plain, rule) {
			t.Error("the package documentation does not have", rule)
		}
	}
	if !strings.Contains(plain, rules) {
		t.Error("the package documentation does not have the rules that TestACL uses")
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ca, dir := certify(t)
	port := freePort(t)
	serve(t, "--tls-port", port, "--tls-cert-file", filepath.Join(dir, "server.pem"), "--tls-key-file", filepath.Join(dir, "server.key"),
		"--tls-ca-cert-file", filepath.Join(dir, "ca.pem"), "--tls-auth-clients", "yes")
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key"))
	if err != nil {
		t.Fatal(err)
	}
	trusting := &tls.Config{RootCAs: ca, Certificates: []tls.Certificate{pair}}
	tokencachetest.Run(t, func(t *testing.T) tokencache.Store {
		return open(t, "rediss://127.0.0.1:"+port, redisstore.Options{TLS: trusting})
	})
	load := func(url string, c *tls.Config) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, _, err := open(t, url, redisstore.Options{TLS: c}).Load(ctx, "k")
		return err
	}
	if err := load("rediss://127.0.0.1:"+port, nil); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Error("an unknown authority:", err)
	}
	if err := load("rediss://127.0.0.1:"+port, &tls.Config{RootCAs: ca}); err == nil {
		t.Error("no client certificate, accepted")
	}
	other := trusting.Clone()
	other.ServerName = "other.example"
	if err := load("rediss://127.0.0.1:"+port, other); err == nil {
		t.Error("a certificate for another name, accepted")
	}
	if err := load("redis://127.0.0.1:"+port, nil); err == nil {
		t.Error("no TLS, accepted")
	}
}

// certify makes an authority and certificates for 127.0.0.1 and a client.
func certify(t *testing.T) (*x509.CertPool, string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var ca *x509.Certificate
	var caKey *ecdsa.PrivateKey
	issue := func(name string, usage ...x509.ExtKeyUsage) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usage, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		}
		parent, parentKey := ca, caKey
		if ca == nil {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
			parent, parentKey, ca, caKey = c, key, c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
		if err != nil {
			t.Fatal(err)
		}
		priv, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(name+".pem", "CERTIFICATE", der)
		write(name+".key", "PRIVATE KEY", priv)
		if c.IsCA {
			if ca, err = x509.ParseCertificate(der); err != nil {
				t.Fatal(err)
			}
		}
	}
	issue("ca")
	issue("server", x509.ExtKeyUsageServerAuth)
	issue("client", x509.ExtKeyUsageClientAuth)
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return pool, dir
}
