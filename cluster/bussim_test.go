package cluster

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// A simulation of two servers, two servers of Redis and a mesh, in one goroutine, with a clock and a seed of its own. What
// the servers do is the real code; connections, their delays and their deaths are made up. Server b publishes, server a
// joins and leaves channels: while it has joined one it has to get every envelope of it once, and in order.
type simulation struct {
	t      *testing.T
	seed   uint64
	random *rand.Rand
	a, b   *Bus
	wires  []*simRedis
	frames [2][]simFrame // on the mesh, to a and to b
	n      int

	channels map[string]*simChannel
	on       map[int][]string // channels of what was published, by number
	want     map[int]bool     // numbers that a has to get
	came     map[int]bool
	gaps     int
	err      error // what was wrong first
}

// A simChannel is a channel as a sees it.
type simChannel struct {
	asked  bool // Join was called, and Leave was not
	joined bool // its done was called
	from   int  // the last number that was published before
	last   int  // the last number that came since then
}

// Receive implements Receiver.
func (s *simulation) Receive(e *wire.Envelope) {
	var body struct{ N int }
	if err := json.Unmarshal(e.Action.Body, &body); err != nil {
		panic(err)
	}
	n := body.N
	if s.came[n] {
		s.wrong("%d came twice", n)
	}
	s.came[n] = true
	for _, channel := range s.on[n] {
		if c := s.channels[channel]; c.joined {
			if c.last > n && n > c.from {
				s.wrong("%d came after %d on %s", n, c.last, channel)
			}
			c.last = n
		}
	}
}

func (s *simulation) wrong(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format, args...)
	}
}

// Gap implements BusReceiver.
func (s *simulation) Gap() { s.gaps++ }

// A simRedis is one server of Redis, as a and b are connected to it.
type simRedis struct {
	up       bool
	alive    bool                // a's connection, as Redis sees it
	topics   map[wire.Topic]bool // subscribed on it, as Redis sees it
	conn     *subscriber         // a's connection, as a sees it
	commands []simCommand        // on the way to Redis
	queue    []simMessage        // on the way to a
	stalled  time.Time           // nothing comes to a until then
}

type simCommand struct {
	step  nextStep
	topic placed
}

// A simMessage is an envelope, a heartbeat or a confirmation.
type simMessage struct {
	conn      *subscriber
	data      string
	heartbeat bool
	step      nextStep
	topic     wire.Topic
}

type simFrame struct {
	from  wire.NodeID
	frame []byte
}

type simMesh struct {
	s    *simulation
	self int
}

func (m simMesh) Peers() []wire.NodeID {
	return []wire.NodeID{[]wire.NodeID{"server:b", "server:a"}[m.self]}
}

func (m simMesh) Send(_ wire.NodeID, frame []byte) error {
	from := []wire.NodeID{"server:a", "server:b"}[m.self]
	m.s.frames[1-m.self] = append(m.s.frames[1-m.self], simFrame{from, slices.Clone(frame)})
	return nil
}

var simChannels = []string{"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"}

