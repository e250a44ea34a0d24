package contactsmanager_test

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/contactsmanager"
)

func ExampleNew() {
	p, err := contactsmanager.New(contactsmanager.Config{
		OrgID:     "your-org-id",
		APIKey:    "your-api-key",
		APISecret: "your-api-secret-of-at-least-32-bytes",
		TTL:       time.Hour,
		Now:       func() time.Time { return time.Unix(1700000000, 0) }, // leave it out for the real clock
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	req := providers.Request{Subject: "user-123"}
	token, err := p.Generate(context.Background(), req)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(token)
	token.AccessToken = "eyJ…"
	body, err := json.Marshal(p.Encode(req, token))
	fmt.Println(string(body), err)
	// Output:
	// Token(redacted until 2023-11-14T23:13:20Z)
	// {"token":"eyJ…","expiresAt":1700003600,"message":"Token generated for user user-123","success":true} <nil>
}
