package gateway

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"logux-proxy/wire"
)

// A nomadBus carries envelopes: what one server publishes about one topic arrives in its order, everything else in any.
type nomadBus struct {
	s    *nomadSim
	last map[string]time.Duration // by who publishes, what about and who receives
}

func (b *nomadBus) init(s *nomadSim) { b.s, b.last = s, make(map[string]time.Duration) }

// next is when something comes that is not to overtake what came before under the same name.
func (b *nomadBus) next(r *rand.Rand, names ...string) time.Duration {
	name := strings.Join(names, "|")
	b.last[name] = max(b.last[name], b.s.now()+long(r)) + 1
	return b.last[name]
}

// nomadPort is a server's place on the bus.
type nomadPort struct{ srv *nomadServer }

// Join implements Bus.
func (p *nomadPort) Join(topic wire.Topic, done func(error)) {
	p.srv.joined[topic]++
	p.srv.after(long(p.srv.s.rnd), func() {
		p.srv.heard[topic] = p.srv.joined[topic] > 0
		done(nil)
	})
}

// Leave implements Bus.
func (p *nomadPort) Leave(topic wire.Topic) {
	p.srv.joined[topic]--
	switch n := p.srv.joined[topic]; {
	case n < 0:
		p.srv.s.wrong("%s left %s more often than it joined", p.srv.life, topic)
	case n == 0:
		delete(p.srv.joined, topic)
		delete(p.srv.heard, topic)
	}
}

// CaughtUp implements Bus.
func (p *nomadPort) CaughtUp(then func()) { then() }

// Publish implements Bus.
func (p *nomadPort) Publish(e *wire.Envelope) error {
	p.publish(e, func(int) {})
	return nil
}

// PublishThen implements Bus.
func (p *nomadPort) PublishThen(e *wire.Envelope, done func()) error {
	p.publish(e, func(int) { done() })
	return nil
}

// Announce implements Bus.
func (p *nomadPort) Announce(e *wire.Envelope, done func(others int)) {
	p.publish(e, func(n int) {
		if p.srv.s.client(e.Targets.Clients[0]).rnd.IntN(10) == 0 {
			n = unknown
		}
		done(n)
	})
}

func (p *nomadPort) publish(e *wire.Envelope, done func(others int)) {
	b, r := &p.srv.s.bus, p.srv.s.client(e.Targets.Clients[0]).rnd
	topic := e.Topics()[0]
	p.srv.at(b.next(r, string(p.srv.life), string(topic)), func() {
		n := 0
		for _, to := range b.s.servers {
			if to == p.srv || !to.heard[topic] || to.dead {
				continue
			}
			n++
			to.at(b.next(r, string(p.srv.life), string(topic), string(to.life)), func() {
				if e.Note != nil {
					b.s.note("%s gets %v from %s: %+v", to.life, e.Kind, p.srv.life, *e.Note)
				}
				to.g.Receive(e)
			})
		}
		p.srv.after(long(r), func() { done(n) })
	})
}

// A nomadStore is what outlives servers.
type nomadStore struct {
	s       *nomadSim
	records map[wire.ClientID]map[wire.ActionID]*nomadEntry
	estates map[wire.ServerID]*nomadEstate
}

// A nomadEntry is an action in a record.
type nomadEntry struct {
	owner   wire.ServerID
	outcome *wire.Outcome
}

type nomadEstate struct {
	holder wire.ServerID
	claims map[wire.ActionID]wire.Claim
}

func (t *nomadStore) init(s *nomadSim) {
	t.s = s
	t.records = make(map[wire.ClientID]map[wire.ActionID]*nomadEntry)
	t.estates = make(map[wire.ServerID]*nomadEstate)
}

func (t *nomadStore) record(client wire.ClientID) map[wire.ActionID]*nomadEntry {
	if t.records[client] == nil {
		t.records[client] = make(map[wire.ActionID]*nomadEntry)
	}
	return t.records[client]
}

func (t *nomadStore) put(r *wire.Record) {
	all := t.record(r.Client)
	for _, f := range r.InFlight {
		if e := all[f.ID]; e == nil || e.outcome == nil {
			all[f.ID] = &nomadEntry{owner: f.Owner}
		}
	}
	for _, o := range r.Outcomes {
		if e := all[o.ID]; e == nil || e.outcome == nil || string(e.outcome.Action) == string(o.Action) {
			all[o.ID] = &nomadEntry{outcome: &o}
		}
	}
}

