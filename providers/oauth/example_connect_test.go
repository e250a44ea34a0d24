package oauth_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/oauth"
)

// connect has a signed-in user give this application a grant at another service
// (RFC 6749 section 4.1 with RFC 7636). State and verifier are in a cookie that
// only the callback gets.
type connect struct {
	provider                            *oauth.Provider // its Grant is refresh_token
	authorizeURL, clientID, redirectURI string
	user                                func(*http.Request) string // the signed-in user, "" for none
	adopt                               func(context.Context, providers.Request, providers.Token) error
}

func (c connect) begin(w http.ResponseWriter, r *http.Request) {
	state, verifier := rand.Text(), rand.Text()+rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	http.SetCookie(w, &http.Cookie{Name: "__Host-connect", Value: state + "." + verifier, Path: "/", MaxAge: 600,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, c.authorizeURL+"?"+url.Values{
		"response_type": {"code"}, "client_id": {c.clientID}, "redirect_uri": {c.redirectURI}, "state": {state},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}.Encode(), http.StatusSeeOther)
}

func (c connect) callback(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: "__Host-connect", Path: "/", MaxAge: -1, Secure: true, HttpOnly: true})
	cookie, err := r.Cookie("__Host-connect")
	user := c.user(r)
	if err != nil || user == "" {
		http.Error(w, "Begin again.", http.StatusBadRequest)
		return
	}
	state, verifier, _ := strings.Cut(cookie.Value, ".")
	if subtle.ConstantTimeCompare([]byte(state), []byte(r.URL.Query().Get("state"))) != 1 {
		http.Error(w, "This answer belongs to another browser.", http.StatusForbidden)
		return
	}
	token, err := c.provider.Exchange(r.Context(), r.URL.Query().Get("code"), verifier, c.redirectURI)
	if err == nil {
		err = c.adopt(r.Context(), providers.Request{Subject: user}, token) // a token cache's Adopt
	}
	if err != nil {
		http.Error(w, "The service gave no grant.", http.StatusBadGateway)
		return
	}
	fmt.Fprintln(w, "Connected.")
}

// A user who has no grant gives one.
func ExampleProvider_Exchange() {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/authorize" { // the service asks the user, who agrees
			q := r.URL.Query()
			http.Redirect(w, r, q.Get("redirect_uri")+"?code=the-code&state="+q.Get("state"), http.StatusSeeOther)
			return
		}
		fmt.Println("spends", r.FormValue("code"), "with a verifier of", len(r.FormValue("code_verifier")), "characters")
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"a","refresh_token":"r","token_type":"Bearer","expires_in":3600}`)
	}))
	defer service.Close()

	mux := http.NewServeMux()
	app := httptest.NewTLSServer(mux)
	defer app.Close()
	provider, err := oauth.New(oauth.Config{TokenURL: service.URL + "/token", ClientID: "app", Secret: "secret", Grant: "refresh_token"})
	if err != nil {
		fmt.Println(err)
		return
	}
	c := connect{provider: provider, authorizeURL: service.URL + "/authorize", clientID: "app", redirectURI: app.URL + "/callback",
		user: func(*http.Request) string { return "alice" },
		adopt: func(_ context.Context, req providers.Request, t providers.Token) error {
			fmt.Println("keeps", t.RefreshToken != "", "for", req.Subject)
			return nil
		}}
	mux.HandleFunc("GET /connect", c.begin)
	mux.HandleFunc("GET /callback", c.callback)

	browser := app.Client()
	browser.Jar, _ = cookiejar.New(nil)
	res, err := browser.Get(app.URL + "/connect")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	fmt.Println(res.Status)
	// Output:
	// spends the-code with a verifier of 52 characters
	// keeps true for alice
	// 200 OK
}
