package gateway

import (
	"slices"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// An action for clients that are all connected here is private: it is not published. But a connection here may be dead
// without our knowing it, and its client at another server already. So a private action is remembered until the client
// confirms that it has it; when the connection ends before, it is given away: published for this one client, wherever it
// is by then. Among several servers only.

// A private is an action on its way to one client, of which no other server knows. Owned by the client's loop.
type private struct {
	next   *private
	added  int64 // number of the sync that carried it; 0 before it was written
	out    *wire.Outgoing
	author wire.ClientID
	byNode bool // it is for the node, not for whatever connection its client has
}

// privates are those that a client did not confirm, in the order in which it gets them. Owned by its loop.
type privates struct {
	first, last *private
	n, bytes    int32
}

// Bounds of what is remembered for a client that does not confirm. More is published at once.
const (
	maxPrivates     = 100
	maxPrivateBytes = 256 << 10
)

// privateOf makes what is remembered of f for p's client.
func (f *fanout) privateOf(p *peer) *private {
	return &private{out: f.out, author: f.author, byNode: !slices.Contains(f.clients, p.member.Node.Client())}
}

// enqueuePrivate gives the client an action that was not published.
func (p *peer) enqueuePrivate(one *private) {
	w := p.passage
	if w == nil || p.closed || p.conn.Closing() || w.privates.full(one) {
		p.giveAway(one)
		p.enqueue(delivery{out: one.out})
		return
	}
	l := &w.privates
	if l.last == nil {
		l.first = one
	} else {
		l.last.next = one
	}
	l.last = one
	l.n++
	l.bytes += int32(one.out.Size()) // a single large one, of a message's size, is far from the end of an int32
	p.enqueue(delivery{out: one.out, private: one})
}

func (l *privates) full(next *private) bool {
	return l.n >= maxPrivates || l.n > 0 && int(l.bytes)+next.out.Size() > maxPrivateBytes
}

// confirmPrivates forgets what the client has: every sync up to number added.
func (p *peer) confirmPrivates(added int64) {
	if p.passage == nil {
		return
	}
	l := &p.passage.privates
	for l.first != nil && l.first.added != 0 && l.first.added <= added {
		l.n--
		l.bytes -= int32(l.first.out.Size())
		l.first = l.first.next
	}
	if l.first == nil {
		l.last = nil
	}
}

// giveAwayPrivates publishes what the client did not confirm, when its connection is no good any more.
func (p *peer) giveAwayPrivates() {
	if p.passage == nil {
		return
	}
	for one := p.passage.privates.first; one != nil; one = one.next {
		p.giveAway(one)
	}
	p.passage.privates = privates{}
}

// giveAway publishes a private action for the client of p alone. Any goroutine may call it.
func (p *peer) giveAway(one *private) {
	g, t := p.h.g, wire.Targets{}
	if one.byNode {
		t.Nodes = []wire.NodeID{p.member.Node}
	} else {
		t.Clients = []wire.ClientID{p.member.Node.Client()}
	}
	err := g.cfg.Bus.Publish(&wire.Envelope{
		Origin: g.cfg.Session.Server, Seq: g.published.Add(1), Action: one.out.Action, Targets: t, Author: one.author,
	})
	if err != nil {
		g.log.Error("Action could not be given to the other servers", zap.String("actionId", string(one.out.Action.ID)), zap.Error(err))
	}
}
