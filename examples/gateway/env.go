package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// env reads variables and collects every fault.
type env struct {
	get  func(string) string
	log  *slog.Logger
	errs []error
}

func (e *env) fail(format string, args ...any) { e.errs = append(e.errs, fmt.Errorf(format, args...)) }

func (e *env) isSet(name string) bool { return e.get(name) != "" || e.get(name+"_FILE") != "" }

// group reports whether any variable of a vendor is set. If so, those in
// required must be.
func (e *env) group(vendor string, required, optional []string) bool {
	var missing []string
	any := false
	for _, n := range required {
		if e.isSet(n) {
			any = true
		} else {
			missing = append(missing, n)
		}
	}
	for _, n := range optional {
		any = any || e.isSet(n)
	}
	if any && len(missing) > 0 {
		e.fail("%s is half configured: %s missing", vendor, strings.Join(missing, ", "))
	}
	return any && len(missing) == 0
}

func (e *env) str(name, def string) string {
	if v := e.get(name); v != "" {
		return v
	}
	return def
}

// flag is a variable that is 1 or 0.
func (e *env) flag(name string, def bool) bool {
	switch e.get(name) {
	case "":
		return def
	case "1":
		return true
	case "0":
		return false
	}
	e.fail("%s: neither 1 nor 0", name)
	return def
}

func (e *env) list(name, def string) []string {
	var out []string
	for _, v := range strings.Split(e.str(name, def), ",") {
		if v = strings.TrimSpace(v); v != "" {
			out = append(out, v)
		}
	}
	return out
}

func (e *env) duration(name string, def, least time.Duration) time.Duration {
	v := e.get(name)
	if v == "" {
		return def
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < least {
		e.fail("%s: not a duration of at least %v, such as 15m", name, least)
		return def
	}
	return d
}

func (e *env) number(name string, def int) int {
	v := e.get(name)
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		e.fail("%s: not a positive number", name)
		return def
	}
	return n
}

// file reads what name, a path, points to.
func (e *env) file(name string) []byte {
	b, err := os.ReadFile(e.get(name))
	if err != nil {
		e.fail("%s: %w", name, err)
	}
	return b
}

// secret is a variable that can be given as NAME_FILE. A nil secret is not set.
func (e *env) secret(name string) *secret {
	value, file := e.get(name), e.get(name+"_FILE")
	switch {
	case value != "" && file != "":
		e.fail("%s and %s_FILE are both set", name, name)
		return nil
	case value != "":
		return &secret{last: value}
	case file == "":
		return nil
	}
	s := &secret{name: name, file: file, log: e.log}
	if err := s.read(); err != nil {
		e.fail("%s_FILE: %w", name, err)
		return nil
	}
	return s
}

// secret yields a value that may change on disk. While the file cannot be read
// the last good value stays.
type secret struct {
	name, file string
	log        *slog.Logger

	mu      sync.Mutex
	last    string
	info    os.FileInfo // of the file when it was last read
	settled bool        // it was older than 2 s then: a later change has another modification time
}

var errEmpty = errors.New("the file is empty")

func (s *secret) value() string {
	if s == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != "" {
		if err := s.read(); err != nil {
			s.log.Warn("keeping the last secret", "variable", s.name+"_FILE", "err", err)
		}
	}
	return s.last
}

func (s *secret) read() error {
	now := time.Now()
	info, err := os.Stat(s.file)
	if err != nil {
		return err
	}
	if s.settled && os.SameFile(info, s.info) && info.ModTime().Equal(s.info.ModTime()) && info.Size() == s.info.Size() {
		return nil
	}
	b, err := os.ReadFile(s.file)
	if err != nil {
		return err
	}
	// One line break at the end is an editor's; everything else is the secret's.
	v := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if strings.TrimSpace(v) == "" {
		return errEmpty
	}
	s.last, s.info, s.settled = v, info, now.Sub(info.ModTime()) > 2*time.Second
	return nil
}
