package doctest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	// The packages that snippets import.
	_ "github.com/MicahParks/keyfunc/v3"
	_ "github.com/auth0/go-jwt-middleware/v3"
	_ "github.com/auth0/go-jwt-middleware/v3/jwks"
	_ "github.com/auth0/go-jwt-middleware/v3/validator"
	_ "github.com/gin-gonic/gin"
	_ "github.com/go-chi/chi/v5"
	_ "github.com/golang-jwt/jwt/v5"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/labstack/echo/v4"
	_ "github.com/prometheus/client_golang/prometheus"
	_ "github.com/redis/go-redis/v9"
	_ "go.etcd.io/bbolt"
	_ "golang.org/x/oauth2"
	_ "golang.org/x/oauth2/clientcredentials"
	_ "google.golang.org/grpc"

	_ "github.com/bearerkit/bearerkit/examples/boltstore"
	_ "github.com/bearerkit/bearerkit/examples/observe"
	_ "github.com/bearerkit/bearerkit/handlers"
	_ "github.com/bearerkit/bearerkit/middleware/authtest"
	_ "github.com/bearerkit/bearerkit/middleware/grpc"
	_ "github.com/bearerkit/bearerkit/middleware/otel"
	_ "github.com/bearerkit/bearerkit/tokencache/oauth2bridge"
	_ "github.com/bearerkit/bearerkit/tokencache/otel"
	_ "github.com/bearerkit/bearerkit/tokencache/redisstore"
	_ "github.com/bearerkit/bearerkit/tokencache/sqlstore"
	_ "github.com/bearerkit/bearerkit/tokencache/tokencachetest"
)

const kit = "github.com/bearerkit/bearerkit/"

// imports are the packages that a snippet may use without an import clause, by
// the name it has there.
var imports = map[string]string{
	"handlers": kit + "handlers", "middleware": kit + "middleware", "authtest": kit + "middleware/authtest",
	"tokencache": kit + "tokencache", "tokencachetest": kit + "tokencache/tokencachetest",
	"redisstore": kit + "tokencache/redisstore", "sqlstore": kit + "tokencache/sqlstore", "oauth2bridge": kit + "tokencache/oauth2bridge",
	"grpcauth": kit + "middleware/grpc", "oteltokencache": kit + "tokencache/otel", "otelmiddleware": kit + "middleware/otel",
	"providers": kit + "providers", "oauth": kit + "providers/oauth", "redacto": kit + "providers/redacto", "redox": kit + "providers/redox",
	"contactsmanager": kit + "providers/contactsmanager", "kudo": kit + "providers/kudo", "providertest": kit + "providers/providertest",
	"boltstore": kit + "examples/boltstore", "observe": kit + "examples/observe", "upstream": kit + "providers/upstream", "browser": kit + "handlers/browser",

	"context": "context", "errors": "errors", "fmt": "fmt", "http": "net/http", "httptest": "net/http/httptest", "httputil": "net/http/httputil",
	"io": "io", "json": "encoding/json", "log": "log", "os": "os", "slog": "log/slog", "slices": "slices", "sql": "database/sql",
	"strings": "strings", "testing": "testing", "time": "time", "tls": "crypto/tls", "url": "net/url", "x509": "crypto/x509", "pem": "encoding/pem",
	"cmp": "cmp", "crypto": "crypto", "strconv": "strconv", "rand": "crypto/rand", "base64": "encoding/base64", "hex": "encoding/hex",

	"keyfunc": "github.com/MicahParks/keyfunc/v3", "jwt": "github.com/golang-jwt/jwt/v5", "jwks": "github.com/auth0/go-jwt-middleware/v3/jwks",
	"jwtmiddleware": "github.com/auth0/go-jwt-middleware/v3", "validator": "github.com/auth0/go-jwt-middleware/v3/validator",
	"oauth2": "golang.org/x/oauth2", "clientcredentials": "golang.org/x/oauth2/clientcredentials", "grpc": "google.golang.org/grpc",
	"chi": "github.com/go-chi/chi/v5", "gin": "github.com/gin-gonic/gin", "echo": "github.com/labstack/echo/v4",
	"prometheus": "github.com/prometheus/client_golang/prometheus", "redis": "github.com/redis/go-redis/v9", "bbolt": "go.etcd.io/bbolt",
}

// known declares what the snippets of docs, but not those of README.md, may use
// without declaring it: each stands for something of the reader's.
const known = `package snippet

import (
	"context"
	"crypto/x509"
	"net/http"

	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/upstream"
	"github.com/bearerkit/bearerkit/tokencache"
)

var _ upstream.Call

var (
	ctx      context.Context
	mux      *http.ServeMux
	w        http.ResponseWriter
	r        *http.Request
	auth     *middleware.Authenticator
	cache    *tokencache.Cache
	provider providers.Provider
	store    tokencache.Store
	source   *tokencache.Source
	user     string
	secret   string
	clientID string
	nameKey  []byte
	sealKeys [][]byte

	legacySecret []byte
	cluster      *http.Client
	podToken     middleware.TokenSource
	clusterCA    *x509.CertPool

	orders   http.Handler

	tokens, counts func(context.Context, providers.Event)

	me, events, socket http.HandlerFunc
)
`

// earlier declares what an earlier snippet of the page has. It stands in for it
// where a snippet does not declare it itself.
var earlier = map[string]string{
	"Acme":   "type Acme struct {\n\tproviders.Provider\n\tclient *upstream.Client\n\turl    string\n\tkey    func() string\n}",
	"New":    "func New(base, key string) (*Acme, error) { return nil, nil }",
	"routes": "func routes(issuer middleware.Issuer, orders, stock http.HandlerFunc) (http.Handler, error) { return nil, nil }",
}

