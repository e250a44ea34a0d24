package wire

import "net/http"

// Abort ends the answer that a handler has not begun: the connection is closed,
// or over HTTP/2 the stream reset. A handler that only returned would send 200
// with an empty body.
func Abort() { panic(http.ErrAbortHandler) }
