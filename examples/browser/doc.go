// Package browser tests the gateway's page in a real Chromium. It is a module
// of its own so that the browser's driver is no dependency of the examples.
//
//	go test ./... -screenshots /tmp/page
package browser
