package subject_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/internal/subject"
)

func FuzzQualifyIsInjective(f *testing.F) {
	f.Add("a", "b:c", "a:b", "c")
	f.Add("1:a", "", "1", "a:")
	f.Add("https://id", "iss:1:a:b", "https://id:iss", "1:a:b")
	f.Fuzz(func(t *testing.T, issuer, plain, otherIssuer, otherPlain string) {
		s := subject.Qualify(issuer, plain)
		gotIssuer, gotPlain, ok := subject.Plain(s)
		require.True(t, ok && gotIssuer == issuer && gotPlain == plain)
		require.Equal(t, issuer == otherIssuer && plain == otherPlain, s == subject.Qualify(otherIssuer, otherPlain))
		require.True(t, subject.Is(s, plain) && subject.Is(s, s) && subject.Is(plain, plain))
		if i, p, ok := subject.Plain(plain); ok {
			require.Equal(t, plain, subject.Qualify(i, p), "one spelling")
		}
	})
}

func TestTextsThatAreNotQualified(t *testing.T) {
	for _, s := range []string{"", "u1", "iss:", "iss:1", "iss:1:a", "iss:01:a:b", "iss:+1:a:b", "iss:-1:a:b", "iss:9:a:b", "iss:1:ab:c", "ISS:1:a:b", "1:a:b"} {
		require.False(t, subject.Qualified(s), s)
		require.False(t, subject.Is(s, "b"), s)
	}
	require.True(t, subject.Qualified("iss:1:a:"))
}
