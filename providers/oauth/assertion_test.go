package oauth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
)

// workload is an assertion as a platform projects it, unsigned.
func workload(aud any, exp time.Time) string {
	e := base64.RawURLEncoding.EncodeToString
	claims, _ := json.Marshal(map[string]any{"aud": aud, "exp": exp.Unix(), "sub": "canary"})
	return e([]byte(`{"alg":"RS256"}`)) + "." + e(claims) + "." + e([]byte("canary"))
}

func TestAssertionFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	c, s := client(t, ok)
	c.Secret, c.AssertionFile, c.AssertionAudience = "", file, "api://AzureADTokenExchange"
	p := provider(t, c)
	for _, v := range []struct {
		name, content string
		sent          bool
		class         providers.Class
		text          string
	}{
		{"good", workload("api://AzureADTokenExchange", start.Add(time.Minute)), true, 0, ""},
		{"another, with a line break", workload([]string{"x", "api://AzureADTokenExchange"}, start.Add(time.Hour)) + "\n", true, 0, ""},
		{"of Windows", workload("api://AzureADTokenExchange", start.Add(time.Hour)) + "\r\n", true, 0, ""},
		{"two line breaks", workload("api://AzureADTokenExchange", start.Add(time.Hour)) + "\n\n", false, providers.Permanent, "AssertionFile: the assertion has characters outside printable ASCII"},
		{"empty", "", false, providers.Transient, "is empty"},
		{"a line break", "\n", false, providers.Transient, "is empty"},
		{"not a JWT", "canary", false, providers.Transient, "not a JWT"},
		{"expired", workload("api://AzureADTokenExchange", start), false, providers.Transient, "has expired"},
		{"the default Kubernetes token", workload([]string{"https://kubernetes.default.svc"}, start.Add(time.Hour)), false, providers.Permanent, "aud is not AssertionAudience"},
		{"no aud", workload(nil, start.Add(time.Hour)), false, providers.Permanent, "aud is not AssertionAudience"},
		{"too long", strings.Repeat("x", 1<<17), false, providers.Transient, "over 65536 bytes"},
	} {
		require.NoError(t, os.WriteFile(file, []byte(v.content), 0o600))
		n := len(s.got)
		_, err := p.Generate(t.Context(), providers.Request{})
		if !v.sent {
			e := failure(t, err)
			require.Equal(t, v.class, e.Class, v.name)
			require.ErrorContains(t, e.Err, v.text, v.name)
			require.ErrorContains(t, err, v.text, "%s: the public half says it too", v.name)
			require.Len(t, s.got, n, "%s: not sent", v.name)
			continue
		}
		require.NoError(t, err, v.name)
		require.Equal(t, url.Values{"grant_type": {"client_credentials"}, "client_assertion": {strings.TrimRight(v.content, "\r\n")},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}, s.last().form)
	}
	require.NoError(t, os.Remove(file))
	_, err := p.Generate(t.Context(), providers.Request{})
	require.Equal(t, providers.Transient, failure(t, err).Class)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "AssertionFile: the file cannot be read")
}

func TestAssertionFunc(t *testing.T) {
	c, s := client(t, ok)
	c.Secret, c.AssertionAudience = "", "https://as.example"
	var next string
	var fail error
	c.AssertionFunc = func(context.Context) (string, error) { return next, fail }
	p := provider(t, c)
	for range 2 {
		next = workload("https://as.example", start.Add(time.Duration(len(s.got)+1)*time.Minute))
		_, err := p.Generate(t.Context(), providers.Request{})
		require.NoError(t, err)
		require.Equal(t, next, s.last().form.Get("client_assertion"))
	}
	next = workload("https://as.example", start.Add(time.Hour)) + "\n"
	_, err := p.Generate(t.Context(), providers.Request{})
	require.Equal(t, providers.Permanent, failure(t, err).Class, "no later attempt could send it")
	require.Contains(t, failure(t, err).Description, "AssertionFunc")
	fail = errors.New("no socket")
	_, err = p.Generate(t.Context(), providers.Request{})
	require.ErrorIs(t, err, fail)
	require.Equal(t, providers.Transient, failure(t, err).Class)
	require.Len(t, s.got, 2)
}

// A key from a function is checked as one from a field is.
func TestSecretsFromFunctionsAreChecked(t *testing.T) {
	for _, secret := range []string{"", "canary\n", "canary\r", "canary-\u00e9", "canary\x7f"} {
		c, s := client(t, ok)
		c.Secret, c.SecretFunc = "", func(context.Context) (string, error) { return secret, nil }
		_, err := provider(t, c).Generate(t.Context(), providers.Request{})
		e := failure(t, err)
		require.Equal(t, providers.CodeInternal, e.Code)
		require.Equal(t, providers.Permanent, e.Class, "%q", secret)
		require.Contains(t, e.Description, "SecretFunc")
		require.Empty(t, s.got)
	}
}

