package gateway

import (
	"time"

	"logux-proxy/wire"
)

// This file is the part of the ledger about clients that come and go: which outcomes they are still to get, and
// when an action can be forgotten.

// attach says that p is now its client's connection instead of old, which may be nil; synced is the last
// number of ours that the client had when it connected. It returns the outcomes that the client does not
// have yet. It is not ok when the client has connected to another server meanwhile.
func (l *ledger) attach(p, old *peer, synced int64, now time.Duration) (outcomes []*wire.Outgoing, ids []wire.ActionID, ok bool) {
	id := p.member.Node.Client()
	s := l.shard(id)
	s.mu.Lock()
	defer l.unlock(s)
	if old != nil {
		old.replaced = true
	}
	if p.replaced {
		return nil, nil, false
	}
	c := s.clients[id]
	if c == nil {
		return nil, nil, true
	}
	s.forgetSubscriptionsLocked(c)
	c.peer, c.since, c.moved = p, now, false
	s.unstayLocked(c)
	for j := c.first; j != nil; {
		next := j.next
		switch {
		case j.state != jobSettled:
		case j.confirmedLocked(synced):
			s.confirmedLocked(j)
		case !j.has:
			outcomes, ids = append(outcomes, j.outcome), append(ids, j.action.ID)
		}
		// Numbers count from anew.
		j.via, j.added = nil, 0
		j.unproveLocked()
		j = next
	}
	s.dropIfDoneLocked(c)
	return outcomes, ids, true
}

// detach says that p ended at now. Among several servers it returns what the others are to know of the client, and
// whether this one goes on to listen for it: until left is called.
func (l *ledger) detach(p *peer, now time.Duration) (r wire.Record, stays bool) {
	id := p.member.Node.Client()
	s := l.shard(id)
	s.mu.Lock()
	defer l.unlock(s)
	p.replaced = true // what comes for it from now on comes too late
	c := s.clients[id]
	if c == nil || c.peer != p && (c.peer != nil || !c.moved || c.stays) {
		return wire.Record{}, false
	}
	if c.peer == p {
		s.forgetSubscriptionsLocked(c)
		c.peer, c.since = nil, now
		if l.life != "" {
			r = s.recordLocked(c, l.life, true)
		}
	}
	c.stays = l.life != "" && c.first != nil
	stays = c.stays
	s.dropIfDoneLocked(c)
	return r, stays
}

// sent notes that the outcome of an action left by p in the sync with number added.
func (l *ledger) sent(p *peer, id wire.ActionID, added int64) {
	s := l.shard(p.member.Node.Client())
	s.mu.Lock()
	defer l.unlock(s)
	if j := s.jobs[id]; j != nil && j.client.peer == p {
		j.added = added
	}
}

// acknowledged notes that actions of p's client were acknowledged, and that the next sync of ours has the
// number proof or a greater one. It returns what the client could confirm and did not.
func (l *ledger) acknowledged(p *peer, actions []wire.ActionID, proof int64) (unconfirmed load) {
	id := p.member.Node.Client()
	s := l.shard(id)
	s.mu.Lock()
	defer l.unlock(s)
	c := s.clients[id]
	if c == nil || c.peer != p {
		return load{}
	}
	for _, action := range actions {
		if j := s.jobs[action]; j != nil && j.via == p && j.proof == 0 {
			j.proof = proof
			j.owedLocked()
		}
	}
	return c.unconfirmed
}

// confirm says that p's client has every sync of ours up to number added. It reports whether any action
// is still remembered.
func (l *ledger) confirm(p *peer, added int64) (more bool) {
	id := p.member.Node.Client()
	s := l.shard(id)
	s.mu.Lock()
	defer l.unlock(s)
	c := s.clients[id]
	if c == nil || c.peer != p {
		return false
	}
	// Outcomes come and are confirmed in the order of the list: behind the first that the client does not
	// have there is nothing to look for.
	for j := c.first; j != nil && j.state == jobSettled; {
		next := j.next
		if j.confirmedLocked(added) {
			s.confirmedLocked(j)
		} else if !j.has {
			break
		}
		j = next
	}
	s.dropIfDoneLocked(c)
	return c.first != nil
}

// confirmedLocked notes that the client has every sync of ours up to number added, and reports whether it
// has j's outcome and will not send j again.
func (j *job) confirmedLocked(added int64) bool {
	j.has = j.has || j.added != 0 && j.added <= added
	return j.has && j.proof != 0 && j.proof <= added
}

// sweep forgets the clients that left before the given time and have nothing running. Of those that came
// back before that time it forgets the actions whose outcome they have and that they did not send again.
func (l *ledger) sweep(before time.Duration) {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		for _, c := range s.clients {
			if c.since >= before || c.peer == nil && (c.running != nil || c.waiting != 0) {
				continue
			}
			for j := c.first; j != nil; {
				next := j.next
				switch {
				case c.peer == nil:
					s.forgetLocked(j)
				case j.has && j.via == nil:
					s.confirmedLocked(j)
				}
				j = next
			}
			s.dropIfDoneLocked(c)
		}
		s.rotateLocked()
		l.unlock(s)
	}
}

// owedLocked counts j as unconfirmed once it is settled and acknowledged.
func (j *job) owedLocked() {
	if j.counted == 0 && j.state == jobSettled && j.proof != 0 {
		j.counted = len(j.action.Body) + len(j.outcome.Action.Body)
		j.client.unconfirmed.jobs++
		j.client.unconfirmed.bytes += j.counted
	}
}

// unproveLocked forgets that j was acknowledged.
func (j *job) unproveLocked() {
	j.proof = 0
	if j.counted != 0 {
		j.client.unconfirmed.jobs--
		j.client.unconfirmed.bytes -= j.counted
		j.counted = 0
	}
}

func (s *ledgerShard) forgetSubscriptionsLocked(c *client) {
	for j := c.first; j != nil; {
		next := j.next
		if j.subscription != nil {
			s.forgetLocked(j)
		}
		j = next
	}
}

// forgetLocked forgets j. If it runs it still does.
func (s *ledgerShard) forgetLocked(j *job) {
	c := j.client
	delete(s.jobs, j.action.ID)
	j.unproveLocked()
	c.unlinkLocked(j)
	switch j.state {
	case jobWaiting:
		c.waiting--
		c.openBytes -= len(j.action.Body)
	case jobElsewhere:
		c.elsewhere--
		c.openBytes -= len(j.action.Body)
	}
	j.state = jobForgotten
}

func (s *ledgerShard) dropIfDoneLocked(c *client) {
	if c.first == nil && c.running == nil {
		delete(s.clients, c.id)
		s.unstayLocked(c)
	}
}
