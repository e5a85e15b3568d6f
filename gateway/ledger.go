package gateway

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"logux-proxy/wire"
)

// The ledger remembers the actions taken from each client until the client can no longer send them
// again, and keeps them in order: the actions of one client are processed one after another.
//
// An action is taken once, whatever connection it comes by. It is forgotten when the client has its
// outcome and can no longer send it again: when the client has confirmed, by its own synced, the sync that
// carried the outcome and one that was written after our synced for the action on the same connection. (For an
// action that came alone this is one and the same sync. For one of several in a message the outcome comes
// first, and the synced only with the last of them.) A client that left is remembered for a while; one without
// open actions costs nothing.
//
// Subscriptions belong to a connection: they are forgotten with it, for the client subscribes again.
//
// A client may go to another server (moves.go), come from one (hearsay.go), and leave actions to one (ledgerclaims.go).
type ledger struct {
	// Static. Left and confirmed are called without a lock, and are not called where life is "".
	seed      maphash.Seed
	life      wire.ServerID                                   // this server's; "" when there is no other
	left      func(wire.ClientID)                             // nothing is remembered any more of a client that detach said stays
	confirmed func(client wire.ClientID, ids []wire.ActionID) // the client will not send again what the store knows of

	shards [64]ledgerShard
}

type ledgerShard struct {
	g       *Gateway // static
	mu      sync.Mutex
	clients map[wire.ClientID]*client
	jobs    map[wire.ActionID]*job
	moves
	_ [24]byte // keep neighbours off one cache line
}

// client is a client with remembered actions. Guarded by its shard's mu.
type client struct {
	id   wire.ClientID
	peer *peer // the live connection, nil while there is none
	// since is when the client left or, while it is here, came back to what was remembered.
	since time.Duration

	first, last *job // all remembered actions in the order they came, but for those of insertLocked
	running     *job // asked of the back-end; it stays here when it is forgotten meanwhile
	waiting     int  // jobs not started
	elsewhere   int  // jobs in flight at other servers: what the client made after one of them starts after its outcome
	openBytes   int  // of the bodies of jobs waiting, running or in flight elsewhere
	moved       bool // the client is at another server, which knows what is remembered here
	stays       bool // the client's topics are joined because of what is remembered
	// unconfirmed are the jobs that the client could confirm and did not, with what is kept for them.
	unconfirmed load
}

// A load is how much a client has of something.
type load struct{ jobs, bytes int }

func (c *client) loadLocked() load {
	o := load{jobs: c.waiting + c.elsewhere, bytes: c.openBytes}
	if c.running != nil {
		o.jobs++
	}
	return o
}

type jobState uint8

const (
	jobWaiting jobState = iota
	jobRunning
	jobSettled
	jobForgotten // a subscription whose connection ended, or what was handed over
	jobElsewhere // another server processes it
)

// join makes l the ledger of one server among others, if g is one.
func (l *ledger) join(g *Gateway) {
	for i := range l.shards {
		l.shards[i].g = g
	}
	l.life, l.left = g.cfg.Life, g.leaveMember
	l.confirmed = func(client wire.ClientID, ids []wire.ActionID) {
		if g.cfg.Handovers != nil {
			g.cfg.Handovers.Confirm(client, ids)
		}
	}
}

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

// A taking is what follows from the arrival of actions.
type taking struct {
	// settled are those that came again and have their outcome: it was given to the connection when it
	// attached, or when it became known.
	settled []wire.ActionID
	known   int  // how many came again
	start   *job // the job to start; nil when there is none
	load    load // what the client has now
	waits   bool // the outcome of one is to come
	// replaced: the client has another connection, which it sends its actions again by. Nothing was taken.
	replaced bool
}

// take remembers js, the actions of one sync of p's client, but not those that it knows.
func (l *ledger) take(p *peer, js []*job) (t taking) {
	id := p.member.Node.Client()
	s := l.shard(id)
	s.mu.Lock()
	defer l.unlock(s)
	if p.replaced {
		return taking{replaced: true}
	}
	c := s.clients[id]
	if c == nil {
		if len(js) == 0 {
			return taking{}
		}
		c = &client{id: id}
		s.clients[id] = c
	}
	c.peer = p
	for _, j := range js {
		if old := s.jobs[j.action.ID]; old != nil {
			t.known++
			old.via = p
			if old.action.Body == nil && old.state == jobElsewhere {
				old.peer, old.action, old.headers = p, j.action, j.headers
				c.openBytes += len(j.action.Body)
				t.waits = true
			}
			old.unproveLocked()
			if old.state == jobSettled {
				t.settled = append(t.settled, j.action.ID)
			}
			continue
		}
		t.waits = true
		j.client = c
		j.via = p
		s.jobs[j.action.ID] = j
		c.pushLocked(j)
		c.waiting++
		c.openBytes += len(j.action.Body)
	}
	t.start = s.nextLocked(c)
	t.load = c.loadLocked()
	return t
}

