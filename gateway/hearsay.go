package gateway

import (
	"slices"
	"time"

	"logux-proxy/wire"
)

// This file is the part of the ledger about what other servers, and the store, say of a client that is here: outcomes, and
// actions in flight elsewhere until they have one or are lost.

// A news is what follows from what another server said about a client's actions.
type news struct {
	client   wire.ClientID
	tell     *peer           // the client's connection; nil when there is none
	outcomes []fresh         // it does not have these
	heard    []wire.ActionID // their outcomes are remembered here, or nothing is any more
	failed   []after         // waiting jobs that an undo brings down; each is to be settled by fail
	echoes   []wire.Outcome  // of jobs of ours that the other server takes for unsettled
	start    *job            // the next job
	// unreadable are actions whose outcome makes no sense here: a later release may have written it, or nobody we know.
	unreadable []wire.ActionID
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
		s.inFlightLocked(c, p, f, h, &n)
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
	n.client, n.tell, n.start = c.id, c.peer, s.nextLocked(c)
	s.dropIfDoneLocked(c)
	return n
}

// inFlightLocked notes that somebody says of an action that it is in flight.
func (s *ledgerShard) inFlightLocked(c *client, p *peer, f wire.InFlight, h *hearsay, n *news) {
	switch j := s.jobs[f.ID]; {
	case j != nil && j.state == jobElsewhere:
		if f.Owner == h.from {
			j.owner = h.from // it took the action over from whom we know
		}
	case j != nil:
		j.recorded = true
		if f.Owner == s.g.cfg.Life && h.from != "" && j.state == jobSettled {
			n.echoes = append(n.echoes, j.asOutcome())
		}
	case s.wasLatelyLocked(f.ID):
		s.unrecordLocked(c.id, f.ID)
		if f.Owner == s.g.cfg.Life {
			n.heard = append(n.heard, f.ID)
		}
	case f.Owner == s.g.cfg.Life:
		n.heard = append(n.heard, f.ID) // it was confirmed, or never began
	case h.from == "" && slices.Contains(h.said, f.Owner):
		// It is lost: who is said to process it does not know it.
	default:
		j := &job{
			g: s.g, peer: p, client: c, action: &wire.Action{ID: f.ID}, came: time.Now(),
			state: jobElsewhere, owner: f.Owner, recorded: true,
		}
		s.jobs[f.ID] = j
		c.insertLocked(j)
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
	if c.moved {
		s.passedLocked(c, o, &n)
	} else {
		s.outcomeLocked(c, p, o, false, &n)
	}
	n.client, n.tell, n.start = c.id, c.peer, s.nextLocked(c)
	s.dropIfDoneLocked(c)
	return n
}

// outcomeLocked notes an outcome that came from elsewhere; has says that the client has it already.
func (s *ledgerShard) outcomeLocked(c *client, p *peer, o *wire.Outcome, has bool, n *news) {
	j := s.jobs[o.ID]
	switch {
	case j != nil && j.state != jobElsewhere:
		j.recorded = true
		n.hear(c, o.ID)
		return // another outcome would be one too many
	case j == nil && s.wasLatelyLocked(o.ID):
		s.unrecordLocked(c.id, o.ID)
		n.hear(c, o.ID)
		return
	case j == nil && p == nil:
		return
	}
	out, err := s.g.outgoing(o)
	if err != nil {
		n.unreadable = append(n.unreadable, o.ID)
		return
	}
	if j == nil {
		j = &job{g: s.g, peer: p, client: c, action: &wire.Action{ID: o.ID}, came: time.Now(), recorded: true}
		s.jobs[o.ID] = j
		c.pushLocked(j)
	} else {
		c.elsewhere--
		c.openBytes -= len(j.action.Body)
	}
	j.state, j.outcome, j.has = jobSettled, out, has
	n.hear(c, o.ID)
	j.owedLocked()
	if !has {
		n.outcomes = append(n.outcomes, fresh{id: o.ID, out: out})
	}
	n.failLocked(j)
}

// hear notes that an action's outcome is remembered here, if its client is: else this server may die before anybody else has it.
func (n *news) hear(c *client, id wire.ActionID) {
	if c.peer != nil {
		n.heard = append(n.heard, id)
	}
}

// failLocked takes the jobs behind j if j's outcome is an undo.
func (n *news) failLocked(j *job) {
	if j.outcome.Action.Type != wire.TypeUndo {
		return
	}
	for _, w := range j.client.failLocked(j) {
		n.failed = append(n.failed, after{job: w, first: j})
	}
}

// passedLocked notes that claimed actions of a client that has moved need not wait any longer for one in flight elsewhere.
func (s *ledgerShard) passedLocked(c *client, o *wire.Outcome, n *news) {
	j := s.jobs[o.ID]
	if j == nil || j.state != jobElsewhere {
		return
	}
	out, err := s.g.outgoing(o)
	if err != nil {
		n.unreadable = append(n.unreadable, o.ID)
		return
	}
	j.outcome = out
	n.failLocked(j)
	s.forgetLocked(j)
}

// overhear takes what a server says of a client that is not here. What waits here for actions there goes on when they are
// over: the server tells their outcomes or, when they were confirmed, does not mention them.
func (l *ledger) overhear(r *wire.Record, from wire.ServerID) (n news) {
	s := l.shard(r.Client)
	s.mu.Lock()
	defer l.unlock(s)
	c := s.clients[r.Client]
	if c == nil || c.elsewhere == 0 || c.peer != nil {
		return news{}
	}
	for i := range r.Outcomes {
		if c.moved {
			s.passedLocked(c, &r.Outcomes[i], &n)
		} else {
			s.outcomeLocked(c, nil, &r.Outcomes[i], false, &n)
		}
	}
	for j := c.first; c.moved && j != nil; {
		next := j.next
		if j.state == jobElsewhere && j.owner == from && !r.Mentions(j.action.ID) {
			s.forgetLocked(j)
		}
		j = next
	}
	n.client, n.start = c.id, s.nextLocked(c)
	s.dropIfDoneLocked(c)
	return n
}

// outgoing reads an outcome of another server.
func (g *Gateway) outgoing(o *wire.Outcome) (*wire.Outgoing, error) {
	a, err := wire.DecodeAction(o.Action)
	if err != nil {
		return nil, err
	}
	return wire.NewOutgoing(a, g.cfg.Session.Server)
}

// lostLocked makes an action in flight elsewhere one of ours, if the client sent it again and is here, or unknown.
func (s *ledgerShard) lostLocked(j *job) {
	c := j.client
	if j.action.Body == nil || c.moved {
		s.forgetLocked(j)
		return
	}
	c.elsewhere--
	c.waiting++
	j.state, j.owner = jobWaiting, ""
}

// lost says that nobody will ever settle an action that was in flight at another server, unless that was taken over meanwhile.
func (l *ledger) lost(id wire.ClientID, f wire.InFlight) (start *job) {
	s := l.shard(id)
	s.mu.Lock()
	defer l.unlock(s)
	j := s.jobs[f.ID]
	if j == nil || j.state != jobElsewhere || j.owner != f.Owner {
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
		// What was taken over from this server is in flight at one that it does not know: the store tells.
		if j.state == jobElsewhere && j.owner != l.life && !slices.Contains(said, j.owner) && !slices.Contains(owners, j.owner) {
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
