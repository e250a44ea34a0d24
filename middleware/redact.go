package middleware

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// A configuration holds secrets, and a Verified the token itself. None of them
// prints or writes these, whatever the form.

var errSecretForm = errors.New("middleware: a configuration holds secrets and has no text form")

// Format writes a fixed text: a Config holds secrets.
func (Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "middleware.Config(redacted)") }

// LogValue returns a fixed text for log/slog.
func (Config) LogValue() slog.Value { return slog.StringValue("middleware.Config(redacted)") }

// MarshalText always fails, and with it the encoding as JSON and XML.
func (Config) MarshalText() ([]byte, error) { return nil, errSecretForm }

// GobEncode always fails.
func (Config) GobEncode() ([]byte, error) { return nil, errSecretForm }

// String returns the name of the issuer only: an Issuer may hold secrets.
func (i Issuer) String() string { return "middleware.Issuer(" + i.Issuer + ", redacted)" }

// Format writes the text of String.
func (i Issuer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, i.String()) }

// LogValue returns the text of String.
func (i Issuer) LogValue() slog.Value { return slog.StringValue(i.String()) }

// MarshalText always fails, and with it the encoding as JSON and XML.
func (Issuer) MarshalText() ([]byte, error) { return nil, errSecretForm }

// GobEncode always fails.
func (Issuer) GobEncode() ([]byte, error) { return nil, errSecretForm }

// String returns issuer and subject, without the token.
func (v Verified) String() string {
	return fmt.Sprintf("middleware.Verified(%s of %s)", quoted(v.Subject), quoted(v.Issuer))
}

// Format writes the text of String.
func (v Verified) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, v.String()) }

// LogValue returns the text of String.
func (v Verified) LogValue() slog.Value { return slog.StringValue(v.String()) }

// Format writes a fixed text, because fmt asks no method of the token inside.
func (*verifiedContext) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "context with middleware.Verified")
}

// Format writes a fixed text, because an Authenticator holds its configuration.
func (*Authenticator) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "middleware.Authenticator")
}
