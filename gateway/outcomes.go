package gateway

import (
	"slices"
	"time"

	"logux-proxy/wire"
)

// This file is the part of the ledger about clients that come and go: which outcomes they are still to get, and
// when an action can be forgotten.

// attach says that p is now its client's connection instead of old, which may be nil; synced is the last
// number of ours that the client had when it connected. It returns the outcomes that the client does not
// have yet.
func (l *ledger) attach(p, old *peer, synced int64, now time.Duration) (outcomes []*wire.Outgoing, ids []wire.ActionID) {
	id := p.member.Node.Client()
	s := l.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old != nil {
		old.replaced = true
	}
	c := s.clients[id]
	if c == nil || p.replaced {
		return nil, nil
	}
	s.forgetSubscriptionsLocked(c)
	c.peer, c.since = p, now
	for j := c.first; j != nil; {
		next := j.next
		switch {
		case j.state != jobSettled:
		case j.confirmedLocked(synced):
			s.forgetLocked(j)
		case !j.has:
			outcomes, ids = append(outcomes, j.outcome), append(ids, j.action.ID)
		}
		// Numbers count from anew.
		j.via, j.batch, j.added, j.proof = nil, 0, 0, 0
		j = next
	}
	s.dropIfDoneLocked(c)
	return outcomes, ids
}

// detach says that p ended at now.
func (l *ledger) detach(p *peer, now time.Duration) {
	id := p.member.Node.Client()
	s := l.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[id]
	if c == nil || c.peer != p {
		return
	}
	s.forgetSubscriptionsLocked(c)
	c.peer, c.since = nil, now
	s.dropIfDoneLocked(c)
}

// sent notes that the outcome of an action left by p in the sync with number added.
func (l *ledger) sent(p *peer, id wire.ActionID, added int64) {
	s := l.shard(p.member.Node.Client())
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil && j.client.peer == p {
		j.added = added
	}
}

// acknowledged notes that syncs of p's client were acknowledged, and that the next sync of ours has
// the number proof or a greater one. It returns how many outcomes the client could confirm and did not, and
// how many bytes are kept for them.
func (l *ledger) acknowledged(p *peer, syncs []int64, proof int64) (unconfirmed, bytes int) {
	id := p.member.Node.Client()
	s := l.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[id]
	if c == nil || c.peer != p {
		return 0, 0
	}
	for j := c.first; j != nil; j = j.next {
		if j.via == p && j.proof == 0 && slices.Contains(syncs, j.batch) {
			j.proof = proof
		}
		if j.state == jobSettled && j.proof != 0 {
			unconfirmed++
			bytes += len(j.action.Body) + len(j.outcome.Action.Body)
		}
	}
	return unconfirmed, bytes
}

// confirm says that p's client has every sync of ours up to number added. It reports whether any action
// is still remembered.
func (l *ledger) confirm(p *peer, added int64) (more bool) {
	id := p.member.Node.Client()
	s := l.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[id]
	if c == nil || c.peer != p {
		return false
	}
	for j := c.first; j != nil; {
		next := j.next
		if j.state == jobSettled && j.confirmedLocked(added) {
			s.forgetLocked(j)
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
				if c.peer == nil || j.has && j.via == nil {
					s.forgetLocked(j)
				}
				j = next
			}
			s.dropIfDoneLocked(c)
		}
		s.mu.Unlock()
	}
}

func (s *ledgerShard) forgetSubscriptionsLocked(c *client) {
	for j := c.first; j != nil; {
		next := j.next
		if j.subscription != nil {
			if j.state == jobWaiting {
				c.waiting--
				c.openBytes -= len(j.action.Body)
			}
			s.forgetLocked(j)
		}
		j = next
	}
}

func (s *ledgerShard) forgetLocked(j *job) {
	delete(s.jobs, j.action.ID)
	j.client.unlinkLocked(j)
	j.state = jobForgotten
}

func (s *ledgerShard) dropIfDoneLocked(c *client) {
	if c.first == nil && c.running == nil {
		delete(s.clients, c.id)
	}
}