// load is what p's client has without an outcome.
func (l *ledger) load(p *peer) load {
	id := p.member.Node.Client()
	s := l.shard(id)
	s.mu.Lock()
	defer l.unlock(s)
	if c := s.clients[id]; c != nil {
		return c.loadLocked()
	}
	return load{}
}

// nextLocked marks the client's next job as running and returns it; nil while one is running, here or elsewhere.
func (s *ledgerShard) nextLocked(c *client) *job {
	if c.running != nil || c.waiting == 0 {
		return nil
	}
	for j := c.first; j != nil; j = j.next {
		switch j.state {
		case jobElsewhere:
			return nil
		case jobWaiting:
			j.state = jobRunning
			c.running = j
			c.waiting--
			j.early = j.claimed
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
	away      // of the job; those of failed come from fail
}

// settle ends a running job with its outcome.
func (l *ledger) settle(j *job, outcome *wire.Outgoing, failed bool) settlement {
	c := j.client
	s := l.shard(c.id)
	s.mu.Lock()
	defer l.unlock(s)
	c.running = nil
	c.openBytes -= len(j.action.Body)
	var r settlement
	if j.state == jobForgotten {
		// The client knows that its connection is gone: it subscribes again.
		r.forgotten = true
		r.start = s.nextLocked(c)
		s.dropIfDoneLocked(c)
		return r
	}
	j.state, j.outcome = jobSettled, outcome
	if !failed {
		s.slimLocked(j)
	}
	j.owedLocked()
	r.tell, r.away = c.peer, j.awayLocked()
	if failed {
		r.failed = c.failLocked(j)
	}
	r.start = s.nextLocked(c)
	return r
}

// failLocked takes the waiting jobs behind j, which failed.
func (c *client) failLocked(j *job) (failed []*job) {
	for w := j.next; w != nil; w = w.next {
		if w.state == jobWaiting {
			w.state = jobRunning
			c.waiting--
			c.openBytes -= len(w.action.Body)
			failed = append(failed, w)
		}
	}
	return failed
}

// slimLocked lets the memory of a large action go: of a processed one nothing but the ID is needed. (The ID
// shares its memory with the body.)
func (s *ledgerShard) slimLocked(j *job) {
	const large = 1 << 10
	if len(j.action.Body) < large || j.state != jobSettled {
		return
	}
	delete(s.jobs, j.action.ID)
	j.action = &wire.Action{ID: wire.ActionID(strings.Clone(string(j.action.ID))), Type: strings.Clone(j.action.Type)}
	s.jobs[j.action.ID] = j
}

// fail ends a job that settle returned as failed.
func (l *ledger) fail(j *job, outcome *wire.Outgoing) (tell *peer, a away) {
	s := l.shard(j.client.id)
	s.mu.Lock()
	defer l.unlock(s)
	if j.state == jobForgotten {
		return nil, away{}
	}
	j.state, j.outcome = jobSettled, outcome
	j.owedLocked()
	return j.client.peer, j.awayLocked()
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

// running is how many clients have an action at the back-end. What waits for another server is not counted.
func (l *ledger) running() (n int) {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		for _, c := range s.clients {
			if c.running != nil {
				n++
			}
		}
		s.mu.Unlock()
	}
	return n
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

// insertLocked is pushLocked for an action that runs elsewhere and that the client made before some that wait here.
func (c *client) insertLocked(j *job) {
	behind := c.last
	for behind != nil && behind.state == jobWaiting && wire.CompareActionIDs(j.action.ID, behind.action.ID) < 0 {
		behind = behind.prev
	}
	if behind == c.last {
		c.pushLocked(j)
		return
	}
	j.prev = behind
	if behind == nil {
		j.next, c.first = c.first, j
	} else {
		j.next, behind.next = behind.next, j
	}
	j.next.prev = j
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
