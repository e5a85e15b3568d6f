package gateway

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"logux-proxy/cluster"
	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// Clients that go from one server to another: what they may rely on.

// A fleet is several servers with one bus, one store and one back-end.
type fleet struct {
	t       *testing.T
	bus     *cluster.Local
	store   cluster.HandoverStore
	backend *stub

	mu   sync.Mutex
	dead map[wire.ServerID]bool // Guarded by mu.
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	return &fleet{t: t, bus: cluster.NewLocal(), store: cluster.LocalStore(), backend: newStub(t), dead: make(map[wire.ServerID]bool)}
}

func (f *fleet) alive(id wire.ServerID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.dead[id]
}

// revive says that a server is alive. Nothing keeps its lease.
func (f *fleet) revive(m *mover) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.dead, m.life)
}

// A mover is a server of a fleet.
type mover struct {
	*world
	life      wire.ServerID
	handovers *cluster.Handovers
	topics    *topicBus
	die       func() // ends what keeps its lease
}

// topicBus counts what a server has joined and what it got.
type topicBus struct {
	Bus
	mu     sync.Mutex
	joined map[wire.Topic]int // Guarded by mu.
}

func (b *topicBus) Join(topic wire.Topic, done func(error)) {
	b.mu.Lock()
	b.joined[topic]++
	b.mu.Unlock()
	b.Bus.Join(topic, done)
}

func (b *topicBus) Leave(topic wire.Topic) {
	b.mu.Lock()
	b.joined[topic]--
	if b.joined[topic] == 0 {
		delete(b.joined, topic)
	}
	b.mu.Unlock()
	b.Bus.Leave(topic)
}

func (b *topicBus) joins() map[wire.Topic]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[wire.Topic]int, len(b.joined))
	for topic, n := range b.joined {
		all[topic] = n
	}
	return all
}

// server runs one more server. Its name orders it among the others.
func (f *fleet) server(name string, change ...func(c *Config)) *mover {
	f.t.Helper()
	m := &mover{life: wire.ServerID("server:" + name + "/1-X")}
	var running atomic.Pointer[Gateway]
	var err error
	m.handovers, err = cluster.NewHandovers(cluster.HandoversConfig{
		Self: m.life, Store: f.store, Alive: f.alive, Lease: 200 * time.Millisecond,
		Orphan: func(c wire.Claim, known *wire.Outcome) { running.Load().Orphan(c, known) },
	})
	if err != nil {
		f.t.Fatal(err)
	}
	queue := cluster.NewHandoverQueue(m.handovers)
	ctx, cancel := context.WithCancel(context.Background())
	leased, die := context.WithCancel(ctx)
	m.die = func() {
		f.mu.Lock()
		f.dead[m.life] = true
		f.mu.Unlock()
		die()
	}
	var wait sync.WaitGroup
	// Cleanups run in reverse: the store is there until the server has ended.
	f.t.Cleanup(func() { cancel(); wait.Wait() })
	m.world = joinWorld(f.t, f.bus, m.life.Node(), f.backend, func(c *Config) {
		m.topics = &topicBus{Bus: c.Bus, joined: make(map[wire.Topic]int)}
		c.Bus, c.Life, c.Handovers, c.Alive = m.topics, m.life, queue, f.alive
		for _, ch := range change {
			ch(c)
		}
	})
	running.Store(m.g)
	wait.Go(func() { queue.Run(ctx) })
	wait.Go(func() { m.handovers.Run(leased) })
	return m
}

// left waits until a server listens to nothing any more.
func (m *mover) left() {
	m.t.Helper()
	await(m.t, "no topics", func() bool {
		joins := m.topics.joins()
		for topic, n := range joins {
			if n < 0 {
				m.t.Fatalf("%s was left more often than joined", topic)
			}
		}
		return len(joins) == 0
	})
}

