// Package browser tests the gateway's page in a real Chromium. It is a
// separate module so that the browser's driver is no dependency of the examples.
//
//	go test -count=1 ./... -screenshots /tmp/page
//
// -count=1 because go test does not notice changes of the gateway, which is
// built by the tests.
package browser
