package gateway

import (
	"slices"
	"time"

	"logux-proxy/wire"
)

// This file is the part of the ledger about clients that go from one server to another.
//
// A client belongs to the server that it is connected to. That server asks the one before for what it remembers
// (release) and adds it to its own (merge). An action that runs somewhere stays there, and is in flight elsewhere
// (jobElsewhere) for the client's server until its outcome comes (outcome), or nobody is left to bring it (lost);
// until then none of the client's next actions begins.

// An away says what is to be done about the outcome of a job whose client may be at another server.
type away struct {
	moved    bool // the client's server is to be told
	recorded bool // the store knows the job
}

func (j *job) awayLocked() away {
	return away{moved: j.client.moved, recorded: j.recorded && j.client.peer == nil}
}

// moves is what a shard of the ledger has for clients that move. Guarded by the shard's mu.
type moves struct {
	// What unlock tells when the lock is given back.
	lefts    []wire.ClientID
	confirms []confirmation

	// lately are actions of the store that were confirmed and forgotten a while ago: their outcome may still be on
	// its way here a second time. The second map is the older one.
	lately [2]map[wire.ActionID]struct{}
}

// A confirmation says that a client will not send actions again.
type confirmation struct {
	client wire.ClientID
	ids    []wire.ActionID
}

// unlock gives a shard back and tells the others what happened meanwhile.
func (l *ledger) unlock(s *ledgerShard) {
	lefts, confirms := s.lefts, s.confirms
	s.lefts, s.confirms = nil, nil
	s.mu.Unlock()
	for _, id := range lefts {
		l.left(id)
	}
	for _, c := range confirms {
		l.confirmed(c.client, c.ids)
	}
}

// unrecordLocked takes an action of a client off the store.
func (s *ledgerShard) unrecordLocked(client wire.ClientID, id wire.ActionID) {
	if n := len(s.confirms); n > 0 && s.confirms[n-1].client == client {
		s.confirms[n-1].ids = append(s.confirms[n-1].ids, id)
		return
	}
	s.confirms = append(s.confirms, confirmation{client: client, ids: []wire.ActionID{id}})
}

// unstayLocked notes that nobody listens any more for c because of what is remembered.
func (s *ledgerShard) unstayLocked(c *client) {
	if c.stays {
		c.stays = false
		s.lefts = append(s.lefts, c.id)
	}
}

// confirmedLocked forgets a job that its client will not send again.
func (s *ledgerShard) confirmedLocked(j *job) {
	if j.recorded {
		id := j.action.ID
		s.unrecordLocked(j.client.id, id)
		if s.lately[0] == nil {
			s.lately[0] = make(map[wire.ActionID]struct{})
		}
		s.lately[0][id] = struct{}{}
	}
	s.forgetLocked(j)
}

func (s *ledgerShard) rotateLocked() { s.lately[0], s.lately[1] = nil, s.lately[0] }

func (s *ledgerShard) wasLatelyLocked(id wire.ActionID) bool {
	_, new := s.lately[0][id]
	_, old := s.lately[1][id]
	return new || old
}

// recordLocked returns what is remembered of c, and marks it as known to the store.
func (s *ledgerShard) recordLocked(c *client, life wire.ServerID) wire.Record {
	r := wire.Record{Client: c.id}
	for j := c.first; j != nil; j = j.next {
		j.recorded = true
		switch j.state {
		case jobSettled:
			r.Outcomes = append(r.Outcomes, j.asOutcome())
		case jobElsewhere:
			r.InFlight = append(r.InFlight, wire.InFlight{ID: j.action.ID, Owner: j.owner})
		default:
			r.InFlight = append(r.InFlight, wire.InFlight{ID: j.action.ID, Owner: life})
		}
	}
	return r
}

// asOutcome is j's outcome as servers tell each other. A client that has it connects with a number of a sync of
// ours that is at least Added.
func (j *job) asOutcome() wire.Outcome {
	o := wire.Outcome{ID: j.action.ID, Added: j.added, Action: wire.AppendAction(nil, j.outcome.Action)}
	if j.has {
		o.Added = 1
	}
	return o
}

