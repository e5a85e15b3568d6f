package gateway

import (
	"fmt"
	"testing"

	"logux-proxy/wire"
)

// awayStore is a store that cannot be reached.
type awayStore struct{ Handovers }

func (awayStore) Store(_ wire.Record, done func(error)) { done(errAway) }
func (awayStore) Fetch(client wire.ClientID, done func(wire.Record, error)) {
	done(wire.Record{Client: client}, errAway)
}

func (awayStore) Settle(_ wire.ClientID, o wire.Outcome, done func(wire.Outcome)) {
	done(o)
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

// unreadableStore is one that takes what is written and cannot be read.
type unreadableStore struct{ Handovers }

func (unreadableStore) Fetch(client wire.ClientID, done func(wire.Record, error)) {
	done(wire.Record{Client: client}, errAway)
}

// An outcome stays where it came to be until a server has it where the client is, also when it is in the store: the next
// server may not be able to read that.
func TestMovesWhereTheStoreCannotBeRead(t *testing.T) {
	for _, back := range []bool{false, true} {
		t.Run(fmt.Sprintf("back: %v", back), func(t *testing.T) {
			f := newFleet(t)
			blind := func(c *Config) { c.Handovers = unreadableStore{c.Handovers} }
			a, b := f.server("a", blind), f.server("b", blind)
			c := a.connect("10:a:tab")
			id := c.act(1, inc)
			q := f.backend.next(t, inc)
			c.drop()
			c = b.connect("10:a:tab")
			c.drop()
			b.members(0)
			q.agree()
			await(t, "the outcome in the store", func() bool {
				r, err := a.handovers.Fetch(t.Context(), "10:a")
				return err == nil && len(r.Outcomes) == 1
			})
			last := b
			if back {
				last = a
			}
			c = last.connect("10:a:tab")
			c.act(1, inc)
			c.wantAll("synced 1", processedEvent(id))
			last.nothingFor(c)
			if n := f.backend.count(id); n != 1 {
				t.Errorf("the back-end was asked %d times", n)
			}
			a.forgotten()
			b.forgotten()
		})
	}
}
