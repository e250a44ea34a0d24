package handlers

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted keeps the struct that embeds it from being printed or encoded,
// because its fields may hold keys.
type redacted struct{}

const redactedText = "(redacted)"

// Format writes a fixed text for every verb.
func (redacted) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redactedText) }

// LogValue returns a fixed text for log/slog.
func (redacted) LogValue() slog.Value { return slog.StringValue(redactedText) }

// MarshalText returns a fixed text for encoding/json, encoding/xml and others.
func (redacted) MarshalText() ([]byte, error) { return []byte(redactedText), nil }

// MarshalBinary returns a fixed text for encoding/gob.
func (redacted) MarshalBinary() ([]byte, error) { return []byte(redactedText), nil }