// release gives a client to another server, where it has connected; old is its connection here or nil. What did not
// begin is forgotten, since the client sends it again there. What is settled stays until it is kept elsewhere. Other actions
// stay, and their outcomes are away: those that run and those that were claimed, the first of which may be to start now.
func (l *ledger) release(id wire.ClientID, old *peer) (r wire.Record, start *job) {
	s := l.shard(id)
	s.mu.Lock()
	defer l.unlock(s)
	if old != nil {
		old.replaced = true
	}
	c := s.clients[id]
	if c == nil {
		return wire.Record{Client: id}, nil
	}
	s.forgetSubscriptionsLocked(c)
	c.peer, c.moved = nil, true
	for j := c.first; j != nil; {
		next := j.next
		if j.state == jobWaiting && !j.claimed {
			if j.recorded { // else the store would say for long that it is in flight here
				s.unrecordLocked(id, j.action.ID)
			}
			s.forgetLocked(j)
		}
		j = next
	}
	r = s.recordLocked(c, l.life)
	for j := c.first; j != nil; {
		next := j.next
		if j.state == jobElsewhere {
			s.forgetLocked(j)
		} else {
			// The client's next numbers are the other server's: they prove nothing about what it got here.
			j.via, j.added = nil, 0
			j.unproveLocked()
		}
		j = next
	}
	start = s.nextLocked(c)
	s.dropIfDoneLocked(c)
	return r, start
}

// kept says that what release returned is in the store: what is settled is forgotten here. Until then the next server to ask
// hears of it, for the one that asked first may have lost the client before it heard.
func (l *ledger) kept(r *wire.Record) {
	s := l.shard(r.Client)
	s.mu.Lock()
	defer l.unlock(s)
	c := s.clients[r.Client]
	if c == nil || !c.moved {
		return
	}
	for i := range r.Outcomes {
		if j := s.jobs[r.Outcomes[i].ID]; j != nil && j.state == jobSettled {
			s.forgetLocked(j)
		}
	}
	s.dropIfDoneLocked(c)
}

// published says that the outcome of a job whose client moved has been published. The job is forgotten, unless the client
// is here again.
func (l *ledger) published(j *job) {
	s := l.shard(j.client.id)
	s.mu.Lock()
	defer l.unlock(s)
	if j.client.moved && j.state == jobSettled {
		s.forgetLocked(j)
		s.dropIfDoneLocked(j.client)
	}
}

// A news is what follows from what another server said about a client's actions.
type news struct {
	tell     *peer   // the client's connection; nil when there is none
	outcomes []fresh // it does not have these
	failed   []after // waiting jobs that an undo brings down; each is to be settled by fail
	start    *job    // the next job
}

// A fresh is an outcome that a client does not have.
type fresh struct {
	id  wire.ActionID
	out *wire.Outgoing
}

// An after is a job that fails because of an earlier one.
type after struct{ job, first *job }

// A hearsay is what another server, or the store, knows of a client.
type hearsay struct {
	*wire.Record
	synced int64 // the number that the client connected with
	// from is the server that says it, "" for the store. All says that what it does not mention it does not process any more.
	from wire.ServerID
	all  bool
	// said are the servers that said themselves what they have: what the store says of them is old.
	said []wire.ServerID
}

// merge adds what is known elsewhere of p's client to what is known here.
func (l *ledger) merge(p *peer, h *hearsay, now time.Duration) (n news) {
	s := l.shard(h.Client)
	s.mu.Lock()
	defer l.unlock(s)
	c := s.clients[h.Client]
	switch {
	case p.replaced, c == nil && h.Empty():
		return news{} // the client's next server asks again, or the store
	case c == nil:
		c = &client{id: h.Client, peer: p, since: now}
		s.clients[h.Client] = c
	}
	for _, o := range h.Outcomes {
		s.outcomeLocked(c, p, &o, o.Added != 0 && o.Added <= h.synced, &n)
	}
	for _, f := range h.InFlight {
		s.inFlightLocked(c, p, f, h)
	}
	if h.all {
		for j := c.first; j != nil; {
			next := j.next
			if j.state == jobElsewhere && j.owner == h.from && !h.Mentions(j.action.ID) {
				s.lostLocked(j)
			}
			j = next
		}
	}
	n.tell, n.start = c.peer, s.nextLocked(c)
	s.dropIfDoneLocked(c)
	return n
}

