package gateway

import (
	"sync/atomic"
	"time"

	"logux-proxy/gateway/hub"
	"logux-proxy/wire"
)

// Stats are counters since the start and gauges of now.
type Stats struct {
	hub.Counts

	// MessagesIn and MessagesOut count by wire.MessageType; Malformed those that were refused.
	MessagesIn, MessagesOut [wire.MessageTypes]int64
	Malformed               int64

	// Actions by outcome: "processed", or the reason of the undo.
	Actions map[string]int64
	// Duplicates counts actions that came again after a reconnect and were not processed again.
	Duplicates int64
	// Routed counts receivers that actions were given to, Deliveries those written to connections.
	Routed, Deliveries int64
	// Handovers counts clients whose record was written, because they left with something open; Claims actions that were
	// made safe before they were acknowledged; Orphans those of dead servers that were processed here; GapCloses
	// connections closed because actions may be missing.
	Handovers, Claims, Orphans, GapCloses int64
	// Zombies counts connections replaced by a newer one of the same client.
	Zombies int64

	// Gauges of the ledger: clients and actions remembered, and actions without an outcome.
	Clients, Remembered, Open int64
}

// Outcomes lists all values by which actions are counted.
var Outcomes = []string{
	outcomeProcessed, string(wire.ReasonDenied), string(wire.ReasonUnknownType),
	string(wire.ReasonWrongChannel), string(wire.ReasonError),
}

// outcomes are counters in the order of Outcomes.
type outcomes [5]atomic.Int64

// count notes one outcome of an action that took so long.
func (g *Gateway) count(outcome string, took time.Duration) {
	for i, o := range Outcomes {
		if o == outcome {
			g.outcomes[i].Add(1)
		}
	}
	g.cfg.ActionDone(outcome, took)
}

// Stats sums up. Any goroutine may call it once the loops run. Its cost grows with the clients that are remembered.
func (g *Gateway) Stats() Stats {
	s := Stats{
		Counts:     g.hub.Counts(),
		Actions:    make(map[string]int64, len(Outcomes)),
		Duplicates: g.duplicates.Load(),
		Routed:     g.matched.Load(),
		Zombies:    g.zombies.Load(),
		Handovers:  g.handovers.Load(),
		Claims:     g.claims.Load(),
		Orphans:    g.taken.Load(),
		GapCloses:  g.gapCloses.Load(),
	}
	for i, o := range Outcomes {
		s.Actions[o] = g.outcomes[i].Load()
	}
	for _, h := range g.handlers {
		for i := range s.MessagesIn {
			s.MessagesIn[i] += h.stats.in[i].Load()
			s.MessagesOut[i] += h.stats.out[i].Load()
		}
		s.Malformed += h.stats.malformed.Load()
		s.Deliveries += h.stats.deliveries.Load()
	}
	s.Clients, s.Remembered, s.Open = g.ledger.counts()
	return s
}
