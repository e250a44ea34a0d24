package handlers

// Texts and StatusOf let a test see that every code has a text and a status.
var (
	Texts    = texts
	StatusOf = statusOf
)
