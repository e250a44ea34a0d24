package main

// scene is a part of the demonstration: a button, and what it plays.
type scene struct{ ID, Title, Text, Button, Source string }

// scenes are those with two sides. page_acts.js plays them.
var scenes = []scene{
	{ID: "tabs", Title: "Eight tabs, one user", Button: "Open 8 tabs",
		Text: "Ada opens the application in eight tabs at once. Each tab gets a token and makes five calls to the vendor’s API."},
	{ID: "expire", Title: "The token expires", Button: "Expire the token",
		Text: "Ada has one tab open. Her token expires at the vendor. Then the tab makes ten calls at once."},
	{ID: "down", Title: "The vendor is down", Button: "Take the vendor down",
		Text: "The vendor answers 503 with Retry-After: 2. Eight tabs want a token. Then the vendor comes back."},
	{ID: "attack", Title: "An attacker calls", Button: "Attack both",
		Text: "The attacker puts ../ into organisation_uuid, asks for another tenant’s token and for another user’s, " +
			"calls from another web site, and makes 110 calls that claim to come from 110 addresses."},
	{ID: "look", Title: "What scripts on the page can read", Button: "Look around",
		Text: "A script that was injected into the page looks for tokens in answers, cookies and storage."},
	{ID: "signout", Title: "Sign-out during a refresh", Button: "Refresh and sign out",
		Text: "Ada signs out while her page waits for a new token. The vendor’s answer comes after that."},
}

// solo are those with one side. soloScenes plays them.
var solo = []scene{
	{ID: "protect", Title: "Protect: check the tokens of callers", Button: "Break the issuer", Source: "page_protect.go",
		Text: "Your API accepts the tokens of an identity provider, the issuer. A token expires, the issuer replaces its signing keys, " +
			"the issuer goes down. See what a client of the API gets. The scene takes about three seconds."},
	{ID: "callout", Title: "Call out: put a token on your own requests", Button: "Revoke the token", Source: "page_callout.go",
		Text: "Your service calls another API with a token of its own. The API refuses that token when ten callers use it at once, " +
			"and again when an upload is half-way. See what the callers get."},
}
