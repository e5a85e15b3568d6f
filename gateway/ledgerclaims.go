package gateway

import "logux-proxy/wire"

// This file is the part of the ledger about claims: actions that another server can take over.

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
		j.state, j.owner, j.recorded, j.safe = jobElsewhere, l.life, true, false
		c.elsewhere++
		if c.moved {
			s.forgetLocked(j)
		}
	}
	start = s.nextLocked(c)
	s.dropIfDoneLocked(c)
	return start
}

// claim returns those of p's actions that are to be claimed: they are not settled, and no subscriptions, which end with
// their connection, and no claim of them is under way. Settled says that they can be acknowledged without, or are claimed.
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
		case j == nil || j.subscription != nil || j.safe:
			settled = append(settled, id)
		case (j.state == jobWaiting || j.state == jobRunning) && !j.ending && !j.pending:
			j.claimed, j.claiming, j.pending, j.recorded = true, true, true, true
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

// claimEnded says whether the store has j's claim.
func (l *ledger) claimEnded(j *job, safe bool) {
	s := l.shard(j.client.id)
	s.mu.Lock()
	defer l.unlock(s)
	j.pending, j.safe = false, safe
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

// isClaimed reports whether j is claimed, or about to be.
func (l *ledger) isClaimed(j *job) bool {
	if l.life == "" {
		return false
	}
	s := l.shard(j.client.id)
	s.mu.Lock()
	defer l.unlock(s)
	return j.claimed
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
