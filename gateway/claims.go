package gateway

import (
	"go.uber.org/zap"

	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// A client waits for its synced only so long. An action whose outcome takes longer is claimed: written where another
// server finds it if this one dies, and acknowledged after that.

// claim makes actions safe that would have to be acknowledged now. While the client arrives the ledger does not know them
// yet; they are asked for again.
func (h *handler) claim(p *peer, ids []wire.ActionID) {
	if p.arrives() {
		return
	}
	claims, settled := h.g.ledger.claim(p, ids)
	for _, id := range settled {
		h.acknowledge(p, id)
	}
	for _, j := range claims {
		h.g.claims.Add(1)
		c := j.asClaim()
		h.g.cfg.Handovers.Claim(c, func(err error) { h.claimEnded(p, j, c.ID, err) })
		if then := h.g.ledger.claimAsked(j); then != nil {
			then()
		}
	}
}

// claimEnded notes what the store said of j's claim. Any goroutine may call it.
func (h *handler) claimEnded(p *peer, j *job, id wire.ActionID, err error) {
	h.g.ledger.claimEnded(j, err == nil)
	h.loop.Post(&claimed{p: p, id: id, err: err})
}

// asClaim is all that another server needs to process j.
func (j *job) asClaim() wire.Claim {
	return wire.Claim{ID: j.action.ID, Client: j.client.id, Action: wire.AppendAction(nil, j.action), Headers: j.headers}
}

// claimed acknowledges an action that is safe.
type claimed struct {
	p   *peer
	id  wire.ActionID
	err error
}

// Run implements transport.Task.
func (t *claimed) Run(*transport.Loop) {
	switch {
	case t.err != nil:
		t.p.h.g.log.Warn("Action is acknowledged late: it could not be claimed", zap.String("actionId", string(t.id)), zap.Error(t.err))
	case !t.p.closed && !t.p.conn.Closing():
		t.p.h.acknowledge(t.p, t.id)
	}
}

// settleClaim ends j's claim, which the store must have been asked for before.
func (j *job) settleClaim(out *wire.Outgoing, done func(kept *wire.Outgoing, taken bool)) {
	settle := func() { j.g.settleClaim(j.asClaim(), out, done) }
	if !j.g.ledger.afterClaim(j, settle) {
		settle()
	}
}

// settleClaim ends a claim and calls done with the outcome that its client is to get.
func (g *Gateway) settleClaim(c wire.Claim, out *wire.Outgoing, done func(kept *wire.Outgoing, taken bool)) {
	o := wire.Outcome{ID: c.ID, Action: wire.AppendAction(nil, out.Action)}
	g.settling.Add(1)
	g.cfg.Handovers.SettleClaim(c, o, func(kept wire.Outcome, taken bool) {
		defer g.settling.Add(-1)
		if first, err := g.outgoing(&kept); err == nil {
			out = first
		}
		done(out, taken)
	})
}

// tellClient gives an outcome to a client wherever it is. If it is nowhere, its record has it.
func (g *Gateway) tellClient(client wire.ClientID, o *wire.Outcome) {
	g.receiveOutcome(client, o)
	g.tellServers(wire.KindOutcome, client, &wire.Note{Server: g.cfg.Life, Outcomes: []wire.Outcome{*o}})
}
