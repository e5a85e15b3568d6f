package gateway

import (
	"time"

	"go.uber.org/zap"

	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// Receive takes an envelope from another server. It does not block; any goroutine may call it, those of one server
// one after another.
func (g *Gateway) Receive(e *wire.Envelope) {
	switch e.Kind {
	case wire.KindAction:
		g.receiveAction(e)
	case wire.KindAttach:
		g.leave(e.Targets.Clients[0], e.Note)
	case wire.KindRecord:
		g.receiveRecord(e.Targets.Clients[0], e.Note)
	case wire.KindOutcome:
		for i := range e.Note.Outcomes {
			n := g.receiveOutcome(e.Targets.Clients[0], &e.Note.Outcomes[i])
			g.keep(e.Targets.Clients[0], n.heard, e.Note.Server)
		}
	case wire.KindKept:
		if e.Note.To == g.cfg.Life {
			if start := g.ledger.kept(e.Targets.Clients[0], e.Note.Kept, e.Note.Server); start != nil {
				start.run()
			}
		}
	case wire.KindDisconnect:
		g.disconnect(&e.Targets)
	}
}

// leave gives a client to the server where it has connected, and tells it what is remembered here.
func (g *Gateway) leave(client wire.ClientID, to *wire.Note) {
	if g.cfg.Life == "" {
		return
	}
	answer := func(r wire.Record) {
		g.tellServers(wire.KindRecord, client, &wire.Note{
			Server: g.cfg.Life, To: to.Server, Turn: to.Turn, InFlight: r.InFlight, Outcomes: r.Outcomes,
		})
	}
	// When two servers announce the same client at once, both close it. To keep one of them each would have to know which
	// one is dead, and the wrong one would process what it holds.
	old := g.connection(client)
	if old != nil {
		g.zombies.Add(1)
		old.h.loop.Post(&closePeer{p: old, code: closeNormal, text: replacedText, reason: transport.CloseZombie})
	}
	r, start := g.ledger.release(client, old, time.Since(g.start))
	if start != nil {
		start.run()
	}
	if g.cfg.Handovers == nil {
		answer(r)
		return
	}
	if r.Empty() {
		g.cfg.Handovers.Store(r, func(error) {}) // what could not be written before is not true any more
		answer(r)
		return
	}
	// First the store: the other server may confirm what it hears, and may die.
	g.store(r, func() { answer(r) })
}

// store writes what is known of a client that left, and calls then when that was done or failed.
func (g *Gateway) store(r wire.Record, then func()) {
	if g.cfg.Handovers == nil {
		return
	}
	g.handovers.Add(1)
	g.settling.Add(1)
	g.cfg.Handovers.Store(r, func(err error) {
		if err != nil {
			g.log.Warn("Record of a client could not be written", zap.String("clientId", string(r.Client)), zap.Error(err))
		}
		then()
		g.settling.Add(-1)
	})
}

// connection is the client's connection here; nil when there is none.
func (g *Gateway) connection(client wire.ClientID) *peer {
	if m := g.hub.Client(client); m != nil {
		return m.Peer
	}
	return nil
}

func (g *Gateway) receiveRecord(client wire.ClientID, n *wire.Note) {
	switch p := g.connection(client); {
	case g.cfg.Life == "":
	case p == nil:
		g.overhear(client, n)
	case n.To == g.cfg.Life:
		p.h.loop.Post(&recordCame{p: p, client: client, note: n})
	}
}

// overhear takes what a server says of a client that is not here, be it to another one.
func (g *Gateway) overhear(client wire.ClientID, n *wire.Note) {
	g.follow(g.ledger.overhear(&wire.Record{Client: client, InFlight: n.InFlight, Outcomes: n.Outcomes}, n.Server))
}

func (g *Gateway) receiveOutcome(client wire.ClientID, o *wire.Outcome) (n news) {
	if g.cfg.Life != "" {
		n = g.ledger.outcome(client, g.connection(client), o, time.Since(g.start))
		g.follow(n)
	}
	return n
}

// keep says to the server from which outcomes came that they are here now.
func (g *Gateway) keep(client wire.ClientID, heard []wire.ActionID, from wire.ServerID) {
	if len(heard) > 0 && from != "" {
		g.tellServers(wire.KindKept, client, &wire.Note{Server: g.cfg.Life, To: from, Kept: heard})
	}
}

// follow does what follows from what another server said.
func (g *Gateway) follow(n news) {
	if n.tell != nil {
		for _, o := range n.outcomes {
			n.tell.h.loop.Post(&tell{p: n.tell, id: o.id, out: o.out})
		}
	}
	for _, id := range n.unreadable {
		g.log.Error("The outcome that another server gave an action cannot be read", zap.String("actionId", string(id)))
	}
	if len(n.echoes) > 0 {
		g.tellServers(wire.KindOutcome, n.client, &wire.Note{Server: g.cfg.Life, Outcomes: n.echoes})
	}
	for _, f := range n.failed {
		f.job.failAfter(f.first)
	}
	if n.start != nil {
		n.start.run()
	}
}

// tellElsewhere writes the outcome of a job whose client is not here where it finds it: into its record, and, if it is
// at another server, onto the bus.
func (g *Gateway) tellElsewhere(j *job, out *wire.Outgoing, a away) {
	client := j.client.id
	publish := func(o wire.Outcome) {
		if a.moved {
			g.tellServers(wire.KindOutcome, client, &wire.Note{Server: g.cfg.Life, Outcomes: []wire.Outcome{o}})
		}
	}
	o := wire.Outcome{ID: j.action.ID, Action: wire.AppendAction(nil, out.Action)}
	if g.cfg.Handovers == nil {
		publish(o)
		return
	}
	g.settling.Add(1)
	g.cfg.Handovers.Settle(client, o, func(kept wire.Outcome) {
		publish(kept)
		g.settling.Add(-1)
	})
}

// tellServers publishes a note about a client.
func (g *Gateway) tellServers(kind wire.EnvelopeKind, client wire.ClientID, n *wire.Note) {
	err := g.cfg.Bus.Publish(&wire.Envelope{
		Kind: kind, Origin: g.cfg.Session.Server, Seq: g.published.Add(1),
		Targets: wire.Targets{Clients: []wire.ClientID{client}}, Note: n,
	})
	if err != nil {
		g.log.Error("The other servers could not be told of a client", zap.String("clientId", string(client)), zap.Error(err))
	}
}
