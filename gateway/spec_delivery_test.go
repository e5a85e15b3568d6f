package gateway

import (
	"fmt"
	"testing"
	"time"

	"logux-proxy/wire"
)

// What becomes of an action when its client loses the connection and sends it again.

// In work: "ignored", the back-end is asked once, and the outcome arrives where the client is now.
func TestSentAgainWhileInWork(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	id := c.act(1, inc)
	q := w.backend.next(t, inc)
	c.drop()
	w.members(0)

	again := w.connect("10:a:tab")
	again.act(1, inc)
	again.alive()
	w.backend.idle(t)
	q.agree()
	again.wantProcessed(1)
	w.nothingFor(again)
	if n := w.backend.count(id); n != 1 {
		t.Errorf("the back-end was asked %d times", n)
	}
	if n := w.g.Stats().Duplicates; n != 1 {
		t.Errorf("%d duplicates are counted", n)
	}
	w.forgotten()
}

// Settled and not confirmed: the outcome again, and the acknowledgement when the action comes again.
func TestSentAgainWhenSettled(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	c.deaf = true
	c.act(1, inc)
	w.backend.next(t, inc).agree()
	c.wantProcessed(1)
	c.drop()
	w.members(0)

	again := w.connect("10:a:tab") // it says that it got nothing
	again.want(processedEvent(c.id(1)))
	again.alive() // its confirmation is read
	again.act(1, inc)
	again.want("synced 1")
	w.nothingFor(again)
	w.backend.idle(t)
	// The confirmation of what came after our synced is the end of it.
	again.alive()
	w.forgotten()
}

// Confirmed through connect's `synced`: not again, and the action is forgotten.
func TestConfirmedByConnect(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	c.deaf = true
	c.act(1, inc)
	w.backend.next(t, inc).agree()
	c.wantProcessed(1)
	c.drop()
	w.members(0)
	again := w.connect("10:a:tab", c.added)
	w.nothingFor(again)
	w.forgotten()
}

// Of several actions in one message the first has its outcome and the client's confirmation long before the
// message is acknowledged. It is not processed again when the client sends the whole message again.
func TestMessageSentAgainIsNotProcessedTwice(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	message := func(c *browser) { c.send(fmt.Sprintf(`["sync",2,%s,%s]`, c.pair(1, inc), c.pair(2, inc2))) }
	message(c)
	w.backend.next(t, inc).agree()
	c.want(processedEvent(c.id(1)))
	second := w.backend.next(t, inc2)
	c.alive() // it is confirmed
	c.drop()
	w.members(0)

	again := w.connect("10:a:tab", c.added)
	message(again)
	again.alive()
	second.agree()
	again.want("synced 2", processedEvent(c.id(2)))
	w.nothingFor(again)
	w.backend.idle(t)
	for n := range int64(2) {
		if times := w.backend.count(c.id(n + 1)); times != 1 {
			t.Errorf("action %d was processed %d times", n+1, times)
		}
	}
	again.alive()
	w.forgotten()
}

// An undo is an outcome like any other.
func TestUndoOnTheNextConnection(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	c.act(1, inc)
	q := w.backend.next(t, inc)
	c.act(2, inc2)
	c.alive()
	c.drop()
	w.members(0)
	q.fail("text")
	again := w.connect("10:a:tab")
	again.want(undoEvent(c.id(1), "error", inc), undoEvent(c.id(2), "error", inc2))
	again.act(1, inc)
	again.act(2, inc2)
	again.want("synced 1", "synced 2")
	w.nothingFor(again)
}