// "A client that lost its connection and re-sends an action to any node does not get it processed twice; it gets the
// outcome where it is now." What it sends behind it waits.
func TestMovesInFlight(t *testing.T) {
	for _, closed := range []bool{true, false} {
		t.Run(fmt.Sprintf("closed before: %v", closed), func(t *testing.T) {
			f := newFleet(t)
			a, b := f.server("a"), f.server("b")
			c := a.connect("10:a:tab")
			id := c.act(1, inc)
			q := f.backend.next(t, inc)
			if closed {
				c.drop()
				a.members(0)
			}
			c = b.connect("10:a:tab")
			c.act(1, inc)
			c.act(2, inc2)
			c.alive()
			f.backend.idle(t)
			q.agree()
			c.wantAll("synced 1", processedEvent(id))
			f.backend.next(t, inc2).agree()
			c.wantProcessed(2)
			if n := f.backend.count(id); n != 1 {
				t.Errorf("the back-end was asked %d times", n)
			}
			c.alive()
			a.members(0)
			a.forgotten()
			a.left()
			c.drop()
			b.members(0)
		})
	}
}

// A client that goes to a third server, and back to the first, has its outcome once.
func TestMovesOn(t *testing.T) {
	for _, back := range []bool{true, false} {
		t.Run(fmt.Sprintf("back: %v", back), func(t *testing.T) {
			f := newFleet(t)
			a, b, last := f.server("a"), f.server("b"), f.server("c")
			if back {
				last = a
			}
			c := a.connect("10:a:tab")
			id := c.act(1, inc)
			q := f.backend.next(t, inc)
			c.drop()
			c = b.connect("10:a:tab")
			c.act(1, inc)
			c.drop()
			c = last.connect("10:a:tab")
			c.act(1, inc)
			c.act(2, inc2)
			c.alive()
			q.agree()
			c.wantAll("synced 1", processedEvent(id))
			f.backend.next(t, inc2).agree()
			c.wantProcessed(2)
			last.nothingFor(c)
			if n := f.backend.count(id); n != 1 {
				t.Errorf("the back-end was asked %d times", n)
			}
		})
	}
}

// An outcome that the client got and did not confirm is not given to it again; one that it did not get is.
func TestMovesWithOutcome(t *testing.T) {
	for _, got := range []bool{true, false} {
		t.Run(fmt.Sprintf("got: %v", got), func(t *testing.T) {
			f := newFleet(t)
			a, b := f.server("a"), f.server("b")
			c := a.connect("10:a:tab", 40)
			c.deaf = true
			id := c.act(1, inc)
			f.backend.next(t, inc).agree()
			c.want("synced 1", processedEvent(id))
			number := int64(40)
			if got {
				number = c.added
			}
			c.drop()
			a.members(0)
			c = b.connect("10:a:tab", number)
			if c.act(1, inc); got {
				c.want("synced 1")
			} else {
				c.wantAll("synced 1", processedEvent(id))
			}
			b.nothingFor(c)
			f.backend.idle(t)
		})
	}
}

// "When one ends in an error, the client's actions still waiting in its queue are undone too": also when the first runs
// at another server.
func TestMovesAndFails(t *testing.T) {
	f := newFleet(t)
	a, b := f.server("a"), f.server("b")
	c := a.connect("10:a:tab")
	id := c.act(1, inc)
	q := f.backend.next(t, inc)
	c = b.connect("10:a:tab")
	c.act(1, inc)
	behind := c.act(2, inc2)
	await(t, "both at the new server", func() bool { _, n, _ := b.g.ledger.counts(); return n == 2 })
	q.finish(wire.AnswerForbidden)
	c.wantAction(undoEvent(id, "denied", inc))
	c.wantAction(undoEvent(behind, "error", inc2))
	b.nothingFor(c)
	f.backend.idle(t)
	c.act(3, inc3)
	f.backend.next(t, inc3).agree()
	c.wantProcessed(3)
	a.members(0)
	a.forgotten()
}

// An outcome that cannot be read is said to be lost, and nobody gets it.
func TestUnreadableOutcome(t *testing.T) {
	f := newFleet(t)
	a := f.server("a")
	c := a.connect("10:a:tab")
	a.g.Receive(&wire.Envelope{
		Kind: wire.KindOutcome, Origin: "server:b", Seq: 1, Targets: wire.Targets{Clients: []wire.ClientID{"10:a"}},
		Note: &wire.Note{Server: "server:b/1-X", Outcomes: []wire.Outcome{{ID: "1 10:a:tab 0", Action: []byte("nonsense")}}},
	})
	if n := a.logs.FilterMessage("The outcome that another server gave an action cannot be read").Len(); n != 1 {
		t.Errorf("%d lines", n)
	}
	a.nothingFor(c)
	a.forgotten()
}

