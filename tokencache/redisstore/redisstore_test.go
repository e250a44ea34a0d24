package redisstore_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokencache/redisstore"
)

func TestRoundTrip(t *testing.T) {
	s := open(t, serve(t).url(), redisstore.Options{})
	ok, err := s.CAS(t.Context(), "k", 0, []byte("v"), time.Minute)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	val, rev, err := s.Load(t.Context(), "k")
	if err != nil || rev != 1 || !bytes.Equal(val, []byte("v")) {
		t.Errorf("%q, revision %d, %v", val, rev, err)
	}
	w, err := s.Watch(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	<-w // subscribed
	if f, err := s.Lock(t.Context(), "k", "me", time.Minute); err != nil || f == 0 {
		t.Error(f, err)
	}
	if ok, err := s.Unlock(t.Context(), "k", "me"); err != nil || !ok {
		t.Error(ok, err)
	}
	<-w
}