func newSimulation(t *testing.T, seed uint64) *simulation {
	t.Helper()
	r, err := ParseRedis("redis://one,redis://two")
	if err != nil {
		t.Fatal(err)
	}
	s := &simulation{
		t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 3)), channels: make(map[string]*simChannel),
		on: make(map[int][]string), want: make(map[int]bool), came: make(map[int]bool),
	}
	for _, name := range simChannels {
		s.channels[name] = &simChannel{}
	}
	buses := make([]*Bus, 2)
	for i, id := range []wire.NodeID{"server:a", "server:b"} {
		buses[i], err = NewBus(BusConfig{
			Redis: r, Server: id, Receiver: s, Mesh: simMesh{s, i}, Heartbeat: time.Second, Linger: time.Second,
			HoldBytes: 20_000, Log: zap.NewNop(),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.a, s.b = buses[0], buses[1]
	for range s.a.layout.Load().nodes {
		s.wires = append(s.wires, &simRedis{up: true})
	}
	return s
}

func (s *simulation) join(channel string) {
	c := s.channels[channel]
	if c.asked {
		return
	}
	c.asked = true
	s.a.Join(wire.ChannelTopic(channel), func(error) { c.joined, c.from, c.last = true, s.n, 0 })
}

func (s *simulation) leave(channel string) {
	if c := s.channels[channel]; c.joined {
		c.asked, c.joined = false, false
		s.a.Leave(wire.ChannelTopic(channel))
		for n, wanted := range s.want {
			s.want[n] = wanted && (s.came[n] || slices.ContainsFunc(s.on[n], func(name string) bool {
				c := s.channels[name]
				return c.joined && c.from < n
			}))
		}
	}
}

// lose is what a does when it sees that its connection to a Redis is broken.
func (s *simulation) lose(i int) {
	w, n := s.wires[i], s.a.layout.Load().nodes[i]
	w.alive, w.conn, w.commands, w.queue = false, nil, nil, nil
	n.unsettle()
	n.current.Store(nil)
	s.a.topics.unsubscribed(n)
}

// connect makes it again, and begins to subscribe.
func (s *simulation) connect(i int) {
	w, n := s.wires[i], s.a.layout.Load().nodes[i]
	conn := &subscriber{node: n, wake: make(chan struct{}, 1), room: make(chan struct{}, 1), beats: make(map[string]bool)}
	conn.mu.listening = true
	w.alive, w.conn, w.topics = true, conn, make(map[wire.Topic]bool)
	n.current.Store(conn)
	var batch []placed
	for p := range partitions {
		if n.owns(uint8(p)) {
			batch = s.a.topics.all(conn, uint8(p), batch)
		}
	}
	conn.mu.changed = append(batch, conn.mu.changed...)
	s.write(i)
	conn.mu.all = true
	n.trySettle()
}

// write is what a subscriber does with topics that changed.
func (s *simulation) write(i int) {
	w := s.wires[i]
	if w.conn == nil {
		return
	}
	changed := w.conn.mu.changed
	w.conn.mu.changed = nil
	for _, t := range changed {
		if step := s.a.topics.next(w.conn, t); step != toNothing {
			w.commands = append(w.commands, simCommand{step, t})
		}
	}
}

// execute is what Redis does with commands of a.
func (s *simulation) execute(i, most int) {
	w := s.wires[i]
	for ; most > 0 && len(w.commands) > 0 && w.alive; most-- {
		c := w.commands[0]
		w.commands = w.commands[1:]
		w.topics[c.topic.topic] = c.step == toSubscribe
		w.queue = append(w.queue, simMessage{conn: w.conn, step: c.step, topic: c.topic.topic})
	}
}

// publish publishes on one or several channels.
func (s *simulation) publish() {
	s.n++
	var channels []string
	for range 1 + s.random.IntN(3)*s.random.IntN(2) {
		channels = append(channels, simChannels[s.random.IntN(len(simChannels))])
	}
	s.on[s.n] = channels
	s.want[s.n] = slices.ContainsFunc(channels, func(c string) bool { return s.channels[c].joined })
	e := &wire.Envelope{Action: &wire.Action{ID: "1 b 0", Body: fmt.Appendf(nil, `{"n":%d}`, s.n)}, Targets: wire.Targets{Channels: channels}}
	if err := s.b.Publish(e); err != nil {
		s.t.Fatal(err)
	}
}

// pipeline is what a publisher does: some of what waits, perhaps only executed in part, perhaps without an answer.
func (s *simulation) pipeline(i int) {
	w, l := s.wires[i], s.b.layout.Load()
	p := l.nodes[i].publisher
	if !w.up {
		p.note(errSilent, false)
		return
	}
	from := p.cursor()
	entries, lost := s.b.ring.after(nil, from, 1+s.random.IntN(20), 1<<20)
	var messages []simMessage
	if s.random.IntN(2) == 0 {
		h := heartbeat{origin: "server:b", epoch: s.b.epoch, upTo: s.b.withRedis(), lost: lost}
		messages = append(messages, simMessage{heartbeat: true, data: string(h.append(nil))})
	}
	to := max(from, lost)
	for _, e := range entries {
		for _, topic := range e.topics {
			if l.owner[topic.partition] == l.nodes[i] && w.topics[topic.topic] {
				messages = append(messages, simMessage{data: string(e.data)})
			}
		}
		to = e.seq
	}
	answered := s.random.IntN(10) > 0
	if !answered {
		messages = messages[:s.random.IntN(len(messages)+1)]
	}
	if w.alive {
		w.queue = append(w.queue, messages...)
	}
	if !answered {
		p.note(errSilent, false)
		return
	}
	p.advance(to, lost)
	p.note(nil, false)
}

// arrive takes what is on the way through a Redis.
func (s *simulation) arrive(i, most int) {
	w, n := s.wires[i], s.a.layout.Load().nodes[i]
	if time.Now().Before(w.stalled) {
		return
	}
	for ; most > 0 && len(w.queue) > 0; most-- {
		m := w.queue[0]
		w.queue = w.queue[1:]
		switch {
		case m.heartbeat:
			s.a.heartbeatCame(w.conn, m.data)
		case m.data != "":
			s.a.envelopeCame(n, m.data)
		case m.step == toSubscribe:
			s.a.topics.confirmed(w.conn, string(m.topic))
		default:
			s.a.topics.ended(w.conn, string(m.topic))
		}
		n.trySettle()
	}
}

// mesh takes frames off the mesh, and loses some.
func (s *simulation) mesh(to, most int, lossy bool) {
	for ; most > 0 && len(s.frames[to]) > 0; most-- {
		f := s.frames[to][0]
		s.frames[to] = s.frames[to][1:]
		if lossy && s.random.IntN(50) == 0 {
			continue
		}
		[]*Bus{s.a, s.b}[to].ReceiveFrame(f.from, f.frame)
	}
}

// pass lets time pass, and both servers review.
func (s *simulation) pass(d time.Duration) {
	<-time.After(d)
	now := time.Now()
	for _, b := range []*Bus{s.a, s.b} {
		b.readPeers()
		b.ring.evict(now)
		b.ring.published(now, b.withRedis())
		b.topics.sweep(now)
		b.reviewOrigins(now)
		b.feeds.review(now, b.layout.Load().failing(now, b.cfg.Heartbeat))
		for _, id := range b.feeds.due(now) {
			b.feeds.send(id, nil)
		}
		if b.gap.Swap(false) {
			b.cfg.Receiver.Gap()
		}
	}
}

func (s *simulation) step() {
	r := s.random
	i := r.IntN(2)
	w := s.wires[i]
	switch x := r.IntN(1_000); {
	case x < 4 && w.conn != nil:
		s.lose(i)
	case x < 24 && w.conn == nil && w.up:
		s.connect(i)
	case x < 27:
		if w.up = !w.up; !w.up {
			w.alive = false // a sees it later, and gets what is on the way until then
		}
	case x < 30:
		w.stalled = time.Now().Add(time.Duration(r.IntN(8_000)) * time.Millisecond)
	case x < 60:
		if channel := simChannels[r.IntN(len(simChannels))]; r.IntN(2) == 0 {
			s.leave(channel)
		} else {
			s.join(channel)
		}
	case x < 110 && !w.alive && w.conn != nil:
		s.lose(i)
	case x < 300:
		s.publish()
	case x < 350:
		s.write(i)
	case x < 400:
		s.execute(i, 1+r.IntN(5))
	case x < 500:
		s.pipeline(i)
	case x < 650:
		s.arrive(i, 1+r.IntN(10))
	case x < 800:
		s.mesh(r.IntN(2), 1+r.IntN(3), true)
	default:
		s.pass(time.Duration(r.IntN(60)) * time.Millisecond)
	}
}

// finish lets everything come that is to come.
func (s *simulation) finish() {
	for i, w := range s.wires {
		w.up, w.stalled = true, time.Time{}
		if !w.alive && w.conn != nil {
			s.lose(i)
		}
		if w.conn == nil {
			s.connect(i)
		}
	}
	for range 400 {
		for i := range s.wires {
			s.write(i)
			s.execute(i, 1<<20)
			s.pipeline(i)
			s.arrive(i, 1<<20)
		}
		s.mesh(0, 1<<20, false)
		s.mesh(1, 1<<20, false)
		s.pass(50 * time.Millisecond)
	}
}

// check says what is wrong with what a got.
func (s *simulation) check() error {
	if s.err != nil {
		return s.err
	}
	for n := 1; n <= s.n; n++ {
		if s.want[n] && !s.came[n] {
			return fmt.Errorf("%d of %d did not come", n, s.n)
		}
	}
	for name, c := range s.channels {
		if c.asked && !c.joined {
			return fmt.Errorf("who joins %s still waits", name)
		}
	}
	if s.gaps > 0 {
		return fmt.Errorf("%d gaps", s.gaps)
	}
	return nil
}

// run goes through a history, and returns how often a was healed.
func (s *simulation) run() (healed int64) {
	for range 4_000 {
		s.step()
	}
	s.finish()
	stats := s.a.Stats()
	switch err := s.check(); {
	case err != nil:
		s.t.Errorf("seed %d: %v", s.seed, err)
	case stats.Healing != 0:
		s.t.Errorf("seed %d: it does not end: %+v", s.seed, stats)
	}
	return stats.Healed
}

func TestBusSimulation(t *testing.T) {
	const seeds = 60
	healed := int64(0)
	for seed := range uint64(seeds) {
		bubble(t, func(t *testing.T) { healed += newSimulation(t, seed).run() })
	}
	if healed < seeds {
		t.Errorf("only %d healings in %d seeds: the simulation breaks too little", healed, seeds)
	}
}

// FuzzBusSimulation goes through as many histories as there is time for.
func FuzzBusSimulation(f *testing.F) {
	f.Fuzz(func(t *testing.T, seed uint64) {
		bubble(t, func(t *testing.T) { newSimulation(t, seed).run() })
	})
}