// inFlightLocked notes that somebody says of an action that it is in flight.
func (s *ledgerShard) inFlightLocked(c *client, p *peer, f wire.InFlight, h *hearsay) {
	switch j := s.jobs[f.ID]; {
	case j != nil && j.state == jobElsewhere:
		if f.Owner == h.from {
			j.owner = h.from // it took the action over from whom we know
		}
	case j != nil:
		j.recorded = true
	case s.wasLatelyLocked(f.ID):
		s.unrecordLocked(c.id, f.ID)
	case f.Owner == s.g.cfg.Life, h.from == "" && slices.Contains(h.said, f.Owner):
		// It is lost: who is said to process it does not know it.
	default:
		j := &job{
			g: s.g, peer: p, client: c, action: &wire.Action{ID: f.ID}, came: time.Now(),
			state: jobElsewhere, owner: f.Owner, recorded: true,
		}
		s.jobs[f.ID] = j
		c.pushLocked(j)
		c.elsewhere++
	}
}

// outcome takes an outcome that another server published. P is the client's connection here or nil.
func (l *ledger) outcome(id wire.ClientID, p *peer, o *wire.Outcome, now time.Duration) (n news) {
	s := l.shard(id)
	s.mu.Lock()
	defer l.unlock(s)
	c := s.clients[id]
	if c == nil {
		if p == nil || p.replaced {
			return news{} // it is at another server
		}
		c = &client{id: id, peer: p, since: now}
		s.clients[id] = c
	}
	if !c.moved {
		s.outcomeLocked(c, p, o, false, &n)
	}
	n.tell, n.start = c.peer, s.nextLocked(c)
	s.dropIfDoneLocked(c)
	return n
}

// outcomeLocked notes an outcome that came from elsewhere; has says that the client has it already.
func (s *ledgerShard) outcomeLocked(c *client, p *peer, o *wire.Outcome, has bool, n *news) {
	j := s.jobs[o.ID]
	switch {
	case j != nil && j.state != jobElsewhere:
		j.recorded = true
		return // another outcome would be one too many
	case j == nil && s.wasLatelyLocked(o.ID):
		s.unrecordLocked(c.id, o.ID)
		return
	case j == nil && p == nil:
		return
	}
	g := s.g
	out, err := g.outgoing(o)
	if err != nil {
		return
	}
	if j == nil {
		j = &job{g: g, peer: p, client: c, action: &wire.Action{ID: o.ID}, came: time.Now(), recorded: true}
		s.jobs[o.ID] = j
		c.pushLocked(j)
	} else {
		c.elsewhere--
		c.openBytes -= len(j.action.Body)
	}
	j.state, j.outcome, j.has = jobSettled, out, has
	j.owedLocked()
	if !has {
		n.outcomes = append(n.outcomes, fresh{id: o.ID, out: out})
	}
	if out.Action.Type == wire.TypeUndo {
		for _, w := range c.failLocked(j) {
			n.failed = append(n.failed, after{job: w, first: j})
		}
	}
}

// outgoing reads an outcome of another server.
func (g *Gateway) outgoing(o *wire.Outcome) (*wire.Outgoing, error) {
	a, err := wire.DecodeAction(o.Action)
	if err != nil {
		return nil, err
	}
	return wire.NewOutgoing(a, g.cfg.Session.Server)
}

// lostLocked makes an action in flight elsewhere one of ours, if the client sent it again, or unknown.
func (s *ledgerShard) lostLocked(j *job) {
	c := j.client
	if j.action.Body == nil {
		s.forgetLocked(j)
		return
	}
	c.elsewhere--
	c.waiting++
	j.state, j.owner = jobWaiting, ""
}

// lost says that nobody will ever settle an action that was in flight elsewhere.
func (l *ledger) lost(id wire.ClientID, action wire.ActionID) (start *job) {
	s := l.shard(id)
	s.mu.Lock()
	defer l.unlock(s)
	j := s.jobs[action]
	if j == nil || j.state != jobElsewhere {
		return nil
	}
	c := j.client
	s.lostLocked(j)
	start = s.nextLocked(c)
	s.dropIfDoneLocked(c)
	return start
}

