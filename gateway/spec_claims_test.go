package gateway

import (
	"fmt"
	"testing"
	"time"

	"logux-proxy/wire"
)

// Actions that are acknowledged before their outcome: what their clients may rely on, wherever they go.

// An action whose outcome takes long is acknowledged when it is claimed, and has one outcome.
func TestClaimIsAcknowledged(t *testing.T) {
	for _, moves := range []bool{false, true} {
		t.Run(fmt.Sprintf("moves: %v", moves), func(t *testing.T) {
			f := newFleet(t)
			soon := func(c *Config) { c.Session.AckLimit = 150 * time.Millisecond }
			a, b := f.server("a", soon), f.server("b", soon)
			c, at := a.connect("10:a:tab"), a
			id := c.act(1, inc)
			q := f.backend.next(t, inc)
			c.want("synced 1")
			if moves {
				c, at = b.connect("10:a:tab"), b
				a.members(0)
			}
			q.agree()
			c.want(processedEvent(id))
			at.nothingFor(c)
			await(t, "no claim", func() bool { return a.handovers.Stats().Claims == 0 })
			if n := f.backend.count(id); n != 1 {
				t.Errorf("the back-end was asked %d times", n)
			}
		})
	}
}

// "Nothing acknowledged is lost": claims of a dead server are taken over, those of one client one after another; one that
// fails undoes those behind it.
func TestClaimsAreTakenOver(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprintf("fails: %v", fails), func(t *testing.T) {
			f := newFleet(t)
			soon := func(c *Config) { c.Session.AckLimit = 150 * time.Millisecond }
			a, b := f.server("a", soon), f.server("b", soon)
			c := a.connect("10:a:tab")
			first, second := c.act(1, inc), c.act(2, inc2)
			f.backend.next(t, inc) // it is never answered
			c.want("synced 1", "synced 2")
			a.die()
			q := f.backend.next(t, inc)
			f.backend.idle(t)
			c = b.connect("10:a:tab")
			c.act(3, inc3)
			if fails {
				await(t, "all three at the new server", func() bool { _, n, _ := b.g.ledger.counts(); return n == 3 })
				q.fail("text")
				c.wantAll("synced 3", undoEvent(first, "error", inc), undoEvent(second, "error", inc2), undoEvent(c.id(3), "error", inc3))
			} else {
				q.agree()
				c.want(processedEvent(first))
				f.backend.next(t, inc2).agree()
				c.want(processedEvent(second))
				f.backend.next(t, inc3).agree()
				c.wantProcessed(3)
			}
			b.nothingFor(c)
			if n := b.g.Stats().Orphans; n != 2 {
				t.Errorf("%d orphans", n)
			}
		})
	}
}

// "Actions of one client ID are processed one after another": a claimed action that waits at one server for one that runs at
// another goes on waiting when its client leaves, and shares its fate.
func TestClaimedActionsKeepTheirOrder(t *testing.T) {
	for _, to := range []string{"back", "on"} {
		for _, fails := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, fails: %v", to, fails), func(t *testing.T) {
				f := newFleet(t)
				soon := func(c *Config) { c.Session.AckLimit = 150 * time.Millisecond }
				a, b := f.server("a", soon), f.server("b", soon)
				last := a
				if to == "on" {
					last = f.server("c", soon)
				}
				c := a.connect("10:a:tab")
				first := c.act(1, inc)
				q := f.backend.next(t, inc)
				c.want("synced 1")
				c = b.connect("10:a:tab")
				second := c.act(2, inc2)
				c.want("synced 2")
				c = last.connect("10:a:tab")
				b.members(0)
				c.alive()
				f.backend.idle(t)
				if fails {
					q.fail("text")
					c.wantAll(undoEvent(first, "error", inc), undoEvent(second, "error", inc2))
				} else {
					q.agree()
					c.want(processedEvent(first))
					f.backend.next(t, inc2).agree()
					c.want(processedEvent(second))
				}
				last.nothingFor(c)
				await(t, "no claims", func() bool { return a.handovers.Stats().Claims+b.handovers.Stats().Claims == 0 })
			})
		}
	}
}

// "Every receiver gets it once": what the back-end answers to a server that stood still is not re-sent when another
// server has taken the action over, and re-sent it.
func TestAnswersOfAServerThatStoodStill(t *testing.T) {
	f := newFleet(t)
	soon := func(c *Config) { c.Session.AckLimit = 150 * time.Millisecond }
	a, b := f.server("a", soon), f.server("b", soon)
	reader := b.connect("20:r:tab")
	b.subscribe(reader, 1, "posts")
	c := a.connect("10:a:tab")
	id := c.act(1, inc)
	q := f.backend.next(t, inc)
	c.want("synced 1")
	const more = `{"type":"more"}`
	answer := func(q *question) {
		q.resend(wire.Targets{Channels: []string{"posts"}})
		q.approve()
		q.action(more, wire.Targets{Channels: []string{"posts"}})
		q.processed()
	}
	a.die()
	answer(f.backend.next(t, inc))
	reader.want("action "+inc, "action "+more)
	await(t, "that all is settled", func() bool { return b.handovers.Stats().Orphans == 0 })
	f.revive(a)
	answer(q)
	c.want(processedEvent(id))
	b.nothingFor(reader)
	a.nothingFor(c)
}

// What others did while this server stood still comes before what its clients do next.
func TestActionsWaitUntilTheServerHasCaughtUp(t *testing.T) {
	f := newFleet(t)
	bus := &lateBus{waiting: make(chan func(), 1)}
	a := f.server("a", func(c *Config) { bus.Bus, c.Bus = c.Bus, bus })
	c := a.connect("10:a:tab")
	id := c.act(1, inc)
	then := <-bus.waiting
	f.backend.idle(t)
	then()
	f.backend.next(t, inc).agree()
	c.wantAll("synced 1", processedEvent(id))
}

// A lateBus is that of a server that has not caught up.
type lateBus struct {
	Bus
	waiting chan func()
}

func (b *lateBus) CaughtUp(then func()) { b.waiting <- then }

// A server that stood still for so long that another took its claims over begins none of them again: "the same action ID may
// reach the back-end a second time" only of those that it had asked about before.
func TestClaimsOfAServerThatStoodStill(t *testing.T) {
	f := newFleet(t)
	soon := func(c *Config) { c.Session.AckLimit = 150 * time.Millisecond }
	a, b := f.server("a", soon), f.server("b", soon)
	c := a.connect("10:a:tab")
	first, second := c.act(1, inc), c.act(2, inc2)
	q := f.backend.next(t, inc)
	c.want("synced 1", "synced 2")
	a.die()
	f.backend.next(t, inc).agree()
	f.backend.next(t, inc2).agree()
	await(t, "that all is settled", func() bool { return b.g.Stats().Orphans == 2 && b.handovers.Stats().Orphans == 0 })
	f.revive(a)
	q.agree()
	c.wantAll(processedEvent(first), processedEvent(second))
	a.nothingFor(c)
	if n, m := f.backend.count(first), f.backend.count(second); n != 2 || m != 1 {
		t.Errorf("the back-end was asked %d and %d times", n, m)
	}
}
