package gateway

import (
	"net/netip"
	"time"

	"logux-proxy/gateway/hub"
	"logux-proxy/gateway/session"
	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// A peer is one connection as the gateway sees it. Everything in it is owned by its loop, but the
// first group, which never changes, and the last.
type peer struct {
	conn *transport.Conn
	h    *handler
	addr netip.Addr

	session session.Session
	member  hub.Member[*peer]
	request *transport.Request // until the client is authenticated

	// pending is what the client gets with the next sync, in order. It grows while the
	// connection does not take output; its memory goes back to the loop when it is empty.
	pending      []delivery
	pendingBytes int
	// asking is the subscription that the back-end thinks about; nil for none. A client's actions are
	// processed one after another, so there is at most one.
	asking *asking
	// passage is what a connection has among several servers; nil where there is one, and before the client is joined.
	passage   *passage
	timer     time.Duration // what the connection's timer is set to
	rateStart time.Duration // the running second of the action rate
	rateCount int

	joined  bool // in the hub and the ledger
	closed  bool
	full    bool // too many actions without an outcome
	owed    bool // the ledger remembers actions that a synced of the client may settle for good
	hasty   bool // too many actions in this second
	unheard bool // nothing is read, because of full or hasty

	// replaced: this is not its client's connection any more, or never will be. Guarded by the ledger.
	replaced bool
}

// A passage is what a connection has because there are other servers that its client may come from and go to. Owned by
// the connection's loop.
type passage struct {
	// arrival is what the client's actions, and everything that is sent to it, wait for; nil for nothing.
	arrival  *arrival
	census   *census         // nil when none is under way
	said     []wire.ServerID // servers that said what they know of the client
	unread   bool            // the store could not be read so far: it may know the client's actions
	synced   int64           // the last number of ours that the client had when it connected
	leaveAt  time.Duration   // when it is closed after a gap; 0 for never
	privates privates
}

// arrives reports whether the client's actions wait.
func (p *peer) arrives() bool { return p.passage != nil && p.passage.arrival != nil }

// A delivery is one action on its way to one client.
type delivery struct {
	out *wire.Outgoing
	// settles is the ID of the client's own action whose outcome this is; "" for all others.
	settles wire.ActionID
	private *private // set where no other server knows of it
}

// enqueue gives the client an action with its next sync; the connection is to be woken.
func (p *peer) enqueue(d delivery) {
	if p.closed || p.conn.Closing() {
		return
	}
	if p.pending == nil {
		p.pending = p.h.takeDeliveries()
	}
	p.pending = append(p.pending, d)
	p.pendingBytes += d.out.Size()
	if p.pendingBytes+p.conn.Waiting() > p.h.g.cfg.MaxOutput && p.conn.Waiting() > 0 {
		p.close(closeTryLater, "too slow", transport.CloseSlow)
	}
}

// flush writes what is pending, merged into as few messages as the bound on their size allows. Before the
// outcomes go the acknowledgements of the actions they belong to, in the same write.
func (p *peer) flush() {
	if len(p.pending) == 0 || !p.session.Ready() {
		return
	}
	// The numbers of this connection begin when it is known which ones of an earlier connection the client has. Else
	// the next server could not tell them apart.
	if p.arrives() && p.pendingBytes <= p.h.g.cfg.MaxOutput {
		return
	}
	for i := range p.pending {
		if d := &p.pending[i]; d.settles != "" {
			p.h.acknowledge(p, d.settles)
		}
	}
	if p.conn.Closing() {
		return
	}
	now := p.h.now()
	base := p.session.Base()
	for rest := p.pending; len(rest) > 0; {
		n, size := 1, rest[0].out.Size()
		for n < len(rest) && n < maxPairs && size+rest[n].out.Size() <= maxSync {
			size += rest[n].out.Size()
			n++
		}
		added := p.session.NextAdded(now, n)
		buf := wire.AppendSyncStart(p.h.scratch[:0], added)
		for _, d := range rest[:n] {
			buf = wire.AppendSyncPair(buf, base, d.out)
			if d.settles != "" {
				p.h.g.ledger.sent(p, d.settles, added)
				p.owed = true
			}
			if d.private != nil {
				d.private.added = added
			}
		}
		buf = wire.AppendSyncEnd(buf)
		p.h.scratch = buf
		p.h.sent(wire.MessageSync) // before Send, which may write at once
		p.conn.Send(buf)
		p.h.stats.deliveries.Add(int64(n))
		rest = rest[n:]
	}
	p.h.giveDeliveries(p.pending)
	p.pending, p.pendingBytes = nil, 0
	p.rearm()
}

// Bounds of one sync message of ours: pairs (protocol 7 allows a hundred) and about bytes.
const (
	maxPairs = 100
	maxSync  = 256 << 10
)

// rearm sets the connection's timer where something is due before it fires anyway. A deadline that moved
// away is left alone: the timer looks again when it fires.
func (p *peer) rearm() {
	at := p.session.Deadline()
	earlier := func(next time.Duration) {
		if at == 0 || next < at {
			at = next
		}
	}
	if p.hasty {
		earlier(p.rateStart + rateWindow)
	}
	if w := p.passage; w != nil {
		if w.arrival != nil {
			earlier(w.arrival.until)
		}
		if w.leaveAt != 0 {
			earlier(w.leaveAt)
		}
	}
	if at != 0 && (p.timer == 0 || at < p.timer) {
		p.timer = at
		p.conn.SetTimer(at)
	}
}

// Close codes of RFC 6455 and its registry.
const (
	closeNormal   = 1000
	closePolicy   = 1008
	closeRestart  = 1012
	closeTryLater = 1013
	closeInternal = 1011
	maxCloseText  = 120 // bytes of a close frame's text
)

func (p *peer) close(code uint16, text string, reason transport.CloseReason) {
	if !p.closed {
		if reason == transport.CloseZombie {
			p.giveAwayPrivates() // its client is elsewhere already; any other may still confirm
		}
		p.conn.Close(code, text[:min(len(text), maxCloseText)], reason)
	}
}

// limitReading stops or resumes reading from the client.
func (p *peer) limitReading() {
	unheard := p.full || p.hasty
	if unheard == p.unheard {
		return
	}
	p.unheard = unheard
	p.session.Pause(p.h.now(), unheard)
	if unheard {
		p.conn.StopReading()
	} else {
		p.conn.ResumeReading()
	}
}
