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
	confirms []wire.ActionID
	client   wire.ClientID // of confirms

	// lately are actions of the store that were confirmed and forgotten a while ago: their outcome may still be on
	// its way here a second time. The second map is the older one.
	lately [2]map[wire.ActionID]struct{}
}

// unlock gives a shard back and tells the others what happened meanwhile.
func (l *ledger) unlock(s *ledgerShard) {
	lefts, client, confirms := s.lefts, s.client, s.confirms
	s.lefts, s.confirms = nil, nil
	s.mu.Unlock()
	for _, id := range lefts {
		l.left(id)
	}
	if len(confirms) > 0 {
		l.confirmed(client, confirms)
	}
}

// unstayLocked notes that nobody listens any more for c because of what is remembered.
func (s *ledgerShard) unstayLocked(c *client) {
	if c.stays {
		c.stays = false
		s.lefts = append(s.lefts, c.id)
	}
}

// confirmedLocked forgets a job that its client will not send again. All of one lock are of one client.
func (s *ledgerShard) confirmedLocked(j *job) {
	if j.recorded {
		id := j.action.ID
		s.client, s.confirms = j.client.id, append(s.confirms, id)
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
			c.waiting--
			c.openBytes -= len(j.action.Body)
			if j.recorded { // else the store would say for long that it is in flight here
				s.client, s.confirms = id, append(s.confirms, j.action.ID)
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
	outcomes []*job  // it does not have these
	failed   []after // waiting jobs that an undo brings down; each is to be settled by fail
	start    *job    // the next job
}

// An after is a job that fails because of an earlier one.
type after struct{ job, first *job }

// merge adds what another server, or the store, knows of p's client, that connected with number synced. From is the
// server that said it: what it does not mention it does not process any more; "" for the store.
func (l *ledger) merge(p *peer, synced int64, r *wire.Record, from wire.ServerID) (n news) {
	s := l.shard(r.Client)
	s.mu.Lock()
	defer l.unlock(s)
	if from != "" {
		p.heard = append(p.heard, from)
	}
	c := s.clients[r.Client]
	if c == nil {
		if p.replaced || p.closed || r.Empty() {
			return news{} // the next server asks again, or the store
		}
		c = &client{id: r.Client, peer: p}
		s.clients[r.Client] = c
	}
	if c.moved {
		return news{}
	}
	for _, o := range r.Outcomes {
		s.outcomeLocked(c, p, &o, o.Added != 0 && o.Added <= synced, &n)
	}
	for _, f := range r.InFlight {
		// What is in flight here is known here, or lost. So is what the store says of a server that said itself what it has.
		old := from == "" && slices.Contains(p.heard, f.Owner)
		if s.jobs[f.ID] == nil && f.Owner != l.life && !old && !s.wasLatelyLocked(f.ID) {
			j := &job{g: p.h.g, peer: p, client: c, action: &wire.Action{ID: f.ID}, came: time.Now(), state: jobElsewhere, owner: f.Owner, recorded: true}
			s.jobs[f.ID] = j
			c.pushLocked(j)
			c.elsewhere++
		}
	}
	if from != "" {
		for j := c.first; j != nil; {
			next := j.next
			if j.state == jobElsewhere && j.owner == from && !r.Mentions(j.action.ID) {
				s.lostLocked(j)
			}
			j = next
		}
	}
	n.tell, n.start = c.peer, s.nextLocked(c)
	s.dropIfDoneLocked(c)
	return n
}

// outcome takes an outcome that another server published. P is the client's connection here or nil.
func (l *ledger) outcome(id wire.ClientID, p *peer, o *wire.Outcome) (n news) {
	s := l.shard(id)
	s.mu.Lock()
	defer l.unlock(s)
	c := s.clients[id]
	if c == nil {
		if p == nil || p.replaced {
			return news{} // it is at another server
		}
		c = &client{id: id, peer: p}
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
	if j == nil && (p == nil || s.wasLatelyLocked(o.ID)) || j != nil && j.state != jobElsewhere {
		return // it is known, and another one would be one too many
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
	}
	j.state, j.outcome, j.has = jobSettled, out, has
	j.owedLocked()
	if !has {
		n.outcomes = append(n.outcomes, j)
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
	j.state, j.owner = jobWaiting, ""
	c.waiting++
	c.openBytes += len(j.action.Body)
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
func (l *ledger) unheard(p *peer) (owners []wire.ServerID) {
	id := p.member.Node.Client()
	s := l.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[id]
	if c == nil || c.peer != p || c.elsewhere == 0 {
		return nil
	}
	for j := c.first; j != nil; j = j.next {
		if j.state == jobElsewhere && !slices.Contains(p.heard, j.owner) && !slices.Contains(owners, j.owner) {
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
				s.client, s.confirms = id, append(s.confirms, j.action.ID)
			}
			s.lostLocked(j)
		}
		j = next
	}
	start = s.nextLocked(c)
	s.dropIfDoneLocked(c)
	return start
}

// unhear forgets which servers have said what they know of p's client.
func (l *ledger) unhear(p *peer) {
	s := l.shard(p.member.Node.Client())
	s.mu.Lock()
	defer s.mu.Unlock()
	p.heard = nil
}

// giveUp says that another server has taken over a job that ran here.
func (l *ledger) giveUp(j *job) (start *job) {
	c := j.client
	s := l.shard(c.id)
	s.mu.Lock()
	defer l.unlock(s)
	c.running = nil
	c.openBytes -= len(j.action.Body)
	if j.state != jobForgotten {
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
	for _, id := range ids {
		j := s.jobs[id]
		switch {
		case j == nil || j.subscription != nil:
			settled = append(settled, id)
		case (j.state == jobWaiting || j.state == jobRunning) && !j.ending:
			j.claimed, j.recorded = true, true
			claims = append(claims, j)
		}
	}
	return claims, settled
}

// end says that j is about to be settled, and reports whether it is claimed. It will not be any more.
func (l *ledger) end(j *job) (claimed bool) {
	s := l.shard(j.client.id)
	s.mu.Lock()
	defer l.unlock(s)
	j.ending = true
	return j.claimed
}
