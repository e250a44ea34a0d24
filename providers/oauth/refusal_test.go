package oauth_test

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
)

func TestRefusals(t *testing.T) {
	said := func(code string) string { return `{"error":"` + code + `","error_description":"canary"}` }
	type verdict struct {
		code  providers.Code
		class providers.Class
	}
	var (
		credentials = verdict{providers.CodeCredentialsRejected, providers.Permanent}
		input       = verdict{providers.CodeRejectedInput, providers.Permanent}
		proxy       = verdict{providers.CodeUpstreamError, providers.Transient}
		bare        = verdict{providers.CodeCredentialsRejected, providers.Transient}
		busy        = verdict{providers.CodeBusy, providers.Transient}
		dead        = verdict{providers.CodeRefreshRejected, providers.GrantDead}
	)
	doubt := func(v verdict) verdict { v.class = providers.InDoubt; return v }
	for name, tc := range map[string]struct {
		status            int
		body              string
		generate, refresh verdict
		description       string
	}{
		"invalid_grant":            {400, said("invalid_grant"), credentials, dead, "the server answered invalid_grant"},
		"invalid_grant, 401":       {401, said("invalid_grant"), credentials, dead, "the server answered invalid_grant"},
		"invalid_grant, 403":       {403, said("invalid_grant"), credentials, dead, "the server answered invalid_grant"},
		"invalid_grant, 200":       {200, said("invalid_grant"), credentials, dead, "the server answered invalid_grant"},
		"invalid_client":           {401, said("invalid_client"), credentials, credentials, "the server answered invalid_client"},
		"invalid_client, 400":      {400, said("invalid_client"), credentials, credentials, "the server answered invalid_client"},
		"unauthorized_client":      {400, said("unauthorized_client"), credentials, credentials, "the server answered unauthorized_client"},
		"invalid_request":          {400, said("invalid_request"), input, input, "the server answered invalid_request"},
		"invalid_scope":            {400, said("invalid_scope"), input, input, "the server answered invalid_scope"},
		"invalid_target":           {400, said("invalid_target"), input, input, "the server answered invalid_target"},
		"DPoP wanted":              {400, said("use_dpop_nonce"), input, input, "the server answered use_dpop_nonce"},
		"a code of its own":        {400, said("canary_code"), input, input, ""},
		"a code of its own, 401":   {401, said("canary_code"), credentials, credentials, ""},
		"temporarily_unavailable":  {400, said("temporarily_unavailable"), busy, busy, "the server answered temporarily_unavailable"},
		"server_error":             {400, said("server_error"), proxy, doubt(proxy), "the server answered server_error"},
		"empty 400":                {400, "", proxy, proxy, ""},
		"empty 401":                {401, "", bare, bare, ""},
		"text 403":                 {403, "canary", bare, bare, ""},
		"HTML 403":                 {403, "<html>canary</html>", proxy, proxy, ""},
		"JSON of something else":   {404, `{"message":"canary"}`, proxy, proxy, ""},
		"an error that is no text": {400, `{"error":{"message":"canary"}}`, proxy, proxy, ""},
		"an error that is empty":   {400, `{"error":""}`, proxy, proxy, ""},
		"408":                      {408, said("invalid_client"), proxy, proxy, ""},
		"invalid_grant, 408":       {408, said("invalid_grant"), proxy, dead, ""},
		"425":                      {425, "", proxy, proxy, ""},
		"429":                      {429, said("invalid_client"), busy, busy, ""},
		"500":                      {500, said("invalid_request"), proxy, doubt(proxy), ""},
		"invalid_grant, 500":       {500, said("invalid_grant"), proxy, dead, ""},
		"502":                      {502, "<html>", proxy, doubt(proxy), ""},
		"503":                      {503, said("temporarily_unavailable"), busy, doubt(busy), ""},
		"redirect":                 {307, "", verdict{providers.CodeBadResponse, providers.Permanent}, verdict{providers.CodeBadResponse, providers.Permanent}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := answer{status: tc.status, body: tc.body, header: http.Header{"Retry-After": {"7"}}}
			c, s := client(t, a)
			_, err := provider(t, c).Generate(t.Context(), providers.Request{})
			e := failure(t, err)
			require.Equal(t, tc.generate, verdict{e.Code, e.Class}, "generate")
			require.Equal(t, tc.description, e.Description)
			require.Equal(t, "oauth: generate", e.Op)
			require.Equal(t, tc.status, e.Status)
			wait := 7 * time.Second
			if tc.description == "" && e.Class == providers.Transient && tc.status < 500 && !slices.Contains([]int{408, 425, 429}, tc.status) {
				wait = 30 * time.Second // a refusal without a reason is repeated at most twice a minute
			}
			require.Equal(t, wait, e.RetryAfter)
			require.Len(t, s.got, 1, "one attempt")

			c, _ = user(t, a)
			_, err = provider(t, c).Refresh(t.Context(), alice, "canary-rt")
			e = failure(t, err)
			require.Equal(t, tc.refresh, verdict{e.Code, e.Class}, "refresh")
		})
	}
}

// TestOAuthError: what the server said is there for who asks, and only there.
func TestOAuthError(t *testing.T) {
	c, _ := client(t, answer{status: 400, body: `{"error":"canary_code","error_description":"canary text"}`})
	_, err := provider(t, c).Generate(t.Context(), providers.Request{})
	failure(t, err)
	var said interface {
		OAuthError() (code, description string)
	}
	require.True(t, errors.As(err, &said))
	code, description := said.OAuthError()
	require.Equal(t, "canary_code", code)
	require.Equal(t, "canary text", description)
}

func TestClockHint(t *testing.T) {
	for ahead, want := range map[time.Duration]string{
		42 * time.Second:  "the server answered invalid_client; our clock is 42s behind the server's",
		-90 * time.Second: "the server answered invalid_client; our clock is 1m30s ahead of the server's",
		9 * time.Second:   "the server answered invalid_client",
	} {
		a := answer{status: 401, body: `{"error":"invalid_client"}`, header: http.Header{"Date": {start.Add(ahead).Format(http.TimeFormat)}}}
		c, _ := client(t, a)
		_, err := provider(t, c).Generate(t.Context(), providers.Request{})
		require.Equal(t, "the server answered invalid_client", failure(t, err).Description, "a secret has no clock")
		c.Secret, c.Key = "", oauth.Key{Signer: ed}
		_, err = provider(t, c).Generate(t.Context(), providers.Request{})
		require.Equal(t, want, failure(t, err).Description)
	}
}
