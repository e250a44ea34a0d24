package oauth_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
	"github.com/bearerkit/bearerkit/providers/providertest"
)

// both stands for a client's two providers, since the suite drives one.
type both struct {
	*oauth.Provider // client_credentials
	Users           *oauth.Provider
}

// Mode is the users'.
func (b both) Mode() providers.Mode { return b.Users.Mode() }

func (b both) Refresh(ctx context.Context, _ providers.Request, rt string) (providers.Token, error) {
	return b.Users.Refresh(ctx, alice, rt)
}

func TestConformance(t *testing.T) {
	for name, change := range map[string]func(*oauth.Config){
		"secret": func(c *oauth.Config) {
			secret := c.Secret
			c.Secret, c.SecretFunc = "", func(context.Context) (string, error) { return secret, nil }
		},
		"assertion": func(c *oauth.Config) { c.Secret, c.Key = "", oauth.Key{Signer: ed, ID: "kid"} },
	} {
		t.Run(name, func(t *testing.T) {
			providertest.Run(t, providertest.Suite{
				New: func(t testing.TB, baseURL string) providers.Provider {
					c := oauth.Config{TokenURL: baseURL + "/token", IntrospectionURL: baseURL + "/introspect", RevocationURL: baseURL + "/revoke", ClientID: "client", Secret: "canary-secret"}
					change(&c)
					own, err := oauth.New(c)
					require.NoError(t, err)
					c.Grant = "refresh_token"
					users, err := oauth.New(c)
					require.NoError(t, err)
					return both{own, users}
				},
				Answer:       `{"access_token":"canary-access","token_type":"Bearer","expires_in":300,"refresh_token":"canary-next"}`,
				Refusal:      `{"error":"invalid_client","error_description":"canary-text"}`,
				RefreshToken: "canary-presented",
				AccessToken:  "canary-checked",
				VerifyAnswer: `{"active":true,"sub":"alice","token_type":"Bearer"}`,
				RevokeAnswer: "{}",
				Secrets:      []string{"canary-secret", "canary-access", "canary-next", "canary-text"},
			})
		})
	}
}
