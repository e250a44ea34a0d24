// Package freeport finds ports for the servers that tests start.
package freeport

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// The ports lie below those that Linux and other systems give to a listener or
// a connection that names none. No such listener or connection can take a port
// between the moment that it is found and the moment that a server listens
// there, or while a test restarts the server.
const (
	lowest  = 20000
	highest = 32000
)

// Find returns a port of 127.0.0.1 at which nothing listens.
func Find() (string, error) {
	var err error
	for range 100 {
		port := strconv.Itoa(lowest + rand.IntN(highest-lowest))
		l, listenErr := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if listenErr == nil {
			return port, l.Close()
		}
		err = listenErr
	}
	return "", errors.Join(errors.New("freeport: no port is free"), err)
}
