// Package tokencachetest tests an implementation of [tokencache.Store]. If the
// Store is a [tokencache.Locker], [tokencache.Watcher] or [tokencache.Epocher]
// too, it tests these as well.
//
//	func TestStore(t *testing.T) {
//		tokencachetest.Run(t, func(t *testing.T) tokencache.Store { return open(t) })
//	}
//
// It tests these properties:
//
//   - A value is written only over the revision that the writer read, by one of
//     many writers.
//   - A revision never comes back, also when a key has expired and is written
//     again.
//   - A call that failed has happened completely or not at all, and reading
//     tells which.
//   - Values end with their time. Keys of a cache are different, values are any
//     bytes, and the Store does not keep or change a caller's slices.
//   - A lease has one holder until it is released or ends. Only the holder can
//     extend or unlock it.
//   - Fences rise strictly, also after a lease or a value has expired.
//   - A change of a key wakes its watches.
//   - An epoch stays the same while nothing is lost.
//   - A call whose context has ended does nothing.
//
// # Concurrency
//
// Every case works on random keys, so several runs may share one server. Values
// end within a minute and leases within half a minute.
//
// # Errors
//
// A violation says what was done, what happened and what was expected. The
// suite assumes only that the Store's clock runs at the speed of ours, to a
// tenth. It works over a network, and by [Test] in a bubble of package
// testing/synctest.
package tokencachetest
