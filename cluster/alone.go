package cluster

import "logux-proxy/wire"

// Alone is the bus of a server that will never have another one beside it. It remembers nothing,
// so that it costs no memory for the users and channels of a million connections.
type Alone struct{}

// Join calls done at once.
func (Alone) Join(_ wire.Topic, done func(error)) { done(nil) }

// Leave does nothing.
func (Alone) Leave(wire.Topic) {}

// Publish reaches nobody: there is nobody else.
func (Alone) Publish(*wire.Envelope) error { return nil }

// PublishThen is Publish, and calls done at once.
func (Alone) PublishThen(_ *wire.Envelope, done func()) error {
	done()
	return nil
}

// Announce reaches nobody, and calls done with 0 at once.
func (Alone) Announce(_ *wire.Envelope, done func(others int)) { done(0) }

// CaughtUp calls then at once: there is nothing to miss.
func (Alone) CaughtUp(then func()) { then() }
