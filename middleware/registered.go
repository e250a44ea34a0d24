package middleware

import (
	"math"
	"strconv"
	"strings"

	"github.com/bearerkit/bearerkit/internal/jws"
)

// scopes reads scope (RFC 8693 section 4.2) or scp, as a string or an array.
func scopes(get func(string) string) ([]string, bool) {
	for _, name := range [...]string{"scope", "scp"} {
		value := get(name)
		if value == "" || value == "null" {
			continue
		}
		if s, ok := jws.Text(value); ok {
			return strings.Fields(s), true
		}
		return jws.Texts(value)
	}
	return nil, true
}

// seconds reads a plain integer, as nearly every date is, of the JSON that
// [jws.ParseObject] has seen.
func seconds(value string) (sec int64, ok bool) {
	if len(value) > 10 {
		return 0, false
	}
	for i := 0; i < len(value); i++ {
		if value[i] < '0' || value[i] > '9' {
			return 0, false
		}
		sec = sec*10 + int64(value[i]-'0')
	}
	return sec, true
}

// lastDate is the last second of the year 9999, RFC 3339's last.
const lastDate = 253402300799

// numericDate reads RFC 7519's NumericDate, rounded down. ok is false for
// anything but a number from 0 to lastDate.
func numericDate(value string) (sec int64, ok bool) {
	if value == "" {
		return 0, false
	}
	if sec, ok = seconds(value); ok {
		return sec, true
	}
	f, err := strconv.ParseFloat(value, 64)
	if err != nil || !(f >= 0 && f <= lastDate) || value[0] == '-' {
		return 0, false
	}
	return int64(math.Floor(f)), true
}
