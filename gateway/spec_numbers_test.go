package gateway

import (
	"testing"

	"logux-proxy/wire"
)

// awayStore is a store that cannot be reached.
type awayStore struct{ Handovers }

func (awayStore) Store(_ wire.Record, done func(error)) { done(errAway) }
func (awayStore) Fetch(client wire.ClientID, done func(wire.Record, error)) {
	done(wire.Record{Client: client}, errAway)
}

func (awayStore) Settle(_ wire.ClientID, o wire.Outcome, done func(wire.Outcome, bool)) {
	done(o, false)
}

// The numbers that a client got from another server meanwhile prove nothing about what it got here before: an action that
// it sends again is known, though its outcome left here with a smaller number.
func TestMovesBackWithNumbersOfAnother(t *testing.T) {
	f := newFleet(t)
	away := func(c *Config) { c.Handovers = awayStore{c.Handovers} }
	a, b := f.server("a", away), f.server("b", away)
	c := a.connect("10:a:tab", 40)
	c.deaf = true
	id := c.act(1, inc)
	f.backend.next(t, inc).agree()
	c.want("synced 1", processedEvent(id)) // let both be lost
	c.drop()
	a.members(0)

	c = b.connect("10:a:tab", 40)
	c.deaf = true
	c.want(processedEvent(id))
	c.drop()
	b.members(0)

	c = a.connect("10:a:tab", 90)
	c.act(1, inc)
	await(t, "an acknowledgement", func() bool { _, _, open := a.g.ledger.counts(); return open == 0 })
	f.backend.idle(t)
	if n := f.backend.count(id); n != 1 {
		t.Errorf("the back-end was asked %d times", n)
	}
}
