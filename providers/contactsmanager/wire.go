package contactsmanager

import (
	"encoding/json"
	"net/url"

	"github.com/bearerkit/bearerkit/internal/wire"
	"github.com/bearerkit/bearerkit/providers"
)

// Decode reads the documented request: userId, which becomes the Subject, and
// deviceInfo, an object of at most 4 KiB. members are the members of the body,
// or nil. The query is not read. A missing user is no error here;
// [Provider.Key] reports it.
func (*Provider) Decode(_ url.Values, members map[string]json.RawMessage) (providers.Request, error) {
	o := wire.Object(members)
	var req providers.Request
	var err error
	if req.Subject, err = o.String("userId"); err != nil {
		return providers.Request{}, err
	}
	if o.Absent("deviceInfo") {
		return req, nil
	}
	if len(o["deviceInfo"]) > maxDeviceInfo {
		return providers.Request{}, wire.Invalid("deviceInfo is over 4 KiB")
	}
	v, err := o.Value("deviceInfo")
	if err != nil {
		return providers.Request{}, err
	}
	device, ok := v.(map[string]any)
	if !ok {
		return providers.Request{}, wire.Invalid("deviceInfo must be an object")
	}
	req.Params = map[string]any{"deviceInfo": device}
	return req, nil
}

// Encode returns the documented answer: token, expiresAt, message and success.
func (p *Provider) Encode(req providers.Request, t providers.Token) any {
	answer := struct {
		Token     string `json:"token"`
		ExpiresAt any    `json:"expiresAt"`
		Message   string `json:"message"`
		Success   bool   `json:"success"`
	}{t.AccessToken, t.Expiry.Unix(), "Token generated for user " + req.Subject, true}
	if p.iso {
		answer.ExpiresAt = t.Expiry.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	return answer
}

// EncodeError returns the members that the documented error answer has in
// addition: message, in the vendor's words, and success. code and detail are
// those of the answer.
func (*Provider) EncodeError(code providers.Code, detail string) map[string]any {
	message := "Error: " + detail
	switch code {
	case providers.CodeIdentityRequired:
		message = "Error: Missing required field: userId"
	case "method_not_allowed":
		message = "Method not allowed"
	}
	return map[string]any{"message": message, "success": false}
}
