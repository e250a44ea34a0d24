package upstream

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

var errExpiry = errors.New("expiry is neither a time nor a number")

// maxUnix is the last second of the year 9999, RFC 3339's last.
const maxUnix = 253402300799

// ParseTime reads an instant in any of the shapes the vendors use: a number or
// numeric string of Unix seconds, milliseconds from 1e11 on, or RFC 3339 with
// or without offset (then UTC) and fractions. null and "" are the zero time.
func ParseTime(raw json.RawMessage) (time.Time, error) {
	s, quoted, err := scalar(raw)
	if err != nil || s == "" {
		return time.Time{}, err
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		if f >= 1e11 {
			f /= 1000
		}
		if math.IsNaN(f) || f < 0 || f > maxUnix {
			return time.Time{}, errExpiry
		}
		sec, frac := math.Modf(f)
		return time.Unix(int64(sec), int64(frac*1e9)).UTC(), nil
	}
	if !quoted {
		return time.Time{}, errExpiry
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02T15:04:05Z0700"} {
		// The offset may lead out of the years that RFC 3339 can write.
		if t, err := time.Parse(layout, s); err == nil && t.UTC().Year() > 0 && t.Unix() <= maxUnix {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errExpiry
}

// ParseSeconds reads a relative lifetime: a number or a numeric string.
// null and "" are 0 with ok false.
func ParseSeconds(raw json.RawMessage) (d time.Duration, ok bool, err error) {
	s, _, err := scalar(raw)
	if err != nil || s == "" {
		return 0, false, err
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || f < 0 {
		return 0, false, errExpiry
	}
	return time.Duration(min(f, maxUnix/100) * float64(time.Second)), true, nil
}

func scalar(raw json.RawMessage) (s string, quoted bool, err error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", false, nil
	}
	if raw[0] == '"' {
		if json.Unmarshal(raw, &s) != nil {
			return "", true, errExpiry
		}
		return strings.TrimSpace(s), true, nil
	}
	if raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return "", false, errExpiry
	}
	return string(raw), false, nil
}

// JWTExpiry reads exp out of a JWT that is not ours to verify. It is a hint
// about age, never a reason to trust the token. ok is false if there is none.
func JWTExpiry(token string) (exp time.Time, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, false
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}, false
	}
	var claims struct {
		Exp json.RawMessage `json:"exp"`
	}
	if json.Unmarshal(b, &claims) != nil {
		return time.Time{}, false
	}
	exp, err = ParseTime(claims.Exp)
	return exp, err == nil && !exp.IsZero()
}
