package gateway

import (
	"time"

	"logux-proxy/wire"
)

// This file is the part of the ledger about clients that go from one server to another.
//
// A client belongs to the server that it is connected to. That server asks the one before for what it remembers
// (release) and adds it to its own (merge). An action that runs somewhere stays there, and is in flight elsewhere
// (jobElsewhere) for the client's server until its outcome comes (outcome), or nobody is left to bring it (lost);
// until then none of the client's next actions begins. Actions that are claimed stay too, and may wait at one server for
// those that run at another, also when the client has left it: so each server with something in flight elsewhere tells the
// outcomes of its own.

// An away says what is to be done about the outcome of a job whose client may be at another server.
type away struct {
	moved    bool // the client's server is to be told, or another one that has actions which wait for it
	recorded bool // the store knows the job
}

func (j *job) awayLocked() away {
	c := j.client
	return away{moved: c.moved || c.elsewhere > 0, recorded: j.recorded && c.peer == nil}
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

// recordLocked returns what is remembered of c, and marks it as known to the store. What is in flight elsewhere is told when
// the client leaves; those that ask later hear of it there.
func (s *ledgerShard) recordLocked(c *client, life wire.ServerID, leaves bool) wire.Record {
	r := wire.Record{Client: c.id}
	for j := c.first; j != nil; j = j.next {
		j.recorded = true
		switch j.state {
		case jobSettled:
			r.Outcomes = append(r.Outcomes, j.asOutcome())
		case jobElsewhere:
			if leaves {
				r.InFlight = append(r.InFlight, wire.InFlight{ID: j.action.ID, Owner: j.owner})
			}
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

// release gives a client to another server, where it has connected at now; old is its connection here or nil. What did not
// begin is forgotten, since the client sends it again there. What is settled stays until a server where the client is has
// it: the one that asked may have lost the client before it heard, and the store may be away when the next one asks. Other
// actions stay, and their outcomes are away: those that run and those that were claimed, the first of which may be to start.
func (l *ledger) release(id wire.ClientID, old *peer, now time.Duration) (r wire.Record, start *job) {
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
	leaves := !c.moved
	c.peer, c.moved, c.since = nil, true, now
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
	r = s.recordLocked(c, l.life, leaves)
	for j := c.first; j != nil; {
		next := j.next
		if j.state == jobElsewhere && c.waiting == 0 {
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

// kept says that the server where a client is now has the outcomes of these actions, or does not process them.
func (l *ledger) kept(id wire.ClientID, actions []wire.ActionID, by wire.ServerID) (start *job) {
	s := l.shard(id)
	s.mu.Lock()
	defer l.unlock(s)
	c := s.clients[id]
	if c == nil || !c.moved {
		return nil // it is here again, and can tell itself
	}
	for _, action := range actions {
		if j := s.jobs[action]; j != nil && (j.state == jobSettled || j.state == jobElsewhere && j.owner == by) {
			s.forgetLocked(j)
		}
	}
	start = s.nextLocked(c)
	s.dropIfDoneLocked(c)
	return start
}
