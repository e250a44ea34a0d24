package upstream

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
)

var errForm = errors.New("upstream: a Call and a Response hold credentials and have no JSON form")

// String says what the call does. It contains no URL, header or body, which may
// hold credentials.
func (c Call) String() string { return "upstream.Call(" + c.Op + ", redacted)" }

// Format writes [Call.String] for every verb.
func (c Call) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue is [Call.String] for log/slog.
func (c Call) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON always fails.
func (c Call) MarshalJSON() ([]byte, error) { return nil, errForm }

// String says which status the answer has. It contains no header or body, which
// may hold credentials.
func (r Response) String() string {
	return "upstream.Response(" + strconv.Itoa(r.Status) + ", redacted)"
}

// Format writes [Response.String] for every verb.
func (r Response) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }

// LogValue is [Response.String] for log/slog.
func (r Response) LogValue() slog.Value { return slog.StringValue(r.String()) }

// MarshalJSON always fails.
func (r Response) MarshalJSON() ([]byte, error) { return nil, errForm }
