package gateway

import (
	"hash/maphash"
	"sync"
	"time"

	"logux-proxy/wire"
)

// The ledger remembers the actions taken from each client until the client can no longer send them
// again, and keeps them in order: the actions of one client are processed one after another.
//
// An action is taken once, whatever connection it comes by. It is forgotten when the client has
// confirmed, by its own synced, the sync that carried the outcome: that sync was written after the synced
// for the action itself, so the client will not send the action again. A client that left is remembered for
// a while; one without open actions costs nothing.
//
// Subscriptions belong to a connection: they are forgotten with it, for the client subscribes again.
type ledger struct {
	seed   maphash.Seed
	shards [64]ledgerShard
}

type ledgerShard struct {
	mu      sync.Mutex
	clients map[wire.ClientID]*client
	jobs    map[wire.ActionID]*job
	_       [24]byte // keep neighbours off one cache line
}

// client is a client with remembered actions. Guarded by its shard's mu.
type client struct {
	id   wire.ClientID
	peer *peer // the live connection, nil while there is none
	left time.Duration

	first, last *job // all remembered actions in the order they came
	running     *job // asked of the back-end; it stays here when it is forgotten meanwhile
	waiting     int  // jobs not started
}

type jobState uint8

const (
	jobWaiting jobState = iota
	jobRunning
	jobSettled
	jobForgotten // a subscription whose connection ended
)

func newLedger() *ledger {
	l := &ledger{seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].clients = make(map[wire.ClientID]*client)
		l.shards[i].jobs = make(map[wire.ActionID]*job)
	}
	return l
}

func (l *ledger) shard(id wire.ClientID) *ledgerShard {
	return &l.shards[maphash.String(l.seed, string(id))%uint64(len(l.shards))]
}

// take remembers js, the actions of one sync of p, and leaves out those that are known already. It
// returns the known ones that have their outcome (it was given to p's connection when p attached, or when it
// became known), how many are known, and the job to start, if any.
func (l *ledger) take(p *peer, js []*job) (settled []wire.ActionID, known int, start *job) {
	id := p.member.Node.Client()
	s := l.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[id]
	if c == nil {
		c = &client{id: id}
		s.clients[id] = c
	}
	c.peer = p
	for _, j := range js {
		if old := s.jobs[j.action.ID]; old != nil {
			known++
			if old.state == jobSettled {
				settled = append(settled, j.action.ID)
			}
			continue
		}
		j.client = c
		s.jobs[j.action.ID] = j
		c.pushLocked(j)
		c.waiting++
	}
	return settled, known, s.nextLocked(c)
}

// nextLocked marks the client's next job as running and returns it; nil while one is running.
func (s *ledgerShard) nextLocked(c *client) *job {
	if c.running != nil || c.waiting == 0 {
		return nil
	}
	for j := c.first; j != nil; j = j.next {
		if j.state == jobWaiting {
			j.state = jobRunning
			c.running = j
			c.waiting--
			return j
		}
	}
	return nil
}

// A settlement is what follows from a job's end.
type settlement struct {
	tell   *peer  // the connection to give the outcome to; nil when there is none
	failed []*job // the client's waiting jobs, when the job failed; each is to be settled by fail
	start  *job   // the next job
	// forgotten: the job was a subscription whose connection ended.
	forgotten bool
}

// settle ends a running job with its outcome.
func (l *ledger) settle(j *job, outcome *wire.Outgoing, failed bool) settlement {
	c := j.client
	s := l.shard(c.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	c.running = nil
	var r settlement
	if j.state == jobForgotten {
		// The client knows that its connection is gone: it subscribes again.
		r.forgotten = true
		r.start = s.nextLocked(c)
		s.dropIfDoneLocked(c)
		return r
	}
	j.state, j.outcome = jobSettled, outcome
	r.tell = c.peer
	if failed {
		for w := j.next; w != nil; w = w.next {
			if w.state == jobWaiting {
				w.state = jobRunning
				c.waiting--
				r.failed = append(r.failed, w)
			}
		}
	}
	r.start = s.nextLocked(c)
	return r
}

// fail ends a job that settle returned as failed.
func (l *ledger) fail(j *job, outcome *wire.Outgoing) (tell *peer) {
	s := l.shard(j.client.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.state == jobForgotten {
		return nil
	}
	j.state, j.outcome = jobSettled, outcome
	return j.client.peer
}

// attach says that p is now its client's connection; synced is the last number of ours that the
// client had when it connected. It returns the outcomes that the client does not have yet.
func (l *ledger) attach(p *peer, synced int64) (outcomes []*wire.Outgoing, ids []wire.ActionID) {
	id := p.member.Node.Client()
	s := l.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[id]
	if c == nil {
		return nil, nil
	}
	s.forgetSubscriptionsLocked(c)
	c.peer = p
	for j := c.first; j != nil; {
		next := j.next
		if j.state == jobSettled {
			if j.added != 0 && j.added <= synced {
				s.forgetLocked(j)
			} else {
				j.added = 0
				outcomes, ids = append(outcomes, j.outcome), append(ids, j.action.ID)
			}
		}
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
	c.peer, c.left = nil, now
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

// confirm says that p's client has every sync of ours up to number added. It returns the number of the
// first sync with an outcome that is still open, 0 for none.
func (l *ledger) confirm(p *peer, added int64) (open int64) {
	id := p.member.Node.Client()
	s := l.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[id]
	if c == nil || c.peer != p {
		return 0
	}
	for j := c.first; j != nil; {
		next := j.next
		if j.state == jobSettled && j.added != 0 {
			if j.added <= added {
				s.forgetLocked(j)
			} else if open == 0 || j.added < open {
				open = j.added
			}
		}
		j = next
	}
	s.dropIfDoneLocked(c)
	return open
}

// sweep forgets the clients that left before the given time and have nothing running.
func (l *ledger) sweep(before time.Duration) {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		for _, c := range s.clients {
			if c.peer == nil && c.running == nil && c.waiting == 0 && c.left < before {
				for c.first != nil {
					s.forgetLocked(c.first)
				}
				s.dropIfDoneLocked(c)
			}
		}
		s.mu.Unlock()
	}
}

// counts are gauges: clients with remembered actions, actions remembered, and those of them without an outcome.
func (l *ledger) counts() (clients, remembered, open int64) {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		clients += int64(len(s.clients))
		remembered += int64(len(s.jobs))
		for _, c := range s.clients {
			open += int64(c.waiting)
			if c.running != nil {
				open++
			}
		}
		s.mu.Unlock()
	}
	return clients, remembered, open
}

func (s *ledgerShard) forgetSubscriptionsLocked(c *client) {
	for j := c.first; j != nil; {
		next := j.next
		if j.subscription != nil {
			if j.state == jobWaiting {
				c.waiting--
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

func (c *client) pushLocked(j *job) {
	j.prev = c.last
	if c.last == nil {
		c.first = j
	} else {
		c.last.next = j
	}
	c.last = j
}

func (c *client) unlinkLocked(j *job) {
	if j.prev == nil {
		c.first = j.next
	} else {
		j.prev.next = j.next
	}
	if j.next == nil {
		c.last = j.prev
	} else {
		j.next.prev = j.prev
	}
	j.prev, j.next = nil, nil
}
