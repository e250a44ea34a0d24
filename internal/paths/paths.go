// Package paths tells which paths of URLs every server reads alike.
package paths

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// Ambiguous reports a path that two servers could read as different ones.
// With slashes an encoded slash is no reason.
func Ambiguous(u *url.URL, slashes bool) bool {
	path := u.EscapedPath()
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "//") || strings.Contains(path, `\`) {
		return true
	}
	for i := range len(path) {
		if path[i] != '%' {
			continue
		}
		c, err := url.PathUnescape(path[i:min(i+3, len(path))])
		if err != nil || strings.ContainsAny(c, `.\%`) || c == "/" && !slashes || c < " " || c == "\x7f" {
			return true
		}
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		segment, _, _ = strings.Cut(segment, ";") // some servers cut parameters off, or blanks
		if segment = strings.TrimSpace(segment); segment == "." || segment == ".." {
			return true
		}
	}
	// An overlong dot is one to some; an empty segment may be made by %2F.
	return !utf8.ValidString(u.Path) || strings.Contains(u.Path, "//")
}
