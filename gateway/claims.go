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
	if p.arrival != nil {
		return
	}
	claims, settled := h.g.ledger.claim(p, ids)
	for _, id := range settled {
		h.acknowledge(p, id)
	}
	for _, j := range claims {
		h.g.claims.Add(1)
		h.g.cfg.Handovers.Claim(j.asClaim(), func(err error) { h.loop.Post(&claimed{p: p, id: j.action.ID, err: err}) })
	}
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

// settleClaim ends a claim and calls done with the outcome that its client is to get.
func (g *Gateway) settleClaim(c wire.Claim, out *wire.Outgoing, done func(kept *wire.Outgoing, taken bool)) {
	o := wire.Outcome{ID: c.ID, Action: wire.AppendAction(nil, out.Action)}
	g.cfg.Handovers.SettleClaim(c, o, func(kept wire.Outcome, taken bool) {
		if first, err := g.outgoing(&kept); err == nil {
			out = first
		}
		done(out, taken)
	})
}

// Orphan takes the claim of a server that is dead: the back-end is asked again, unless the outcome is known. It does
// not block; any goroutine may call it.
func (g *Gateway) Orphan(c wire.Claim, known *wire.Outcome) {
	if known != nil {
		g.tellClient(c.Client, known)
		return
	}
	a, err := wire.DecodeAction(c.Action)
	if err != nil {
		g.log.Error("A claim cannot be read", zap.String("actionId", string(c.ID)), zap.Error(err))
		return
	}
	g.orphans.Add(1)
	o := &orphan{claim: c, job: &job{g: g, action: a, headers: c.Headers, client: &client{id: c.Client}}}
	g.cfg.Backend.Process(&wire.Command{Action: a, Headers: c.Headers}, o.job.answer, o.done)
}

// An orphan is an action of a dead server. No ledger knows it: its client may be anywhere.
type orphan struct {
	claim wire.Claim
	job   *job
}

// done takes the back-end's final word.
func (o *orphan) done(a wire.Answer, err error) {
	g := o.job.g
	reason, _ := judge(a, err)
	out := o.job.verdict(reason)
	g.settleClaim(o.claim, out, func(kept *wire.Outgoing, taken bool) {
		if taken {
			return
		}
		g.log.Info("Action of a dead server has its outcome", zap.String("actionId", string(o.claim.ID)), zap.String("reason", string(reason)))
		g.tellClient(o.claim.Client, &wire.Outcome{ID: o.claim.ID, Action: wire.AppendAction(nil, kept.Action)})
	})
}

// tellClient gives an outcome to a client wherever it is. If it is nowhere, its record has it.
func (g *Gateway) tellClient(client wire.ClientID, o *wire.Outcome) {
	g.receiveOutcome(client, o)
	g.tellServers(wire.KindOutcome, client, &wire.Note{Server: g.cfg.Life, Outcomes: []wire.Outcome{*o}})
}
