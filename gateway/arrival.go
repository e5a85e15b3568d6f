package gateway

import (
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"logux-proxy/gateway/session"
	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// A client that connects may come from another server, and send actions again that are known there. So its server
// announces it on the bus, hears what each server that remembers something knows, and looks into the store for what
// those left behind that are gone. The client's actions wait for that; nothing else does.

// An arrival is a client whose actions wait. Owned by the loop of its connection.
type arrival struct {
	turn    uint64
	until   time.Duration // when they wait no longer
	others  int           // answers to come; unknown at first, or if the bus does not know
	answers int
	blind   bool // the bus does not know
	fetched bool // the store was asked
	held    []session.Received
	bytes   int
}

// A census finds out which servers say nothing about a client: what the store says is in flight there is not any more. It is
// taken when an outcome does not come for so long that a server that died meanwhile is known to be dead. Owned by the loop of
// its connection.
type census struct {
	turn    uint64
	others  int // answers to come; unknown at first, or if the bus does not know
	answers int
}

const (
	unknown = -1
	// arrivalPatience is how long actions wait for answers.
	arrivalPatience = time.Second
	// blindPatience is how long they wait while the bus does not know how many come, because some server may hear the
	// announcement late: until all have answered, as those do that it reaches past Redis, or this time is over. An answer
	// that is missed may be an action that is processed twice.
	blindPatience = 5 * time.Second
	// fetchAgain is about the time between the first two tries to read the record of a client while the store is away; it
	// doubles up to fetchSeldom.
	fetchAgain  = time.Second
	fetchSeldom = 16 * time.Second
)

// arrive announces a client that has just connected here.
func (h *handler) arrive(p *peer, synced int64) {
	g := h.g
	a := &arrival{turn: g.turns.Add(1), until: h.loop.Now() + arrivalPatience, others: unknown, fetched: g.cfg.Handovers == nil}
	if g.cfg.Peers() > 0 {
		a.until = h.loop.Now() + blindPatience
	}
	p.passage = &passage{arrival: a, synced: synced, unread: g.cfg.Handovers != nil}
	g.fetch(p, fetchAgain)
	h.announce(p, a.turn)
}

func (h *handler) announce(p *peer, turn uint64) {
	g := h.g
	g.cfg.Bus.Announce(&wire.Envelope{
		Kind: wire.KindAttach, Origin: g.cfg.Session.Server, Seq: g.published.Add(1),
		Targets: wire.Targets{Clients: []wire.ClientID{p.member.Node.Client()}},
		Note:    &wire.Note{Server: g.cfg.Life, Turn: turn},
	}, func(others int) { h.loop.Post(&announced{p: p, turn: turn, others: others}) })
}

// recount asks all servers again about a client of which something is in flight for long at one that is alive.
type recount struct{ p *peer }

// Run implements transport.Task.
func (t *recount) Run(*transport.Loop) {
	p := t.p
	if p.closed || p.conn.Closing() || p.passage == nil || p.passage.arrival != nil {
		return
	}
	c := &census{turn: p.h.g.turns.Add(1), others: unknown}
	p.passage.census, p.passage.said = c, nil
	p.h.announce(p, c.turn)
}

// counted ends a census when all have answered.
func (h *handler) counted(p *peer) {
	c := p.passage.census
	if c == nil || c.others == unknown || c.answers < c.others {
		return
	}
	p.passage.census = nil
	owners := slices.DeleteFunc(h.g.ledger.unheard(p, p.passage.said), func(s wire.ServerID) bool { return !h.g.cfg.Alive(s) })
	if len(owners) == 0 {
		return
	}
	if start := h.g.ledger.silent(p, owners); start != nil {
		start.run()
	}
}

// fetch asks the store about p's client. If it fails it is asked again after a while.
func (g *Gateway) fetch(p *peer, again time.Duration) {
	if g.cfg.Handovers == nil {
		return
	}
	g.cfg.Handovers.Fetch(p.member.Node.Client(), func(r wire.Record, err error) {
		p.h.loop.Post(&fetched{p: p, record: r, err: err, again: again})
	})
}

// announced says how many servers answer.
type announced struct {
	p      *peer
	turn   uint64
	others int
}

// Run implements transport.Task.
func (t *announced) Run(l *transport.Loop) {
	p := t.p
	if p.passage == nil {
		return
	}
	if c := p.passage.census; c != nil && c.turn == t.turn {
		c.others = t.others
		p.h.counted(p)
	}
	a := p.passage.arrival
	if a == nil || a.turn != t.turn {
		return
	}
	a.others, a.blind = t.others, t.others == unknown
	if !a.blind {
		a.until = min(a.until, l.Now()+arrivalPatience)
		p.rearm()
	}
	p.h.arrived(p)
}

// fetched brings what the store knows.
type fetched struct {
	p      *peer
	record wire.Record
	err    error
	again  time.Duration
}

// Run implements transport.Task.
func (t *fetched) Run(*transport.Loop) {
	p := t.p
	if p.closed {
		return
	}
	if t.err != nil {
		p.h.g.log.Debug("Record of a client could not be read", p.who(), zap.Error(t.err))
		time.AfterFunc(t.again/2+rand.N(t.again/2), func() { p.h.loop.Post(&refetch{p: p, again: min(2*t.again, fetchSeldom)}) })
	} else {
		p.passage.unread = false
		p.h.merge(p, &hearsay{Record: &t.record, said: p.passage.said})
	}
	if a := p.passage.arrival; a != nil {
		a.fetched = true
		p.h.arrived(p)
	}
}

// refetch asks the store again: what it knows is still good when the client's actions wait no longer.
type refetch struct {
	p     *peer
	again time.Duration
}

// Run implements transport.Task.
func (t *refetch) Run(*transport.Loop) {
	if !t.p.closed {
		t.p.h.g.fetch(t.p, t.again)
	}
}

// recordCame brings what another server knows.
type recordCame struct {
	p      *peer
	client wire.ClientID
	note   *wire.Note
}

// Run implements transport.Task.
func (t *recordCame) Run(*transport.Loop) {
	p, n := t.p, t.note
	if newer := p.h.g.connection(t.client); newer != p {
		// It is told once only, and the client has connected here again.
		if newer != nil {
			newer.h.loop.Post(&recordCame{p: newer, client: t.client, note: n})
		} else {
			p.h.g.overhear(t.client, n)
		}
		return
	}
	w := p.passage
	if w == nil {
		return // it is about to be told to go
	}
	w.said = append(w.said, n.Server)
	a, c := w.arrival, w.census
	arrives, counts := a != nil && a.turn == n.Turn, c != nil && c.turn == n.Turn
	p.h.merge(p, &hearsay{
		Record: &wire.Record{Client: t.client, InFlight: n.InFlight, Outcomes: n.Outcomes}, from: n.Server, all: arrives || counts,
	})
	if counts {
		c.answers++
		p.h.counted(p)
	}
	if arrives {
		a.answers++
		p.h.arrived(p)
	}
}

// merge adds what is known elsewhere to what is known here.
func (h *handler) merge(p *peer, heard *hearsay) {
	heard.synced = p.passage.synced
	n := h.g.ledger.merge(p, heard, h.loop.Now())
	h.g.follow(n)
	h.g.keep(heard.Client, n.heard, heard.from)
}

// arrived lets the client's actions go on when there is nothing more to hear or they have waited long enough.
func (h *handler) arrived(p *peer) {
	a := p.passage.arrival
	if a == nil {
		return
	}
	heard := a.others != unknown && a.answers >= a.others
	if a.blind {
		peers := h.g.cfg.Peers()
		heard = peers > 0 && a.answers >= peers
	}
	if waits := !heard || !a.fetched; waits && h.loop.Now() < a.until {
		return
	}
	p.passage.arrival = nil
	if p.conn.Closing() {
		return // the client sends its actions again, wherever it comes back
	}
	p.conn.Wake() // what is to be sent to it waited too
	if len(a.held) > 0 {
		p.full = false
		h.take(p, a.held)
		p.limitReading()
	}
}

// receiveActions takes the client's actions, or holds them back while it arrives.
func (h *handler) receiveActions(p *peer, actions []session.Received) {
	if !p.arrives() {
		h.take(p, actions)
		return
	}
	a := p.passage.arrival
	a.held = append(a.held, actions...)
	for i := range actions {
		a.bytes += len(actions[i].Action.Body)
	}
	if len(a.held) >= h.g.cfg.MaxQueue || a.bytes >= h.g.cfg.MaxQueueBytes {
		p.full = true
		p.limitReading()
	}
}
