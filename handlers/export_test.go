package handlers

// Texts lets a test see that every code has a text and a status.
var Texts = texts
