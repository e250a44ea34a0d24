package middleware_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/middleware"
)

const canary = "canary-0123456789abcdef0123456789abcdef"

// printed is v in every form that a program may write it in, but for fmt's %p,
// which asks no method and is for pointers (go vet refuses it here).
func printed(v any) string {
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "% x", "%08.3f", "%t"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	fmt.Fprintln(&b, v)
	for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(h).Info("x", "v", v, slog.Group("g", "v", v))
	}
	if j, err := json.Marshal(v); err == nil {
		b.Write(j)
	}
	if x, err := xml.Marshal(v); err == nil {
		b.Write(x)
	}
	var g bytes.Buffer
	if gob.NewEncoder(&g).Encode(v) == nil {
		b.Write(g.Bytes())
	}
	return b.String()
}

// fill puts the canary into every exported field that may hold a secret.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			return // what a server or a token says in the clear
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.Set(reflect.ValueOf([]byte(canary)).Convert(v.Type()))
			return
		}
		if v.CanSet() && v.Type().Elem().Kind() != reflect.String {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fill(v.Index(0))
		}
	case reflect.Map:
		if v.Type() == reflect.TypeFor[http.Header]() {
			v.Set(reflect.ValueOf(http.Header{"Authorization": {"Bearer " + canary}}))
		}
	}
}

// Every exported struct of the package is here, or this fails.
func TestNothingPrintsASecret(t *testing.T) {
	i := newIssuer(t)
	structs := map[string]any{
		"Config": middleware.Config{}, "Issuer": middleware.Issuer{}, "Opaque": middleware.Opaque{}, "Rule": middleware.Rule{}, "Renew": middleware.Renew{}, "Transport": middleware.Transport{},
		"Error": middleware.Error{}, "ChallengeError": middleware.ChallengeError{}, "Stats": middleware.Stats{}, "ForwardAuthConfig": middleware.ForwardAuthConfig{},
		"RenewalError": middleware.RenewalError{},
	}
	skipped := map[string]bool{"Verified": true, "Authenticator": true, "DenyList": true} // below
	for _, name := range exportedStructs(t) {
		if skipped[name] {
			continue
		}
		zero, known := structs[name]
		require.True(t, known, "the exported struct %s is not looked at", name)
		v := reflect.New(reflect.TypeOf(zero))
		fill(v.Elem())
		requireNoCanary(t, name, printed(v.Interface()), canary)
		if name != "Transport" { // which must not be copied
			requireNoCanary(t, name, printed(v.Elem().Interface()), canary)
			requireNoCanary(t, name, printed(struct{ X any }{v.Elem().Interface()}), canary)
			requireNoCanary(t, name, printed([]any{v.Interface()}), canary)
		}
	}
	// The token itself, and what signs it.
	raw := mint(t, i, map[string]any{"sub": "raw"})
	verified, err := authFor(t, static(i)).Verify(t.Context(), raw)
	require.NoError(t, err)
	secretPart := raw[strings.LastIndexByte(raw, '.')+1:]
	for _, v := range []any{verified, *verified, []middleware.Verified{*verified}, map[string]*middleware.Verified{"x": verified}, struct{ V *middleware.Verified }{verified}} {
		requireNoCanary(t, "Verified", printed(v), secretPart)
	}
	require.Equal(t, "middleware.Verified(raw of https://issuer.example)", fmt.Sprint(verified))
	ctx := middleware.NewContext(t.Context(), verified)
	child, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, v := range []any{ctx, child, httptest.NewRequest("GET", "/", nil).WithContext(ctx), struct{ C context.Context }{ctx}} {
		requireNoCanary(t, "a context", printed(v), secretPart)
	}
	var deny middleware.DenyList
	deny.Add(verified)
	requireNoCanary(t, "DenyList", printed(&deny), secretPart)
	auth := authFor(t, middleware.Issuer{Issuer: "a", AnyAudience: true, Algorithms: []string{"HS256"}, Secrets: [][]byte{[]byte(canary)}})
	requireNoCanary(t, "Authenticator", printed(auth), canary)
}

func requireNoCanary(t *testing.T, name, text, secret string) {
	t.Helper()
	for form, s := range map[string]string{
		"plain": secret, "base64": base64.StdEncoding.EncodeToString([]byte(secret))[:20], "raw base64url": b64url(secret)[:20],
		"hex": hex.EncodeToString([]byte(secret))[:20], "HEX": strings.ToUpper(hex.EncodeToString([]byte(secret)))[:20],
		"spaced hex": fmt.Sprintf("% x", secret)[:20], "bytes": strings.Trim(fmt.Sprint([]byte(secret)[:8]), "[]"),
	} {
		require.NotContains(t, text, s, "%s prints a secret, %s", name, form)
	}
}

// exportedStructs are the names of the package's exported struct types.
func exportedStructs(t *testing.T) (names []string) {
	files, err := fs.Glob(os.DirFS("."), "*.go")
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range g.Specs {
				if ts, ok := s.(*ast.TypeSpec); ok && ts.Name.IsExported() {
					if _, is := ts.Type.(*ast.StructType); is {
						names = append(names, ts.Name.Name)
					}
				}
			}
		}
	}
	require.Contains(t, names, "Issuer")
	return names
}
