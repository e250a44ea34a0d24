package jws

// Distinct is distinct, for vectors whose keys ParseSet refuses to look at.
var Distinct = distinct
