package main

// scene is an act of the demonstration: a button, and what it plays. page_acts.js
// plays it.
type scene struct{ ID, Title, Text, Button string }

var scenes = []scene{
	{"tabs", "Eight tabs, one user", "Eight tabs open at once and make five calls each to the vendor’s API. " +
		"At this vendor a new token ends the user’s earlier ones.", "Open 8 tabs"},
	{"expire", "The token runs out", "One tab has a token. It expires at the vendor, and then ten calls leave the tab at once.", "Expire the token now"},
	{"down", "The vendor is down", "The vendor answers 503 with Retry-After: 2. Eight tabs want a token; " +
		"then the vendor comes back.", "Take the vendor down"},
	{"attack", "Be the attacker", "Climb out of the vendor’s path with organisation_uuid, ask for another tenant and for another user, " +
		"call from another site, and send 110 calls from made-up addresses.", "Attack both"},
	{"look", "What page JavaScript sees", "Look for tokens where an injected script would: in answers, cookies and storage.", "Look around"},
	{"signout", "Sign out during a refresh", "A refresh is under way when the user signs out. Its answer comes late.", "Refresh and sign out"},
}
