package cluster

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// A simulation of two servers, two servers of Redis and a mesh, in one goroutine, with a clock and a seed of its own. What
// the servers do is the real code; connections, their delays and their deaths are made up. Server b publishes, server a
// has joined most of the channels: it has to get every envelope of them once, and those with a channel in common in order.
type simulation struct {
	t      *testing.T
	random *rand.Rand
	a, b   *Bus
	got    *simReceiver
	wires  []*simRedis
	frames [2][]simFrame // on the mesh, to a and to b
	want   map[int]bool  // numbers that a has to get
	on     map[int][]string
	n      int
}

type simReceiver struct {
	got  []int
	gaps int
}

// Receive implements Receiver.
func (r *simReceiver) Receive(e *wire.Envelope) {
	var body struct{ N int }
	if err := json.Unmarshal(e.Action.Body, &body); err != nil {
		panic(err)
	}
	r.got = append(r.got, body.N)
}

// Gap implements BusReceiver.
func (r *simReceiver) Gap() { r.gaps++ }

// A simRedis is one server of Redis, as a and b are connected to it.
type simRedis struct {
	up         bool
	subscribed bool     // a's connection, as Redis sees it
	settled    bool     // as a sees it
	queue      []string // on the way to a
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
	s := &simulation{t: t, random: rand.New(rand.NewPCG(seed, 3)), got: &simReceiver{}, want: make(map[int]bool), on: make(map[int][]string)}
	buses := make([]*Bus, 2)
	for i, id := range []wire.NodeID{"server:a", "server:b"} {
		buses[i], err = NewBus(BusConfig{Redis: r, Server: id, Receiver: s.got, Mesh: simMesh{s, i}, Heartbeat: time.Second, HoldBytes: 20_000, Log: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.a, s.b = buses[0], buses[1]
	for range s.a.layout.Load().nodes {
		s.wires = append(s.wires, &simRedis{up: true, subscribed: true})
	}
	for i := range s.wires {
		s.settle(i)
	}
	for _, channel := range simChannels[:6] {
		s.a.Join(wire.ChannelTopic(channel), func(error) {})
	}
	for i := range s.wires {
		s.settle(i)
	}
	s.pass(time.Millisecond)
	return s
}

// lose ends a's connection to a Redis, as soon as a sees it.
func (s *simulation) lose(i int) {
	w, n := s.wires[i], s.a.layout.Load().nodes[i]
	w.subscribed, w.settled, w.queue = false, false, nil
	n.unsettle()
	s.a.topics.unsubscribed(n)
}

// settle makes it again.
func (s *simulation) settle(i int) {
	w, n := s.wires[i], s.a.layout.Load().nodes[i]
	w.subscribed, w.settled = true, true
	for p := range s.a.topics.stripes {
		for _, sub := range s.a.topics.stripes[p].topics {
			if n.owns(uint8(p)) {
				sub.state = held
			}
		}
	}
	n.mu.Lock()
	if !n.mu.settled {
		n.mu.settled, n.mu.since = true, time.Now()
	}
	n.mu.Unlock()
}

// publish publishes on one or several channels.
func (s *simulation) publish() {
	s.n++
	var channels []string
	for range 1 + s.random.IntN(3)*s.random.IntN(2) {
		channels = append(channels, simChannels[s.random.IntN(len(simChannels))])
	}
	s.on[s.n] = channels
	s.want[s.n] = slices.ContainsFunc(channels, func(c string) bool { return slices.Contains(simChannels[:6], c) })
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
	var messages []string
	if s.random.IntN(2) == 0 {
		h := heartbeat{origin: "server:b", epoch: s.b.epoch, upTo: s.b.withRedis(), lost: lost}
		messages = append(messages, "hb"+string(h.append(nil)))
	}
	to := max(from, lost)
	for _, e := range entries {
		for _, topic := range e.topics {
			if l.owner[topic.partition] == l.nodes[i] && slices.Contains(simChannels[:6], string(topic.topic[3:])) {
				messages = append(messages, string(e.data))
			}
		}
		to = e.seq
	}
	answered := s.random.IntN(10) > 0
	if !answered {
		messages = messages[:s.random.IntN(len(messages)+1)]
	}
	if w.subscribed {
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
	for ; most > 0 && len(w.queue) > 0; most-- {
		m := w.queue[0]
		w.queue = w.queue[1:]
		if m[:2] == "hb" {
			s.a.heartbeatCame(&subscriber{node: n}, m[2:])
		} else {
			s.a.envelopeCame(n, m)
		}
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
	case x < 4 && w.settled:
		s.lose(i)
	case x < 4+20 && !w.settled && w.up:
		s.settle(i)
	case x < 4+20+3:
		if w.up = !w.up; !w.up {
			w.subscribed = false // a sees it later, and gets what is on the way until then
		}
	case x < 100 && !w.up && w.settled:
		s.lose(i)
	case x < 300:
		s.publish()
	case x < 450:
		s.pipeline(i)
	case x < 600:
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
		if w.up = true; !w.settled || !w.subscribed {
			if w.settled {
				s.lose(i)
			}
			s.settle(i)
		}
	}
	for range 400 {
		for i := range s.wires {
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
	last := make(map[string]int)
	seen := make(map[int]bool)
	for _, n := range s.got.got {
		if seen[n] {
			return fmt.Errorf("%d came twice", n)
		}
		seen[n] = true
		if !s.want[n] {
			return fmt.Errorf("%d came although nobody has joined %v", n, s.on[n])
		}
		for _, channel := range s.on[n] {
			if slices.Contains(simChannels[:6], channel) {
				if last[channel] > n {
					return fmt.Errorf("%d came after %d on %s", n, last[channel], channel)
				}
				last[channel] = n
			}
		}
	}
	for n := 1; n <= s.n; n++ {
		if s.want[n] && !seen[n] {
			return fmt.Errorf("%d of %d did not come", n, s.n)
		}
	}
	if s.got.gaps > 0 {
		return fmt.Errorf("%d gaps", s.got.gaps)
	}
	return nil
}

func TestBusSimulation(t *testing.T) {
	const seeds = 300
	healed := int64(0)
	for seed := range uint64(seeds) {
		synctest.Test(t, func(t *testing.T) {
			s := newSimulation(t, seed)
			for range 4_000 {
				s.step()
			}
			s.finish()
			if err := s.check(); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
			stats := s.a.Stats()
			if healed += stats.Healed; stats.Healing != 0 {
				t.Errorf("seed %d: it does not end: %+v", seed, stats)
			}
		})
		if t.Failed() {
			return
		}
	}
	if healed < seeds {
		t.Errorf("only %d healings in %d seeds: the simulation breaks too little", healed, seeds)
	}
}
