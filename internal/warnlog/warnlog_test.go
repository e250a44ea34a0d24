package warnlog_test

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/warnlog"
)

func TestWithoutALoggerWarningsReachTheDefault(t *testing.T) {
	var out bytes.Buffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	l := warnlog.OrDefault(nil)
	l.Debug("debug")
	l.Info("info")
	l.With("a", 1).WithGroup("g").Info("info")
	require.Empty(t, out.String())
	l.Warn("first")
	l.With("a", 1).WithGroup("g").Error("second", "b", 2)
	require.Contains(t, out.String(), "msg=first")
	require.Contains(t, out.String(), "msg=second a=1 g.b=2")
}

func TestALoggerStaysAsItIs(t *testing.T) {
	l := slog.New(slog.DiscardHandler)
	require.Same(t, l, warnlog.OrDefault(l))
}
