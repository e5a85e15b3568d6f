package gateway

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"logux-proxy/cluster"
	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// TestSimulation runs random clients on several servers. They send, subscribe, lose their connections at any moment
// and behave afterwards as real clients do. What they and the back-end saw is judged at the end:
//
//   - every action has one outcome, and the back-end was asked about it once at most;
//   - a subscriber gets each action of the channel once, those of one author in the order in which they were
//     processed, without a gap from the moment the back-end was asked about the subscription;
//   - the undo of an action comes once, and after it.
func TestSimulation(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { simulate(t, seed) })
	}
}

const (
	simServers, simClients = 3, 9
	simRounds              = 40
)

// A sim is the back-end of one run, and what it knows.
type sim struct {
	t  testing.TB
	mu sync.Mutex
	// Guarded by mu.
	rnd    *rand.Rand
	last   map[string]map[wire.ClientID]int // by channel and author: how many actions were approved
	number map[wire.ActionID]int            // the number of an approved action among those
	undone map[wire.ActionID]bool
}

func (s *sim) chance(percent int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rnd.IntN(100) < percent
}

// process answers for the back-end.
func (s *sim) process(q *question) {
	var a struct{ Channel string }
	if err := json.Unmarshal(q.Action.Body, &a); err != nil {
		s.t.Error(err)
	}
	author := q.Action.ID.Client()
	if q.Action.Type == wire.TypeSubscribe {
		s.mu.Lock()
		state, err := json.Marshal(s.last[a.Channel])
		s.mu.Unlock()
		if err != nil {
			s.t.Error(err)
		}
		s.dawdle()
		q.approve()
		s.dawdle()
		q.action(fmt.Sprintf(`{"type":"state","of":%q,"state":%s}`, q.Action.ID, state), wire.Targets{Clients: []wire.ClientID{author}})
		if s.chance(10) {
			q.fail("text")
			return
		}
		q.processed()
		return
	}
	s.dawdle()
	if s.chance(5) {
		q.finish(wire.AnswerForbidden)
		return
	}
	s.mu.Lock()
	if s.last[a.Channel] == nil {
		s.last[a.Channel] = make(map[wire.ClientID]int)
	}
	s.last[a.Channel][author]++
	s.number[q.Action.ID] = s.last[a.Channel][author]
	s.mu.Unlock()
	q.resend(wire.Targets{Channels: []string{a.Channel}})
	q.approve()
	s.dawdle()
	if s.chance(5) {
		s.mu.Lock()
		s.undone[q.Action.ID] = true
		s.mu.Unlock()
		q.fail("text")
		return
	}
	q.processed()
}

func (s *sim) dawdle() {
	for s.chance(60) {
		runtime.Gosched()
	}
}

// A simClient behaves as a real client does, and remembers all.
type simClient struct {
	*sim
	world    *world
	node     wire.NodeID
	rnd      *rand.Rand
	channels []string

	c        *browser
	n        int64 // actions made
	got      int64 // the last number of the server's
	unacked  []simSync
	own      []wire.ActionID
	outcomes map[wire.ActionID]int
	listens  map[wire.ActionID]*listening // subscriptions of this connection, by the subscribe's ID
	past     []*listening
}

// A simSync is a message that the client sends until it is acknowledged.
type simSync struct {
	added int64
	first int64 // number of the first action in it
	body  string
}

// A listening is one subscription from beginning to end.
type listening struct {
	client  wire.ClientID
	channel string
	state   map[wire.ClientID]int // what the back-end loaded; nil before it came
	active  bool                  // it was processed
	alive   bool                  // it lived to the end of the run
	heard   []wire.ActionID
	undos   map[wire.ActionID]int // place of an undo among the heard
}

