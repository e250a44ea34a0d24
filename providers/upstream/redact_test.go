package upstream_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/bearerkit/bearerkit/providers/upstream"
)

func TestCallsAndAnswersPrintNoCredential(t *testing.T) {
	const secret = "CANARY"
	call := upstream.Call{
		Op: "generate", Method: "POST", URL: "https://vendor.example/tokens?key=" + secret,
		Header: http.Header{"Authorization": {"Bearer " + secret}}, Body: url.Values{"client_secret": {secret}},
	}
	answer := upstream.Response{Status: 200, Header: http.Header{"X-Token": {secret}}, Body: []byte(secret)}
	for _, v := range []any{call, &call, answer, &answer, []any{call, answer}, map[string]any{"call": &call, "answer": &answer}} {
		var out bytes.Buffer
		fmt.Fprintf(&out, "%v %+v %#v %s %x %q", v, v, v, v, v, v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("text", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "v", v)
		j, _ := json.Marshal(v)
		out.Write(j)
		for _, form := range []string{secret, hex.EncodeToString([]byte(secret)), fmt.Sprint([]byte(secret))} {
			assert.NotContains(t, out.String(), form)
		}
	}
	assert.Equal(t, "upstream.Call(generate, redacted) upstream.Response(200, redacted)", fmt.Sprint(call, answer))
}
