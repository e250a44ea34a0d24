package interop_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

// calls counts what reaches the upstream.
type calls struct {
	n        atomic.Int64
	lifetime time.Duration
}

type countedProvider struct{ *calls }

func counted(c *calls) providers.Provider { return countedProvider{c} }

func (p countedProvider) Generate(context.Context, providers.Request) (providers.Token, error) {
	now := time.Now()
	return providers.Token{
		AccessToken: fmt.Sprintf("token-%d", p.n.Add(1)), TokenType: "Bearer", IssuedAt: now, Expiry: now.Add(p.lifetime),
	}, nil
}

type printer struct{}

func (printer) Write(p []byte) (int, error) {
	fmt.Print(string(p))
	return len(p), nil
}