func simulate(t *testing.T, seed uint64) {
	t.Helper()
	bus := cluster.NewLocal()
	s := &sim{
		t: t, rnd: rand.New(rand.NewPCG(seed, 0)), last: make(map[string]map[wire.ClientID]int),
		number: make(map[wire.ActionID]int), undone: make(map[wire.ActionID]bool),
	}
	b := newStub(t)
	b.setProcess(s.process)
	var worlds []*world
	for i := range simServers {
		// One of the servers is as on systems without epoll.
		worlds = append(worlds, joinWorld(t, bus, wire.NodeID(fmt.Sprintf("server:%d", i)), b, nil,
			func(c *transport.Config) { c.Goroutines = i == 0 }))
	}
	var clients []*simClient
	var running sync.WaitGroup
	for i := range simClients {
		c := &simClient{
			sim: s, world: worlds[i%simServers], node: wire.NodeID(fmt.Sprintf("%d:a:tab", i)), rnd: rand.New(rand.NewPCG(seed, uint64(i+1))),
			channels: []string{fmt.Sprint("room ", i%2), "all"}, outcomes: make(map[wire.ActionID]int),
		}
		clients = append(clients, c)
		running.Go(c.live)
	}
	running.Wait()
	if t.Failed() {
		return
	}
	// Nothing is under way any more: what was sent is there before the fence.
	for _, c := range clients {
		c.world.fences++
		fence := fmt.Sprintf(`{"type":"fence","n":%d}`, c.world.fences)
		c.world.deliver(fence, wire.Targets{Clients: []wire.ClientID{c.node.Client()}})
		for e := ""; e != "action "+fence; {
			e = c.c.next()
			c.hear(e)
		}
	}
	for _, c := range clients {
		c.judge(b)
	}
	if b.overlap {
		t.Error("two actions of one client were under way at once")
	}
}

// live is a client's life.
func (c *simClient) live() {
	c.arrive()
	for range simRounds {
		switch c.rnd.IntN(10) {
		case 0:
			c.c.drop()
			c.arrive()
		case 1, 2, 3:
			c.look()
		default:
			c.say()
		}
	}
	for end := time.Now().Add(patience); len(c.unacked) > 0 || !c.settledDown(); c.look() {
		if time.Now().After(end) {
			c.t.Errorf("%s: %d messages are not acknowledged", c.node, len(c.unacked))
			return
		}
	}
}

// settledDown reports whether all actions, and the subscriptions of the connection, have their outcome.
func (c *simClient) settledDown() bool {
	for _, id := range c.own {
		if c.outcomes[id] == 0 {
			return false
		}
	}
	for id := range c.listens {
		if c.outcomes[id] == 0 {
			return false
		}
	}
	return true
}

// arrive connects, sends again what was not acknowledged, and subscribes.
func (c *simClient) arrive() {
	for _, l := range c.listens {
		c.past = append(c.past, l)
	}
	c.listens = make(map[wire.ActionID]*listening)
	c.c = c.world.dial(nil)
	c.c.connect(c.node, c.got)
	for _, s := range c.unacked {
		c.c.send(c.text(s))
	}
	for _, channel := range c.channels {
		c.n++
		id := actionID(c.node, c.n)
		c.listens[id] = &listening{client: c.node.Client(), channel: channel, undos: make(map[wire.ActionID]int)}
		if c.c.trySend(c.text(simSync{added: c.n, first: c.n, body: subscribeBody(channel)})) != nil {
			return
		}
	}
}

// text is the message as it stands on the wire, relative to the connection's base time.
func (c *simClient) text(s simSync) string {
	text := fmt.Sprintf(`["sync",%d`, s.added)
	for n := s.first; n <= s.added; n++ {
		text += "," + c.c.pair(n, s.body)
	}
	return text + "]"
}

// say sends one to three actions in a message.
func (c *simClient) say() {
	s := simSync{first: c.n + 1, added: c.n + 1 + c.rnd.Int64N(3), body: fmt.Sprintf(`{"type":"say","channel":%q}`, c.channels[c.rnd.IntN(2)])}
	for c.n < s.added {
		c.n++
		c.own = append(c.own, actionID(c.node, c.n))
	}
	c.unacked = append(c.unacked, s)
	_ = c.c.trySend(c.text(s)) // a connection that broke shows when it is read
}

