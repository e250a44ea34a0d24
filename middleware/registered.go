package middleware

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/internal/jws"
)

// header checks what the issuer has a say in. reason 0 is none.
func (i *issuer) header(t *jws.Token) reason {
	if !slices.Contains(i.Algorithms, t.Algorithm) {
		return badAlgorithm
	}
	switch t.Type {
	case "at+jwt":
		return 0
	case "", "jwt":
		if !i.AccessTokenProfile {
			return 0
		}
	}
	return badType
}

// claims checks the registered claims but exp's being past, and copies what is
// of use out of members.
func (i *issuer) claims(members []jws.Member, leeway time.Duration, now time.Time) (*Verified, reason) {
	get := func(name string) string { return jws.Get(members, name) }
	exp, ok := numericDate(get("exp"))
	if !ok {
		return nil, badClaims
	}
	v := &Verified{Issuer: i.Issuer.Issuer, Expiry: time.Unix(exp, 0)}
	for _, name := range [...]string{"nbf", "iat"} {
		value := get(name)
		if value == "" {
			continue
		}
		sec, ok := numericDate(value)
		if !ok {
			return nil, badClaims
		}
		if at := time.Unix(sec, 0); at.After(now.Add(leeway)) {
			return nil, notYet
		} else if name == "iat" {
			v.IssuedAt = at
		}
	}
	if why := i.audience(get("aud")); why != 0 {
		return nil, why
	}
	switch {
	case get("events") != "":
		return nil, badType // a security event or logout token (RFC 8417)
	case get("cnf") != "":
		return nil, bound // of no use without a proof (RFC 7800)
	}
	subject := i.SubjectClaim
	if subject == "" {
		subject = "sub"
	}
	for _, c := range [...]struct {
		name string
		to   *string
	}{{subject, &v.Subject}, {"jti", &v.ID}} {
		if value := get(c.name); value != "" {
			if *c.to, ok = jws.Text(value); !ok {
				return nil, badClaims
			}
		}
	}
	if v.Scopes, ok = scopes(get); !ok {
		return nil, badClaims
	}
	if client, _ := jws.Text(get("client_id")); i.AccessTokenProfile &&
		(client == "" || v.Subject == "" || v.ID == "" || v.IssuedAt.IsZero()) {
		return nil, badClaims
	}
	v.signIn(get)
	return v, 0
}

// audience demands a string or an array of strings, one of them ours.
func (i *issuer) audience(value string) reason {
	if value == "" && i.AnyAudience {
		return 0
	}
	ours := i.AnyAudience
	ok := jws.EachText(value, func(aud string) { ours = ours || slices.Contains(i.Audiences, aud) })
	if !ok || !ours {
		return badAudience
	}
	return 0
}

// signIn reads what RFC 9470 looks at.
func (v *Verified) signIn(get func(string) string) {
	v.acr, _ = jws.Text(get("acr"))
	v.authTime, _ = numericDate(get("auth_time"))
}

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