// The assertion of jwt_bearer may be our own, as Google's service accounts have
// it.
func TestOurOwnAssertion(t *testing.T) {
	c, s := client(t, ok)
	c.Grant, c.Secret, c.Key, c.ClientID = "jwt_bearer", "", oauth.Key{ID: "kid", Signer: ed}, "sa@project.example"
	c.Claims, c.Scopes = map[string]any{"target": "x"}, []string{"read", "write"}
	p := provider(t, c)
	_, err := p.Generate(t.Context(), providers.Request{Subject: "user@example.com"})
	require.NoError(t, err)
	form := s.last().form
	require.Len(t, form, 2, "no client authentication, and the scope is a claim")
	require.Equal(t, "urn:ietf:params:oauth:grant-type:jwt-bearer", form.Get("grant_type"))
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(form.Get("assertion"), ".")[1])
	require.NoError(t, err)
	var claims map[string]any
	require.NoError(t, json.Unmarshal(payload, &claims))
	require.NotEmpty(t, claims["jti"])
	delete(claims, "jti")
	require.Equal(t, map[string]any{"iss": "sa@project.example", "sub": "user@example.com", "aud": "https://as.example/token", "scope": "read write",
		"target": "x", "iat": float64(start.Unix()), "exp": float64(start.Add(2 * time.Minute).Unix())}, claims)

	_, err = p.Generate(t.Context(), bearing("canary"))
	require.Equal(t, providers.CodeInvalidField, failure(t, err).Code, "it takes no caller's assertion")
	c, _ = client(t, answer{status: 400, body: `{"error":"invalid_grant"}`})
	c.Grant, c.Secret, c.Key, c.Claims = "jwt_bearer", "", oauth.Key{Signer: ed}, map[string]any{}
	_, err = provider(t, c).Generate(t.Context(), providers.Request{})
	require.Equal(t, providers.CodeCredentialsRejected, failure(t, err).Code, "it is our own that will not do")
}

func TestAnAssertionThatCannotBeSignedIsNotSent(t *testing.T) {
	fail := errors.New("the key is locked")
	c, s := client(t, ok)
	c.Grant, c.Secret, c.Key, c.Claims = "jwt_bearer", "", oauth.Key{Signer: broken{ed, fail}}, map[string]any{}
	_, err := provider(t, c).Generate(t.Context(), providers.Request{})
	require.ErrorIs(t, err, fail)
	require.Empty(t, s.got)
}

// broken is a key that signs nothing.
type broken struct {
	crypto.Signer
	err error
}

func (b broken) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, b.err }

// Microsoft Entra knows a key by its certificate's thumbprint.
func TestCertificateThumbprint(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, key.Public(), key)
	require.NoError(t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	c, s := client(t, ok)
	c.Secret, c.Key = "", oauth.Key{Signer: key, Certificate: text}
	_, err = provider(t, c).Generate(t.Context(), providers.Request{})
	require.NoError(t, err)
	header, err := base64.RawURLEncoding.DecodeString(strings.Split(s.last().form.Get("client_assertion"), ".")[0])
	require.NoError(t, err)
	sum := sha256.Sum256(der)
	require.JSONEq(t, fmt.Sprintf(`{"alg":"ES256","typ":"JWT","x5t#S256":%q}`, base64.RawURLEncoding.EncodeToString(sum[:])), string(header))

	c.Key.Signer = ed
	_, err = oauth.New(c)
	require.ErrorContains(t, err, "the certificate is of another key")
}

// stuck is a KMS that does not answer.
type stuck struct {
	crypto.Signer
	release chan struct{}
}

func (s stuck) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	<-s.release
	return s.Signer.Sign(r, digest, opts)
}

// crypto.Signer takes no context. A call ends with its own all the same.
func TestASignerThatHangs(t *testing.T) {
	key := ed
	synctest.Test(t, func(t *testing.T) {
		c, s := client(t, ok)
		remote := stuck{key, make(chan struct{})}
		c.Secret, c.Key = "", oauth.Key{Signer: remote}
		p := provider(t, c)
		for range 40 { // more than there are slots
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			begin := time.Now()
			_, err := p.Generate(ctx, providers.Request{})
			cancel()
			e := failure(t, err)
			require.Equal(t, providers.CodeTimeout, e.Code)
			require.Equal(t, providers.Transient, e.Class)
			require.Equal(t, time.Second, time.Since(begin))
		}
		begin := time.Now()
		_, err := p.Generate(t.Context(), providers.Request{})
		require.Equal(t, providers.CodeTimeout, failure(t, err).Code)
		require.Equal(t, 10*time.Second, time.Since(begin), "a call without a deadline")
		require.Empty(t, s.got)
		close(remote.release)
		synctest.Wait()
		_, err = p.Generate(t.Context(), providers.Request{})
		require.NoError(t, err)
	})
}
