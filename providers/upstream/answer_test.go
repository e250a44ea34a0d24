package upstream_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/upstream"
)

// answered is the answer to a one-time call.
func answered(t *testing.T, status int, date time.Time, body string) *upstream.Response {
	t.Helper()
	res, err := call(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if !date.IsZero() {
			w.Header().Set("Date", date.UTC().Format(http.TimeFormat))
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}), true)
	require.NoError(t, err)
	return res
}

func jwt(exp time.Time) string {
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(`{}`)) + "." + e(fmt.Appendf(nil, `{"exp":%d}`, exp.Unix())) + ".s"
}

func TestExpiry(t *testing.T) {
	in := func(d time.Duration) string { return fmt.Sprint(clock.Add(d).Unix()) }
	const expired = -1
	for name, c := range map[string]struct {
		date         time.Duration // of the upstream's clock, ahead of ours
		token        string
		lifetime, at string
		want         time.Duration // 0: none
	}{
		"nothing":                           {0, "opaque", "", "", 0},
		"null":                              {0, "opaque", "null", "null", 0},
		"unreadable":                        {0, "opaque", `"soon"`, `"tomorrow"`, 0},
		"a lifetime":                        {0, "opaque", "60", "", time.Minute},
		"a lifetime, clocks differ":         {time.Hour, "opaque", `"60"`, "", time.Minute},
		"an instant":                        {0, "opaque", "", in(time.Minute), time.Minute},
		"an instant, clock ahead":           {time.Hour, "opaque", "", in(time.Hour + time.Minute), time.Minute},
		"an instant, clock behind":          {-time.Hour, "opaque", "", in(time.Minute - time.Hour), time.Minute},
		"the earlier of the two":            {0, "opaque", "60", in(50 * time.Second), 50 * time.Second},
		"a JWT ends earlier":                {0, jwt(clock.Add(40 * time.Second)), "60", in(50 * time.Second), 40 * time.Second},
		"a JWT alone":                       {0, jwt(clock.Add(40 * time.Second)), "", "", 40 * time.Second},
		"passed":                            {0, "opaque", "", in(-time.Second), expired},
		"this very moment":                  {0, "opaque", "", in(0), expired},
		"a JWT that has passed":             {0, jwt(clock.Add(-time.Second)), "", "", expired},
		"passed by both clocks":             {time.Hour, "opaque", "", in(-time.Minute), expired},
		"passed by the Date alone":          {24 * time.Hour, "opaque", "", in(time.Minute), time.Minute},
		"passed, beside a lifetime":         {0, jwt(clock.Add(-time.Hour)), "60", in(-time.Hour), time.Minute},
		"a lifetime of nothing":             {0, "opaque", "0", "", -2},
		"one has passed and the other not":  {0, jwt(clock.Add(-time.Hour)), "", in(time.Hour), expired},
		"passed, clock behind and Date too": {-time.Hour, "opaque", "", in(-2 * time.Hour), expired},
	} {
		date := clock.Add(c.date)
		end, err := answered(t, 200, date, "{}").Expiry(c.token, json.RawMessage(c.lifetime), json.RawMessage(c.at))
		switch c.want {
		case expired:
			e := failure(t, err)
			assert.Equal(t, providers.CodeBadResponse, e.Code, name)
			assert.Equal(t, providers.InDoubt, e.Class, name)
			assert.Contains(t, e.Description, "already expired", name)
			assert.Zero(t, end, name)
		case 0:
			assert.NoError(t, err, name)
			assert.Zero(t, end, name)
		case -2:
			assert.NoError(t, err, name)
			assert.True(t, end.Equal(clock), name)
		default:
			assert.NoError(t, err, name)
			assert.Equal(t, c.want, end.Sub(clock), name)
		}
	}
}

func TestSalvage(t *testing.T) {
	bad := func(r *upstream.Response, class providers.Class) error {
		e := r.Bad(errors.New("no access token"))
		e.Class = class
		return e
	}
	for body, want := range map[string]string{
		`{"refresh_token":"new"}`: "new",
		`{"access_token":"a","token_type":"bot","refresh_token":"new"}`: "new",
		`{"detail":{"refresh_token":"new"},"code":200}`:                 "new",
		`{"error":null,"refresh_token":"new"}`:                          "new",
		`{"refresh_token":null,"detail":{"refresh_token":"new"}}`:       "new",
		`{"refresh_token":"!new~"}`:                                     "!new~",
		`{"refresh_token":"old"}`:                                       "", // the one presented
		`{"refresh_token":""}`:                                          "",
		`{"refresh_token":7}`:                                           "",
		`{"refresh_token":["new"]}`:                                     "",
		`{"refresh_token":"new"`:                                        "",
		`{"refresh_token":"new"} {}`:                                    "",
		`[{"refresh_token":"new"}]`:                                     "",
		`{"refresh_token":"new","refresh_token":"new"}`:                 "",
		`{"refresh_token":"new","x":{"y":1,"y":2}}`:                     "",
		`{"refresh_token":"new","x":[{"y":1,"y":2}]}`:                   "",
		`{"refresh_token":"new","other":{"refresh_token":"second"}}`:    "",
		`{"error":"invalid_grant","refresh_token":"new"}`:               "",
		`{"error":{},"refresh_token":"new"}`:                            "",
		`{"refresh_token":"n\u00e9w"}`:                                  "",
		`{"refresh_token":"new\n"}`:                                     "",
		"{\"refresh_token\":\"new\xff\"}":                               "",
		"{\"x\":\"\xff\",\"refresh_token\":\"new\"}":                    "",
		`<html>{"refresh_token":"new"}</html>`:                          "",
		``:                                                              "",
	} {
		res := answered(t, 200, time.Time{}, body)
		for class, after := range map[providers.Class]providers.Class{
			providers.InDoubt: providers.InDoubt, providers.Transient: providers.Transient, providers.Permanent: providers.InDoubt, providers.GrantDead: providers.GrantDead,
		} {
			token, err := res.Salvage("old", bad(res, class))
			e := failure(t, err)
			if class == providers.GrantDead {
				assert.Zero(t, token)
				continue
			}
			assert.Equal(t, want, token.RefreshToken, body)
			assert.Empty(t, token.AccessToken)
			if want == "" {
				after = class
			}
			assert.Equal(t, after, e.Class, body)
		}
	}
	for body, want := range map[string]string{
		`{"renewal":"new"}`:                       "new",
		`{"data":{"renewal":"new"}}`:              "new",
		`{"next":"new"}`:                          "new",
		`{"renewal":"new","next":"new"}`:          "", // which of them?
		`{"refresh_token":"other"}`:               "",
		`{"refresh_token":"o","renewal":"new"}`:   "new",
		`{"renewal":"new","error":"unavailable"}`: "",
	} {
		res := answered(t, 200, time.Time{}, body)
		token, err := res.Salvage("old", bad(res, providers.InDoubt), "renewal", "next")
		assert.Error(t, err)
		assert.Equal(t, want, token.RefreshToken, body)
	}
	res := answered(t, 400, time.Time{}, `{"refresh_token":"new"}`)
	token, err := res.Salvage("old", res.Err())
	assert.Zero(t, token, "not from a refusal")
	assert.Error(t, err)
}
