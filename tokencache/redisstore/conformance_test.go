package redisstore_test

import (
	"testing"

	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/bearerkit/bearerkit/tokencache/redisstore"
	"github.com/bearerkit/bearerkit/tokencache/tokencachetest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	s := serve(t)
	tokencachetest.Run(t, func(t *testing.T) tokencache.Store { return open(t, s.url(), redisstore.Options{}) })
}
