package main

import (
	_ "embed"
	"net/http"
)

//go:embed page.html
var pageHTML []byte

func (g *gateway) page() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(pageHTML)
	})
}
