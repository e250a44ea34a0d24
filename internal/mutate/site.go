package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// site is one place of the code and the text that replaces it.
type site struct {
	id                 int // its number in the sample, from 1
	pkg, file          string
	line, from, to     int
	operator, old, new string
	in                 *function // nil outside of functions
}

// function is where a declared function's body lies in its file, and the text
// of the file between labels, which are renamed in a copy of the body.
type function struct {
	from, to int
	results  bool
	labels   []int // offsets at which a label's name ends
}

const module = "github.com/bearerkit/bearerkit/"

// String is the site in one line.
func (s site) String() string {
	text := []string{s.old, s.new}
	for i := range text {
		if line := []rune(strings.Join(strings.Fields(text[i]), " ")); len(line) > 70 {
			text[i] = string(line[:70]) + "…"
		}
	}
	return fmt.Sprintf("%s/%s:%d %s: %s → %s", strings.TrimPrefix(s.pkg, module), filepath.Base(s.file), s.line, s.operator, text[0], text[1])
}

var swaps = map[token.Token]string{
	token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">", token.EQL: "!=", token.NEQ: "==",
	token.LAND: "||", token.LOR: "&&", token.ADD: "-", token.SUB: "+",
}

// Functions whose result is text for people, and calls that log, are no places.
var (
	printed = regexp.MustCompile(`^(String|GoString|Error|Format)$`)
	logs    = regexp.MustCompile(`^(log|slog|fmt)\.|\.(Debug|Info|Warn|Error|Log)(Context|Attrs)?\(`)
)

// sites lists the places of the packages, in the order of their files.
func sites(packages []string) (all []site, err error) {
	out, err := exec.Command("go", append([]string{"list", "-f", "{{$p := .}}{{range .GoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}\n{{end}}"}, packages...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("go list %q: %w", packages, err)
	}
	for line := range strings.Lines(string(out)) {
		pkg, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		src, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		set := token.NewFileSet()
		tree, err := parser.ParseFile(set, file, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		if ast.IsGenerated(tree) || filepath.Base(file) == "doc.go" {
			continue
		}
		c := &collector{set: set, src: src, site: site{pkg: pkg, file: file}}
		ast.PreorderStack(tree, nil, c.visit)
		all = append(all, c.found...)
	}
	return all, nil
}

// collector finds the places of one file.
type collector struct {
	set   *token.FileSet
	src   []byte
	site  site
	found []site
}

func (c *collector) at(p token.Pos) int { return c.set.Position(p).Offset }

func (c *collector) text(n ast.Node) string { return string(c.src[c.at(n.Pos()):c.at(n.End())]) }

func (c *collector) add(operator string, from, to token.Pos, text string) {
	s := c.site
	s.operator, s.line, s.from, s.to, s.new = operator, c.set.Position(from).Line, c.at(from), c.at(to), text
	s.old = string(c.src[s.from:s.to])
	if s.in != nil && s.from > s.in.to {
		s.in = nil
	}
	c.found = append(c.found, s)
}

func (c *collector) visit(n ast.Node, stack []ast.Node) bool {
	switch n := n.(type) {
	case *ast.FuncDecl:
		if n.Body == nil || printed.MatchString(n.Name.Name) {
			return false
		}
		c.site.in = &function{from: c.at(n.Body.Lbrace) + 1, to: c.at(n.Body.Rbrace), results: n.Type.Results != nil}
	case *ast.ImportSpec, *ast.Field:
		return false
	case *ast.LabeledStmt:
		c.site.in.labels = append(c.site.in.labels, c.at(n.Label.End()))
	case *ast.BranchStmt:
		if n.Label != nil {
			c.site.in.labels = append(c.site.in.labels, c.at(n.Label.End()))
		}
	case *ast.ExprStmt:
		return !logs.MatchString(c.text(n))
	case *ast.BinaryExpr:
		if to := swaps[n.Op]; to != "" && !(n.Op == token.ADD && strings.ContainsAny(c.text(n), "\"`")) {
			c.add("swap", n.OpPos, n.OpPos+token.Pos(len(n.Op.String())), to)
		}
	case *ast.UnaryExpr:
		if n.Op == token.NOT {
			c.add("not", n.Pos(), n.Pos()+1, "")
		}
	case *ast.IfStmt:
		b, binary := n.Cond.(*ast.BinaryExpr)
		if _, unary := n.Cond.(*ast.UnaryExpr); !unary && !(binary && (b.Op == token.EQL || b.Op == token.NEQ)) { // else another operator does it
			c.add("negate", n.Cond.Pos(), n.Cond.End(), "!("+c.text(n.Cond)+")")
		}
	case *ast.BlockStmt:
		c.deletions(n.List)
	case *ast.CaseClause:
		c.deletions(n.Body)
	case *ast.CommClause:
		c.deletions(n.Body)
	case *ast.ReturnStmt:
		if k := len(n.Results); k > 0 && c.text(n.Results[k-1]) != "nil" && returnsError(stack, k) {
			c.add("return", n.Results[k-1].Pos(), n.Results[k-1].End(), "nil")
		}
	case *ast.Ident:
		if to := map[string]string{"true": "false", "false": "true"}[n.Name]; to != "" {
			c.add("bool", n.Pos(), n.End(), to)
		}
	case *ast.BasicLit:
		switch {
		case n.Kind == token.INT && n.Value == "0":
			c.add("constant", n.Pos(), n.End(), "1")
		case n.Kind == token.INT || n.Kind == token.FLOAT:
			c.add("constant", n.Pos(), n.End(), "0")
			c.add("constant", n.Pos(), n.End(), "(2*"+n.Value+")")
		}
	}
	return true
}

// deletions adds the statements of a list that may go.
func (c *collector) deletions(list []ast.Stmt) {
	for _, stmt := range list {
		ok := false
		switch s := stmt.(type) {
		case *ast.ExprStmt:
			ok = !logs.MatchString(c.text(s))
		case *ast.AssignStmt:
			ok = s.Tok != token.DEFINE && c.text(s.Lhs[0]) != "_"
		case *ast.IncDecStmt:
			ok = true
		case *ast.BranchStmt:
			ok = s.Tok == token.BREAK || s.Tok == token.CONTINUE
		}
		if ok {
			c.add("delete", stmt.Pos(), stmt.End(), "")
		}
	}
}

// returnsError reports that the innermost function has k results and the last
// is an error.
func returnsError(stack []ast.Node, k int) bool {
	for i := len(stack) - 1; i >= 0; i-- {
		var t *ast.FuncType
		switch f := stack[i].(type) {
		case *ast.FuncDecl:
			t = f.Type
		case *ast.FuncLit:
			t = f.Type
		default:
			continue
		}
		if t.Results == nil || t.Results.NumFields() != k {
			return false
		}
		id, ok := t.Results.List[len(t.Results.List)-1].Type.(*ast.Ident)
		return ok && id.Name == "error"
	}
	return false
}