// A subscription ends with its connection; the client subscribes again where it is.
func TestMovesWhileSubscribing(t *testing.T) {
	f := newFleet(t)
	a, b := f.server("a"), f.server("b")
	c := a.connect("10:a:tab")
	c.act(1, subscribeBody("posts"))
	q := f.backend.next(t, subscribeBody("posts"))
	c = b.connect("10:a:tab")
	a.members(0)
	c.act(2, subscribeBody("posts"))
	again := f.backend.next(t, subscribeBody("posts"))
	q.agree()
	again.agree()
	c.wantProcessed(2)
	a.deliver(inc, wire.Targets{Channels: []string{"posts"}})
	c.want("action " + inc)
	b.nothingFor(c)
	a.forgotten()
	a.left()
}

// The action of a client whose server has nothing to say goes on at once when the store has answered, and the topics of a
// connection that ends while it arrives are left.
func TestMovesEndsWhileArriving(t *testing.T) {
	f := newFleet(t)
	held := make(chan struct{})
	a := f.server("a", func(c *Config) { c.Handovers = &slowFetch{Handovers: c.Handovers, until: held} })
	c := a.connect("10:a:tab")
	id := c.act(1, inc)
	c.alive()
	c.drop()
	a.members(0)
	close(held)
	a.left()
	f.backend.idle(t)
	if n := f.backend.count(id); n != 0 {
		t.Errorf("an action of an end was processed %d times", n)
	}
	a.forgotten()
}

// slowFetch answers a Fetch when until is closed.
type slowFetch struct {
	Handovers
	until chan struct{}
}

func (s *slowFetch) Fetch(client wire.ClientID, done func(wire.Record, error)) {
	s.Handovers.Fetch(client, func(r wire.Record, err error) { <-s.until; done(r, err) })
}

// When two servers announce a client at once none of them goes on with what it holds: the client comes back to one.
func TestMovesBothAtOnce(t *testing.T) {
	f := newFleet(t)
	held := make(chan struct{})
	slow := func(c *Config) { c.Handovers = &slowFetch{Handovers: c.Handovers, until: held} }
	a, b := f.server("a", slow), f.server("b", slow)
	one := b.connect("10:a:tab")
	one.act(1, inc)
	one.alive()
	two := a.connect("10:a:tab") // b is the one with the greater name, and still waits for its store
	id := two.act(1, inc)
	b.members(0)
	close(held)
	f.backend.next(t, inc).agree()
	two.wantProcessed(1)
	a.nothingFor(two)
	if n := f.backend.count(id); n != 1 {
		t.Errorf("the back-end was asked %d times", n)
	}
}

// An operator's disconnect reaches connections everywhere, and tells how many were here.
func TestDisconnectEverywhere(t *testing.T) {
	f := newFleet(t)
	a, b := f.server("a"), f.server("b")
	c1, c2, c3 := a.connect("10:a:tab"), b.connect("10:b:tab"), b.connect("20:c:tab")
	here, err := a.g.Disconnect([]wire.UserID{"10"}, nil)
	if here != 1 || err != nil {
		t.Errorf("%d were here, %v", here, err)
	}
	c1.want("close 1008")
	c2.want("close 1008")
	b.nothingFor(c3)
	if here, err := a.g.Disconnect(nil, nil); here != 0 || err != nil {
		t.Errorf("nobody: %d were here, %v", here, err)
	}
	if here, _ := a.g.Disconnect(nil, []wire.ClientID{"20:c"}); here != 0 {
		t.Errorf("%d were here", here)
	}
	c3.want("close 1008")
}

