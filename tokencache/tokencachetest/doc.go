// Package tokencachetest proves an implementation of [tokencache.Store], and of
// [tokencache.Locker] and [tokencache.Watcher] where the Store is one.
//
//	func TestStore(t *testing.T) {
//		tokencachetest.Run(t, func(t *testing.T) tokencache.Store { return open(t) })
//	}
//
// What is proved: a value is written only over the revision that the writer
// read, by one of many writers; a revision never comes back, also when a key has
// expired and is written again; a call that failed has happened whole or not at
// all, which reading back tells; values end with their time; keys that a cache
// makes are told apart, and values are any bytes; a caller's slices stay the
// caller's; a lease has one holder, and only it can extend or unlock it, until
// it is released or over; fences rise strictly, also when a lease or a value has
// expired; who watches a key is woken; an epoch
// stands while nothing is lost; a call whose context has ended does
// nothing.
//
// # Concurrency
//
// Every case works on random keys of its own, so several runs may share one
// server. Values end within a minute and leases within half of one.
//
// # Errors
//
// A violation says what was done, what came of it and what was wanted. Nothing
// is assumed of the clock but that it is the Store's too, to a tenth: the suite
// works over a network and in a bubble of package testing/synctest, there by
// [Test].
package tokencachetest