// look reads what is there.
func (c *simClient) look() {
	if c.c.trySend(`["ping",0]`) == nil {
		for e := ""; e != "pong"; {
			if e = c.c.next(); e == "end" || contains(e, "close") {
				c.t.Errorf("%s: %s", c.node, e)
				runtime.Goexit()
			}
			c.hear(e)
		}
	}
}

// hear takes one event.
func (c *simClient) hear(e string) {
	c.got = c.c.added
	var synced int64
	if _, err := fmt.Sscanf(e, "synced %d", &synced); err == nil {
		for len(c.unacked) > 0 && c.unacked[0].added <= synced {
			c.unacked = c.unacked[1:]
		}
		return
	}
	if !contains(e, "action ") {
		return
	}
	g := c.c.got[0]
	c.c.got = c.c.got[1:]
	var a struct {
		Type, Channel string
		ID, Of        wire.ActionID
		State         map[wire.ClientID]int
	}
	if err := json.Unmarshal([]byte(g.body), &a); err != nil {
		c.t.Error(err)
	}
	switch a.Type {
	case wire.TypeProcessed, wire.TypeUndo:
		if a.ID.Client() == c.node.Client() {
			c.outcomes[a.ID]++
			if l := c.listens[a.ID]; l != nil {
				l.active = a.Type == wire.TypeProcessed
			}
			return
		}
		for _, l := range c.listens {
			if _, twice := l.undos[a.ID]; twice {
				c.t.Errorf("%s: the undo of %s came twice", c.node, a.ID)
			}
			l.undos[a.ID] = len(l.heard)
		}
	case "state":
		if l := c.listens[a.Of]; l != nil {
			if l.state = a.State; l.state == nil {
				l.state = make(map[wire.ClientID]int)
			}
		}
	case "say":
		for _, l := range c.listens {
			if l.channel == a.Channel {
				l.heard = append(l.heard, g.id)
			}
		}
	}
}

// judge looks at what a client saw in its life.
func (c *simClient) judge(b *stub) {
	for _, id := range c.own {
		if c.outcomes[id] != 1 {
			c.t.Errorf("%s has %d outcomes", id, c.outcomes[id])
		}
		if n := b.count(id); n > 1 {
			c.t.Errorf("the back-end was asked about %s %d times", id, n)
		}
	}
	for _, l := range c.listens {
		l.alive = true
		c.past = append(c.past, l)
	}
	for _, l := range c.past {
		c.judgeListening(l)
	}
}

func (c *simClient) judgeListening(l *listening) {
	last := make(map[wire.ClientID]int)
	place := make(map[wire.ActionID]int)
	for i, id := range l.heard {
		author, n := id.Client(), c.number[id]
		switch {
		case author == l.client:
			c.t.Errorf("%s: its own action %s came back", l.client, id)
		case n == 0:
			c.t.Errorf("%s got %s, which was not approved", l.client, id)
		case n <= last[author]:
			c.t.Errorf("%s got number %d of %s after number %d in %q", l.client, n, author, last[author], l.channel)
		case l.active && last[author] != 0 && n != last[author]+1, l.active && last[author] == 0 && n > l.state[author]+1:
			c.t.Errorf("%s got number %d of %s after number %d and state %d in %q", l.client, n, author, last[author], l.state[author], l.channel)
		}
		last[author] = n
		place[id] = i
	}
	for id, at := range l.undos {
		if i, ok := place[id]; ok && i >= at {
			c.t.Errorf("%s got the undo of %s before it", l.client, id)
		}
	}
	if !l.alive || !l.active {
		return
	}
	for author, n := range c.last[l.channel] {
		if author != l.client && max(last[author], l.state[author]) != n {
			c.t.Errorf("%s got %d and state %d of the %d of %s in %q", l.client, last[author], l.state[author], n, author, l.channel)
		}
	}
	for id := range place {
		if _, ok := l.undos[id]; !ok && c.undone[id] {
			c.t.Errorf("%s did not get the undo of %s", l.client, id)
		}
	}
}