// After a gap clients with subscriptions, and only those, are told once when to go: within the window.
func TestGapClosesSubscribers(t *testing.T) {
	f := newFleet(t)
	a := f.server("a")
	reader, other := a.connect("10:a:tab"), a.connect("20:b:tab")
	a.subscribe(reader, 1, "posts")
	leaveAt := func(client wire.ClientID) (at, now time.Duration) {
		a.on(client, func(p *peer) { at, now = p.passage.leaveAt, p.h.loop.Now() })
		return at, now
	}
	a.g.Gap()
	var at time.Duration
	await(t, "a time to leave", func() bool {
		var now time.Duration
		at, now = leaveAt("10:a")
		return at != 0 && at <= now+gapWindow
	})
	a.onLoops(func(l *transport.Loop) {
		for _, h := range a.g.handlers {
			if h.loop == l {
				(&mend{h: h}).Run(l)
			}
		}
	})
	if again, _ := leaveAt("10:a"); again != at {
		t.Errorf("it is to leave at %v, and was to at %v", again, at)
	}
	if at, _ := leaveAt("20:b"); at != 0 {
		t.Error("a client without subscriptions is to leave")
	}
	a.on("10:a", func(p *peer) { p.passage.leaveAt = p.h.loop.Now(); p.rearm() })
	reader.want("close 1012")
	a.nothingFor(other)
	if n := a.g.Stats().GapCloses; n != 1 {
		t.Errorf("%d were closed", n)
	}
}

// An action for one anonymous client reaches no server that does not have it, although all have anonymous clients.
func TestAnonymousClientsHaveTopics(t *testing.T) {
	f := newFleet(t)
	servers := []*mover{f.server("a"), f.server("b"), f.server("c")}
	clients := make([]*browser, 0, 30)
	for i := range cap(clients) {
		clients = append(clients, servers[i%3].connect(wire.NodeID(fmt.Sprintf("anonymous:%d:tab", i))))
	}
	meter := new(envelopeMeter)
	sender := f.bus.Attach("server:sender", meter)
	defer sender.Detach()
	var meters []*envelopeMeter
	// Each server's interest, as the bus sees it.
	for _, s := range servers {
		m := new(envelopeMeter)
		port := f.bus.Attach("server:shadow", m)
		defer port.Detach()
		for topic := range s.topics.joins() {
			port.Join(topic, func(error) {})
		}
		meters = append(meters, m)
	}
	for i, c := range clients {
		target := c.node.Client()
		out := servers[0].g.own("own", wire.RawJSON(inc))
		err := sender.Publish(&wire.Envelope{Origin: "server:sender", Seq: uint64(i + 1), Action: out.Action, Targets: wire.Targets{Clients: []wire.ClientID{target}}})
		if err != nil {
			t.Fatal(err)
		}
		c.want("action " + inc)
	}
	for i, m := range meters {
		if n := m.n.Load(); n != int64(len(clients)/3) {
			t.Errorf("server %d was given %d envelopes, want %d", i, n, len(clients)/3)
		}
	}
	servers[0].deliver(inc2, wire.Targets{Users: []wire.UserID{wire.AnonymousUser}})
	for _, c := range clients {
		c.want("action " + inc2)
	}
	for _, c := range clients {
		c.drop()
	}
	for _, s := range servers {
		s.left()
	}
}

// envelopeMeter counts actions.
type envelopeMeter struct{ n atomic.Int64 }

// Receive implements cluster.Receiver.
func (m *envelopeMeter) Receive(e *wire.Envelope) {
	if e.Kind == wire.KindAction {
		m.n.Add(1)
	}
}

// WaitSettled waits for the back-end's answer and until the store has the outcome.
func TestWaitSettled(t *testing.T) {
	f := newFleet(t)
	a := f.server("a")
	if !a.g.WaitSettled(t.Context()) {
		t.Fatal("something is under way at a server without clients")
	}
	c := a.connect("10:a:tab")
	id := c.act(1, inc)
	q := f.backend.next(t, inc)
	c.drop()
	a.members(0)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if a.g.WaitSettled(over) {
		t.Fatal("it is settled before its outcome")
	}
	done := make(chan bool, 1)
	go func() { done <- a.g.WaitSettled(t.Context()) }()
	q.agree()
	if !<-done {
		t.Fatal("it is not settled")
	}
	r, err := a.handovers.Fetch(t.Context(), "10:a")
	if err != nil || len(r.Outcomes) != 1 || r.Outcomes[0].ID != id || len(r.InFlight) != 0 {
		t.Errorf("the store has %+v, %v", r, err)
	}
}
