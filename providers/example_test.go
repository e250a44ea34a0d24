package providers_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bearerkit/bearerkit/providers"
)

func ExampleRequest_Key() {
	a, _ := providers.Request{Subject: "ada", Scopes: []string{"read", "write"}}.Key()
	b, _ := providers.Request{Subject: "ada", Scopes: []string{"write", "read"}}.Key()
	c, _ := providers.Request{Subject: "ada", Audience: "read"}.Key()
	fmt.Println(a == b, a == c)
	// Output: true false
}

// A token in a log line or an answer shows no credential.
func ExampleToken() {
	t := providers.Token{
		AccessToken: "secret", RefreshToken: "secret", TokenType: "Bearer",
		Expiry: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	fmt.Printf("%+v\n", t)
	_, err := json.Marshal(t)
	fmt.Println(errors.Unwrap(err))
	// Output:
	// Token(redacted +refresh until 2026-01-02T03:04:05Z)
	// providers: a Token has no encoded form; copy the fields wanted into a struct of your own
}

// Error's text is fit for anybody; what caused it is in Err.
func ExampleError() {
	err := fmt.Errorf("checkout: %w", &providers.Error{
		Code: providers.CodeCredentialsRejected, Op: "kudo: generate", Status: 403,
		Err: errors.New("what the vendor said"),
	})
	fmt.Println(err)
	if e := providers.AsError(err); e.Class == providers.Transient {
		fmt.Println(e.Code, "may pass")
	}
	// Output:
	// checkout: kudo: generate: upstream_credentials_rejected (upstream status 403)
	// upstream_credentials_rejected may pass
}