// Section 6: "A second connection with the same client ID replaces the first: the older one is closed"
func TestSpecSecondConnectionReplacesFirst(t *testing.T) {
	w := newWorld(t, nil)
	first := w.connect("10:a:tab")
	w.subscribe(first, 1, "posts")
	first.act(2, inc)
	q := w.backend.next(t, inc)
	second := w.connect("10:a:other")
	first.want("close 1000")
	w.toChannel("posts", data(1))
	w.deliver(data(2), wire.Targets{Users: []wire.UserID{"10"}})
	second.want(dataEvent(2))
	q.agree()
	second.want(processedEvent(first.id(2)))
	w.nothingFor(second)
	w.members(1)
	if n := w.g.Stats().Zombies; n != 1 {
		t.Errorf("%d are counted", n)
	}
	// Another client of the user is another client.
	w.connect("10:b:tab")
	second.alive()
}

// What a replaced connection still sends is not taken: its client sends it by the new one, and the outcome
// would go astray.
func TestReplacedConnectionIsNotHeard(t *testing.T) {
	w := newWorld(t, nil)
	old := w.connect("10:a:tab")
	var replaced *peer
	w.on("10:a", func(p *peer) { replaced = p })
	second := w.connect("10:a:tab")
	old.want("close 1000")
	w.onLoops(nothing)
	if r := w.g.ledger.take(replaced, []*job{{action: &wire.Action{ID: old.id(1)}}}); !r.replaced {
		t.Error("it is taken")
	}
	second.act(1, inc)
	w.backend.next(t, inc).agree()
	second.wantProcessed(1)
}

// A client that reconnects over and over while it sends gets one outcome for each of its actions.
func TestReconnectsInAStorm(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.setProcess(func(q *question) { q.agree() })
	outcomes := make(map[wire.ActionID]int)
	var synced int64
	var got int64
	for n := int64(1); n <= 60; n++ {
		c := w.dial(nil)
		c.connect("10:a:tab", got)
		for k := synced + 1; k <= n; k++ {
			c.act(k, inc)
		}
		// It reads some of what is there, and loses the connection.
		for range n % 4 {
			var last int64
			if _, err := fmt.Sscanf(c.next(), "synced %d", &last); err == nil {
				synced = max(synced, last)
			}
		}
		c.drop()
		for _, g := range c.got {
			outcomes[wire.ActionID(g.body)]++
		}
		if c.added > got {
			got = c.added
		}
	}
	c := w.dial(nil)
	c.connect("10:a:tab", got)
	for k := synced + 1; k <= 60; k++ {
		c.act(k, inc)
	}
	for synced < 60 {
		var last int64
		if _, err := fmt.Sscanf(c.next(), "synced %d", &last); err == nil {
			synced = max(synced, last)
		}
	}
	w.nothingForAfterAll(c)
	for _, g := range c.got {
		outcomes[wire.ActionID(g.body)]++
	}
	for n := int64(1); n <= 60; n++ {
		id := c.id(n)
		if times := w.backend.count(id); times != 1 {
			t.Errorf("%s was processed %d times", id, times)
		}
		if times := outcomes[wire.ActionID(fmt.Sprintf(`{"type":"logux/processed","id":%q}`, id))]; times != 1 {
			t.Errorf("%s has %d outcomes", id, times)
		}
	}
}

// nothingForAfterAll reads what is on the connection up to a fence.
func (w *world) nothingForAfterAll(c *browser) {
	w.t.Helper()
	w.fences++
	fence := fmt.Sprintf(`{"type":"fence","n":%d}`, w.fences)
	w.deliver(fence, wire.Targets{Clients: []wire.ClientID{c.node.Client()}})
	for c.next() != "action "+fence {
	}
}

// The acknowledgement does not wait for ever: clients in the field give up after 20 s. The outcome follows, also
// on another connection.
func TestAckLimit(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Session.AckLimit = time.Millisecond })
	c := w.connect("10:a:tab")
	c.act(1, inc)
	q := w.backend.next(t, inc)
	c.want("synced 1")
	c.act(2, inc2)
	c.want("synced 2")
	q.agree()
	c.want(processedEvent(c.id(1)))
	second := w.backend.next(t, inc2)
	c.drop()
	w.members(0)
	second.agree()
	again := w.connect("10:a:tab", c.added)
	again.want(processedEvent(c.id(2)))
	w.nothingFor(again)
}