type snippet struct {
	at   string // file:line
	text string
}

var (
	fence      = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")
	mainClause = regexp.MustCompile(`(?m)^package main$`)
	ellipsis   = regexp.MustCompile(`(?m)^\s*…\n|,? ?…(\})`)
)

// snippets returns the Go code blocks of a Markdown file.
func snippets(t *testing.T, file string) (out []snippet) {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, m := range fence.FindAllSubmatchIndex(b, -1) {
		line := 1 + bytes.Count(b[:m[2]], []byte("\n"))
		text := ellipsis.ReplaceAllString(string(b[m[2]:m[3]]), "$1")
		out = append(out, snippet{fmt.Sprintf("%s:%d", filepath.Base(file), line), text})
	}
	return out
}

func pages(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	require.NotEmpty(t, docs)
	return append([]string{"../../README.md"}, docs...)
}

// source makes a Go file of a snippet: a whole file, declarations, statements,
// or an expression.
func source(s snippet) (string, error) {
	if parses(s.text) {
		return s.text, nil
	}
	var first error
	for _, wrap := range []string{"%s", "var _ = []any{\n%s,\n}\n", "func _() any {\n%s\n%sreturn nil\n}\n"} {
		body := s.text
		var args []any
		switch {
		case strings.HasPrefix(wrap, "func"):
			args = []any{body, used(body)}
		case strings.HasPrefix(wrap, "var"):
			args = []any{strings.TrimRight(body, "\n ")}
		default:
			args = []any{body}
		}
		text := "package snippet\n\n" + fmt.Sprintf(wrap, args...)
		f, err := parser.ParseFile(token.NewFileSet(), "", text, 0)
		if err != nil {
			if first == nil || strings.HasPrefix(wrap, "func") {
				first = err
			}
			continue
		}
		return strings.Replace(text, "\n", "\n"+clause(f), 1), nil
	}
	return "", first
}

func parses(text string) bool {
	_, err := parser.ParseFile(token.NewFileSet(), "", text, 0)
	return err == nil
}

// used assigns the variables that statements declare to the blank identifier:
// a snippet shows how a value is made, and may leave out what is done with it.
func used(statements string) string {
	f, err := parser.ParseFile(token.NewFileSet(), "", "package p; func _() any {\n"+statements+"\n}", 0)
	if err != nil {
		return ""
	}
	names := map[string]bool{}
	for _, st := range f.Decls[0].(*ast.FuncDecl).Body.List {
		if a, ok := st.(*ast.AssignStmt); ok && a.Tok == token.DEFINE {
			for _, l := range a.Lhs {
				names[l.(*ast.Ident).Name] = true
			}
		}
	}
	delete(names, "_")
	var b strings.Builder
	for _, n := range slices.Sorted(maps.Keys(names)) {
		b.WriteString("_ = " + n + "\n")
	}
	return b.String()
}

// clause imports the known packages whose names f selects from.
func clause(f *ast.File) string {
	have := map[string]bool{}
	for _, spec := range f.Imports {
		have[path.Base(strings.Trim(spec.Path.Value, `"`))] = true
	}
	need := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok && id.Obj == nil && imports[id.Name] != "" && !have[id.Name] {
				need[id.Name] = true
			}
		}
		return true
	})
	var b strings.Builder
	for _, n := range slices.Sorted(maps.Keys(need)) {
		fmt.Fprintf(&b, "import %s %q\n", n, imports[n])
	}
	return b.String()
}

// compile type-checks snippets, each as a package of its own, without a file of
// theirs in the module.
func compile(t *testing.T, all []snippet, prelude string) error {
	t.Helper()
	dir := t.TempDir()
	here, err := os.Getwd()
	require.NoError(t, err)
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	args := []string{"build", "-overlay", filepath.Join(dir, "overlay.json")}
	for i, s := range all {
		text, err := source(s)
		require.NoError(t, err, s.at)
		put := func(name, text string) {
			file := filepath.Join(dir, fmt.Sprintf("%d-%s", i, name))
			require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
			overlay.Replace[filepath.Join(here, "snippet", fmt.Sprint(i), name)] = file
		}
		text = mainClause.ReplaceAllString(text, "package snippet") // a program is not linked
		put("snippet.go", "//line "+s.at+"\n"+text)
		if prelude != "" && !parses(s.text) {
			put("known.go", prelude+standIns(text))
		}
		args = append(args, fmt.Sprintf("./snippet/%d", i))
	}
	b, err := json.Marshal(overlay)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), b, 0o600))
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s", out)
	}
	return nil
}

// standIns are the declarations of earlier that file does not have.
func standIns(file string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(earlier)) {
		if !regexp.MustCompile(`(?m)^(func|type) ` + name + `\b`).MatchString(file) {
			b.WriteString("\n" + earlier[name] + "\n")
		}
	}
	return b.String()
}

func TestEverySnippetCompiles(t *testing.T) {
	for _, file := range pages(t) {
		all := snippets(t, file)
		if len(all) == 0 {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			prelude := known
			if filepath.Base(file) == "README.md" {
				prelude = ""
			}
			require.NoError(t, compile(t, all, prelude))
		})
	}
}

func TestASnippetThatDoesNotCompileIsFound(t *testing.T) {
	for text, want := range map[string]string{
		"h := middleware.Subjekt(ctx)\n":              "undefined: middleware.Subjekt",
		"middleware.Issuer{Isuer: \"https://a\"}\n":   "unknown field Isuer",
		"func f() error { return undeclared }\n":      "undefined: undeclared",
		"package main\n\nfunc main() { missing() }\n": "undefined: missing",
	} {
		require.ErrorContains(t, compile(t, []snippet{{"page.md:1", text}}, known), want, text)
	}
}