func (t *nomadStore) get(client wire.ClientID) wire.Record {
	r := wire.Record{Client: client}
	for id, e := range t.records[client] {
		if e.outcome != nil {
			r.Outcomes = append(r.Outcomes, *e.outcome)
		} else {
			r.InFlight = append(r.InFlight, wire.InFlight{ID: id, Owner: e.owner})
		}
	}
	slices.SortFunc(r.Outcomes, func(a, b wire.Outcome) int { return strings.Compare(string(a.ID), string(b.ID)) })
	slices.SortFunc(r.InFlight, func(a, b wire.InFlight) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return r
}

func (t *nomadStore) settle(client wire.ClientID, o wire.Outcome, create bool) (wire.Outcome, bool) {
	e := t.record(client)[o.ID]
	switch {
	case e == nil && !create:
		return wire.Outcome{}, false
	case e != nil && e.outcome != nil:
		return *e.outcome, true
	}
	t.record(client)[o.ID] = &nomadEntry{outcome: &o}
	return o, true
}

func (t *nomadStore) estate(owner wire.ServerID) *nomadEstate {
	if t.estates[owner] == nil {
		t.estates[owner] = &nomadEstate{holder: owner, claims: make(map[wire.ActionID]wire.Claim)}
	}
	return t.estates[owner]
}

// takeOver gives what a dead server claimed, or had taken over, to one that lives.
func (t *nomadStore) takeOver(dead *nomadServer) {
	var heir *nomadServer
	for _, srv := range t.s.servers {
		if !srv.dead && srv.away <= t.s.now() {
			heir = srv
		}
	}
	if heir == nil {
		t.s.after(time.Second, func() { t.takeOver(dead) })
		return
	}
	for _, srv := range t.s.lives {
		e := t.estates[srv.life]
		if e == nil || e.holder != dead.life {
			continue
		}
		e.holder = heir.life
		ids := make([]wire.ActionID, 0, len(e.claims))
		for id := range e.claims {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		for _, id := range ids {
			c := e.claims[id]
			c.Owner = srv.life
			t.s.orphans[id] = true
			t.s.note("%s takes over %s of %s", heir.life, id, srv.life)
			heir.after(short(t.s.client(c.Client).rnd), func() {
				var known *wire.Outcome
				if e := t.record(c.Client)[id]; e != nil {
					known = e.outcome
				}
				heir.g.Orphan(c, known)
				if known != nil {
					delete(t.estate(c.Owner).claims, id)
				}
			})
		}
	}
}

var errNomadStore = errors.New("the store is away")

// A nomadQueue is the store as one server sees it, with the promises of a cluster.HandoverQueue.
type nomadQueue struct {
	srv      *nomadServer
	store    *nomadStore
	last     map[wire.ClientID]time.Duration
	storing  map[wire.ClientID]int
	turn     int
	doubtful map[wire.ActionID]bool
}

func newNomadQueue(srv *nomadServer) *nomadQueue {
	return &nomadQueue{
		srv: srv, store: &srv.s.store, last: make(map[wire.ClientID]time.Duration), storing: make(map[wire.ClientID]int),
		doubtful: make(map[wire.ActionID]bool),
	}
}

// do calls the store about a client, after the calls before: first effect, unless the store is away, and then done. A
// call that failed may have had its effect.
func (q *nomadQueue) do(client wire.ClientID, effect func(), done func(error)) {
	r := q.store.s.client(client).rnd
	q.last[client] = max(q.last[client], q.store.s.now()+long(r)) + 1
	q.srv.at(q.last[client], func() {
		away := q.srv.away > q.store.s.now()
		if !away || r.IntN(4) == 0 {
			effect()
		}
		q.last[client] = max(q.last[client], q.store.s.now()+short(r)) + 1
		q.srv.after(q.last[client]-q.store.s.now()-1, func() {
			if away {
				done(errNomadStore)
			} else {
				done(nil)
			}
		})
	})
}

// Store implements Handovers.
func (q *nomadQueue) Store(r wire.Record, done func(error)) {
	q.turn++
	q.storing[r.Client] = q.turn
	if r.Empty() {
		done(nil)
		return
	}
	q.put(r, q.turn, q.store.s.now()+30*time.Second, done)
}

func (q *nomadQueue) put(r wire.Record, turn int, until time.Duration, done func(error)) {
	current := true
	q.do(r.Client, func() {
		if current = done != nil || q.storing[r.Client] == turn; current {
			q.store.put(&r)
		}
	}, func(err error) {
		if done != nil {
			done(err)
		}
		if err != nil && current && q.store.s.now() < until {
			q.srv.after(500*time.Millisecond, func() { q.put(r, turn, until, nil) })
		}
	})
}

// Fetch implements Handovers.
func (q *nomadQueue) Fetch(client wire.ClientID, done func(wire.Record, error)) {
	q.turn++
	q.storing[client] = q.turn
	r := wire.Record{Client: client}
	q.do(client, func() { r = q.store.get(client) }, func(err error) {
		if err != nil {
			r = wire.Record{Client: client}
		}
		done(r, err)
	})
}

// Confirm implements Handovers.
func (q *nomadQueue) Confirm(client wire.ClientID, ids []wire.ActionID) {
	q.do(client, func() {
		for _, id := range ids {
			delete(q.store.record(client), id)
		}
	}, func(error) {})
}

// Settle implements Handovers.
func (q *nomadQueue) Settle(client wire.ClientID, o wire.Outcome, done func(kept wire.Outcome)) {
	kept, ok := o, false
	q.do(client, func() { kept, ok = q.store.settle(client, o, false) }, func(err error) {
		if err != nil || !ok {
			done(o)
			return
		}
		done(kept)
	})
}

// Inquire implements Handovers.
func (q *nomadQueue) Inquire(client wire.ClientID, f wire.InFlight, done func(o *wire.Outcome, lost bool, err error)) {
	var o *wire.Outcome
	lost := false
	q.do(client, func() {
		t := q.store
		if e := t.record(client)[f.ID]; e != nil && e.outcome != nil {
			o = e.outcome
			return
		}
		if f.Owner == q.srv.life || t.s.alive(f.Owner) {
			return
		}
		if e := t.estates[f.Owner]; e != nil {
			if _, claimed := e.claims[f.ID]; claimed || e.holder == f.Owner && !t.s.leaseOver(f.Owner) {
				return
			}
		}
		lost = true
	}, func(err error) {
		if err != nil {
			o, lost = nil, false
		}
		done(o, lost, err)
	})
}

// leaseOver reports whether a server died so long ago that its lease has ended.
func (s *nomadSim) leaseOver(life wire.ServerID) bool {
	for _, srv := range s.lives {
		if srv.life == life {
			return srv.dead && s.now() > srv.died+10*time.Second
		}
	}
	return true
}

// Held implements Handovers: no server stands still here.
func (q *nomadQueue) Held(_ wire.ClientID, _ wire.ActionID, done func(held bool)) { done(true) }

var errNomadClaim = errors.New("an earlier claim is being taken back")

// Claim implements Handovers.
func (q *nomadQueue) Claim(c wire.Claim, done func(error)) {
	refused := false
	q.do(c.Client, func() {
		if refused = q.doubtful[c.ID]; !refused {
			q.store.put(&wire.Record{Client: c.Client, InFlight: []wire.InFlight{{ID: c.ID, Owner: q.srv.life}}})
			q.store.estate(q.srv.life).claims[c.ID] = c
		}
	}, func(err error) {
		switch {
		case refused, q.doubtful[c.ID]:
			done(errNomadClaim)
		case err != nil:
			q.doubtful[c.ID] = true
			q.unclaim(c)
			done(err)
		default:
			done(nil)
		}
	})
}

// unclaim takes a claim back when the store can be reached.
func (q *nomadQueue) unclaim(c wire.Claim) {
	q.srv.after(2500*time.Millisecond, func() {
		if q.srv.away > q.store.s.now() {
			q.unclaim(c)
			return
		}
		delete(q.store.estate(q.srv.life).claims, c.ID)
		delete(q.doubtful, c.ID)
	})
}

// SettleClaim implements Handovers.
func (q *nomadQueue) SettleClaim(c wire.Claim, o wire.Outcome, done func(kept wire.Outcome, taken bool)) {
	if c.Owner == "" {
		c.Owner = q.srv.life
	}
	kept := o
	settle := func() {
		kept, _ = q.store.settle(c.Client, o, true)
		delete(q.store.estate(c.Owner).claims, c.ID)
	}
	var later func()
	later = func() {
		q.srv.after(2500*time.Millisecond, func() {
			if q.srv.away > q.store.s.now() {
				later()
				return
			}
			settle()
		})
	}
	q.do(c.Client, settle, func(err error) {
		if err != nil {
			later()
			done(o, false)
			return
		}
		done(kept, false)
	})
}
