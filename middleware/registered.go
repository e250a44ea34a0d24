package middleware

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/bearerkit/bearerkit/internal/jws"
)

// registered holds the JSON texts of the claims that every token is checked
// for; "" for those that the token does not have.
type registered struct {
	exp, nbf, iat, jti, sub string
	events, cnf             string
	scope, scp              string
	acr, authTime           string
	clients                 [4]string // client_id, azp, appid, cid
	idtyp, gty, tid         string
}

// registeredOf finds the claims in one pass.
func registeredOf(members []jws.Member) (r registered) {
	for i := range members {
		value := members[i].Value
		switch members[i].Name {
		case "exp":
			r.exp = value
		case "nbf":
			r.nbf = value
		case "iat":
			r.iat = value
		case "jti":
			r.jti = value
		case "sub":
			r.sub = value
		case "events":
			r.events = value
		case "cnf":
			r.cnf = value
		case "scope":
			r.scope = value
		case "scp":
			r.scp = value
		case "acr":
			r.acr = value
		case "auth_time":
			r.authTime = value
		case "client_id":
			r.clients[0] = value
		case "azp":
			r.clients[1] = value
		case "appid":
			r.clients[2] = value
		case "cid":
			r.clients[3] = value
		case "idtyp":
			r.idtyp = value
		case "gty":
			r.gty = value
		case "tid":
			r.tid = value
		}
	}
	return r
}

// ofClient reports whether a token belongs to a client and not to a user. Its
// sub is then the client (RFC 9068 section 2.2), or it has a claim of Entra or
// Auth0 that says so.
func (r *registered) ofClient() bool {
	if sub, _ := jws.Text(r.sub); sub != "" {
		sub = strings.TrimSuffix(sub, "@clients")
		for _, value := range r.clients {
			if client, _ := jws.Text(value); client != "" && sub == client {
				return true
			}
		}
	}
	idtyp, _ := jws.Text(r.idtyp)
	gty, _ := jws.Text(r.gty)
	return idtyp == "app" || gty == "client-credentials"
}

// halfText finds a claim that says who the client or the tenant is and has half
// a surrogate pair. Two such names would become one.
func (r *registered) halfText() (name, value string) {
	values := [...]string{r.clients[0], r.clients[1], r.clients[2], r.clients[3], r.tid, r.idtyp, r.gty}
	for i, value := range values {
		if _, ok := jws.Text(value); !ok && jws.IsString(value) {
			return [...]string{"client_id", "azp", "appid", "cid", "tid", "idtyp", "gty"}[i], value
		}
	}
	return "", ""
}

// takeScopes reads scope (RFC 8693 section 4.2) or scp, as a string or an array.
// It returns the claim that is neither.
func (v *Verified) takeScopes(scope, scp string) (wrong, value string) {
	name, value := "scope", scope
	if value == "" || value == "null" {
		name, value = "scp", scp
	}
	if value == "" || value == "null" {
		return "", ""
	}
	list := v.fewScopes[:0]
	text, ok := jws.Text(value)
	if ok {
		for s := range strings.FieldsSeq(text) {
			list = append(list, s)
		}
	} else {
		ok = jws.EachText(value, func(s string) { list = append(list, s) })
	}
	v.Scopes = slices.Clip(list)
	if !ok {
		return name, value
	}
	return "", ""
}

// seconds reads a plain integer, as nearly every date is. [jws.ParseObject] has
// checked the JSON.
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
