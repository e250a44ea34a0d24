package tokencache

import (
	"fmt"
	"io"
	"log/slog"
)

// Format writes a fixed text for every verb: Options hold keys.
func (Options) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "tokencache.Options(redacted)") }

// LogValue is a fixed text.
func (Options) LogValue() slog.Value { return slog.StringValue("tokencache.Options(redacted)") }

// Format writes a fixed text for every verb: a Cache holds tokens.
func (*Cache) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "tokencache.Cache") }

// Format writes a fixed text for every verb: a Source names a user.
func (*Source) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "tokencache.Source") }
