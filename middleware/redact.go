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

// LogValue is a fixed text.
func (Config) LogValue() slog.Value { return slog.StringValue("middleware.Config(redacted)") }

// MarshalText is an error, in JSON and XML too.
func (Config) MarshalText() ([]byte, error) { return nil, errSecretForm }

// GobEncode is an error.
func (Config) GobEncode() ([]byte, error) { return nil, errSecretForm }

// String names the issuer alone: an Issuer may hold secrets.
func (i Issuer) String() string { return "middleware.Issuer(" + i.Issuer + ", redacted)" }

// Format writes what String does.
func (i Issuer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, i.String()) }

// LogValue is what String returns.
func (i Issuer) LogValue() slog.Value { return slog.StringValue(i.String()) }

// MarshalText is an error, in JSON and XML too.
func (Issuer) MarshalText() ([]byte, error) { return nil, errSecretForm }

// GobEncode is an error.
func (Issuer) GobEncode() ([]byte, error) { return nil, errSecretForm }

// String names issuer and subject, and not the token.
func (v Verified) String() string {
	return fmt.Sprintf("middleware.Verified(%s of %s)", quoted(v.Subject), quoted(v.Issuer))
}

// Format writes what String does.
func (v Verified) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, v.String()) }

// LogValue is what String returns.
func (v Verified) LogValue() slog.Value { return slog.StringValue(v.String()) }

// Format writes a fixed text: the configuration is in an Authenticator too.
func (*Authenticator) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "middleware.Authenticator")
}
