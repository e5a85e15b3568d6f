package gateway

import (
	"time"

	"go.uber.org/zap"

	"logux-proxy/gateway/session"
	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// rateWindow is the time in which Config.ActionRate actions may come.
const rateWindow = time.Second

// take hands the actions of one sync to the ledger and starts the first of them if the client has
// none under way. It runs inside drain: the session's output is still in use.
func (h *handler) take(p *peer, actions []session.Received) {
	g := h.g
	now := time.Now()
	var denied []session.Received
	h.jobs = h.jobs[:0]
	for _, r := range actions {
		if r.Denied {
			denied = append(denied, r)
			continue
		}
		h.jobs = append(h.jobs, &job{
			g: g, peer: p, came: now,
			action:       r.Action,
			headers:      p.session.Headers(),
			subscription: r.Subscription,
			wrongChannel: r.WrongChannel,
			recorded:     p.passage != nil && p.passage.unread,
		})
	}

	t := g.ledger.take(p, h.jobs)
	clear(h.jobs)
	if t.replaced {
		p.close(closeNormal, replacedText, transport.CloseZombie)
		return
	}
	g.duplicates.Add(int64(t.known))
	h.brake(p, len(actions), t.waits, t.load)
	for _, r := range denied {
		h.deny(p, r.Action)
	}
	for _, id := range t.settled {
		h.acknowledge(p, id)
	}
	if t.start != nil {
		t.start.run()
	}
	p.rearm()
}

// brake stops reading from a client that has too much under way or is too fast. It loses nothing: what is
// not read waits in the client. An outcome ends it, so there must be one to come: waits says so.
func (h *handler) brake(p *peer, n int, waits bool, l load) {
	now := h.loop.Now()
	if now-p.rateStart >= rateWindow {
		p.rateStart, p.rateCount = now, 0
	}
	p.rateCount += n
	p.hasty = p.rateCount >= h.g.cfg.ActionRate
	if waits && (l.jobs >= h.g.cfg.MaxQueue || l.bytes >= h.g.cfg.MaxQueueBytes) {
		p.full = true
	}
	p.limitReading()
}

// deny undoes an action that names another client or carries meta that clients may not send. It does
// not stand in the client's queue and undoes nothing else; nobody but its sender hears of it.
func (h *handler) deny(p *peer, a *wire.Action) {
	g := h.g
	g.count(outcomeDenied, 0)
	g.followDenied(a)
	g.log.Warn("Action was denied", zap.String("actionId", string(a.ID)), p.who(), zap.String("type", a.Type))
	h.acknowledge(p, a.ID)
	p.enqueue(delivery{out: g.undo(a, wire.ReasonDenied)})
	h.debug(p, "Action \""+string(a.ID)+"\" was denied")
}

// acknowledge sends the synced messages that an outcome of the client's own action sets free.
func (h *handler) acknowledge(p *peer, id wire.ActionID) {
	h.acks.Reset()
	p.session.Settled(h.now(), id, &h.acks)
	h.sendReady(p, &h.acks)
}

// unbrake resumes reading when half of what was too much has its outcome.
func (h *handler) unbrake(p *peer) {
	if !p.full || p.arrives() {
		return
	}
	if l := h.g.ledger.load(p); l.jobs <= h.g.cfg.MaxQueue/2 && l.bytes <= h.g.cfg.MaxQueueBytes/2 {
		p.full = false
		p.limitReading()
	}
}

// tell gives a client the outcome of its action.
type tell struct {
	p     *peer
	id    wire.ActionID
	out   *wire.Outgoing
	debug string
}

// Run implements transport.Task.
func (t *tell) Run(*transport.Loop) {
	if t.p.closed {
		return
	}
	t.p.h.unbrake(t.p)
	if t.debug != "" {
		t.p.h.debug(t.p, t.debug)
	}
	t.p.enqueue(delivery{out: t.out, settles: t.id})
	t.p.conn.Wake()
}