// unheard returns the servers at which something of p's client is in flight and that have not said what they know of it.
func (l *ledger) unheard(p *peer, said []wire.ServerID) (owners []wire.ServerID) {
	id := p.member.Node.Client()
	s := l.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[id]
	if c == nil || c.peer != p || c.elsewhere == 0 {
		return nil
	}
	for j := c.first; j != nil; j = j.next {
		if j.state == jobElsewhere && !slices.Contains(said, j.owner) && !slices.Contains(owners, j.owner) {
			owners = append(owners, j.owner)
		}
	}
	return owners
}

// silent says that nothing of p's client is in flight at owners: they live and say nothing about it.
func (l *ledger) silent(p *peer, owners []wire.ServerID) (start *job) {
	id := p.member.Node.Client()
	s := l.shard(id)
	s.mu.Lock()
	defer l.unlock(s)
	c := s.clients[id]
	if c == nil || c.peer != p {
		return nil
	}
	for j := c.first; j != nil; {
		next := j.next
		if j.state == jobElsewhere && slices.Contains(owners, j.owner) {
			if j.action.Body == nil { // the client has not sent it again: the store must not tell of it once more
				s.unrecordLocked(id, j.action.ID)
			}
			s.lostLocked(j)
		}
		j = next
	}
	start = s.nextLocked(c)
	s.dropIfDoneLocked(c)
	return start
}

// giveUp says that another server has taken over a job that ran here.
func (l *ledger) giveUp(j *job) (start *job) {
	c := j.client
	s := l.shard(c.id)
	s.mu.Lock()
	defer l.unlock(s)
	if c.running == j {
		c.running = nil
	} else { // it failed because of an earlier one, and does not count any more
		c.openBytes += len(j.action.Body)
	}
	if j.state == jobForgotten {
		c.openBytes -= len(j.action.Body)
	} else {
		j.state, j.owner, j.recorded = jobElsewhere, l.life, true
		c.elsewhere++
		if c.moved {
			s.forgetLocked(j)
		}
	}
	start = s.nextLocked(c)
	s.dropIfDoneLocked(c)
	return start
}

// An absence is an action in flight elsewhere.
type absence struct {
	client wire.ClientID
	wire.InFlight
	since time.Time
}

// absences lists actions in flight elsewhere of the clients that are here, or have actions here that wait for them.
func (l *ledger) absences() (all []absence) {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		for _, c := range s.clients {
			if c.elsewhere == 0 || c.peer == nil && c.waiting == 0 {
				continue
			}
			for j := c.first; j != nil; j = j.next {
				if j.state == jobElsewhere {
					all = append(all, absence{client: c.id, InFlight: wire.InFlight{ID: j.action.ID, Owner: j.owner}, since: j.came})
				}
			}
		}
		s.mu.Unlock()
	}
	return all
}

// claim returns those of p's actions that can be claimed: they are not settled, and no subscriptions, which end with
// their connection. Settled says that they can be acknowledged without.
func (l *ledger) claim(p *peer, ids []wire.ActionID) (claims []*job, settled []wire.ActionID) {
	s := l.shard(p.member.Node.Client())
	s.mu.Lock()
	defer l.unlock(s)
	if p.replaced {
		return nil, nil
	}
	for _, id := range ids {
		j := s.jobs[id]
		switch {
		case j == nil || j.subscription != nil:
			settled = append(settled, id)
		case (j.state == jobWaiting || j.state == jobRunning) && !j.ending:
			j.claimed, j.claiming, j.recorded = true, true, true
			claims = append(claims, j)
		}
	}
	return claims, settled
}

// claimAsked says that the store was asked to claim j. It returns what waits for that, or nil.
func (l *ledger) claimAsked(j *job) (then func()) {
	s := l.shard(j.client.id)
	s.mu.Lock()
	defer l.unlock(s)
	then, j.claiming, j.claimThen = j.claimThen, false, nil
	return then
}

// afterClaim reports whether then has to wait until the store was asked to claim j: claimAsked returns it.
func (l *ledger) afterClaim(j *job, then func()) (waits bool) {
	s := l.shard(j.client.id)
	s.mu.Lock()
	defer l.unlock(s)
	if j.claiming {
		j.claimThen = then
	}
	return j.claiming
}

// end says that j is about to be settled, and reports whether it is claimed. It will not be any more.
func (l *ledger) end(j *job) (claimed bool) {
	if l.life == "" {
		return false
	}
	s := l.shard(j.client.id)
	s.mu.Lock()
	defer l.unlock(s)
	j.ending = true
	return j.claimed
}
