package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"logux-proxy/wire"
)

// eventually waits until something is so.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("in vain: %s", what)
		}
	}
}

// A testMesh joins buses in memory. Frames of a pair arrive in order; those to or from a server that is cut
// off get lost.
type testMesh struct {
	mu    sync.Mutex
	ports map[wire.NodeID]*meshPort
	cut   map[wire.NodeID]bool
}

type meshPort struct {
	mesh   *testMesh
	id     wire.NodeID
	frames chan meshFrame
	bus    atomic.Pointer[Bus]
}

type meshFrame struct {
	from  wire.NodeID
	frame []byte
}

func newTestMesh() *testMesh {
	return &testMesh{ports: make(map[wire.NodeID]*meshPort), cut: make(map[wire.NodeID]bool)}
}

// attach gives a server its place until the test ends.
func (m *testMesh) attach(t *testing.T, id wire.NodeID) *meshPort {
	t.Helper()
	p := &meshPort{mesh: m, id: id, frames: make(chan meshFrame, 10_000)}
	m.mu.Lock()
	m.ports[id] = p
	m.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for f := range p.frames {
			if b := p.bus.Load(); b != nil {
				b.ReceiveFrame(f.from, f.frame)
			}
		}
	}()
	t.Cleanup(func() {
		m.detach(id)
		close(p.frames)
		<-done
	})
	return p
}

func (m *testMesh) detach(id wire.NodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.ports, id)
}

func (p *meshPort) Peers() (ids []wire.NodeID) {
	p.mesh.mu.Lock()
	defer p.mesh.mu.Unlock()
	for id := range p.mesh.ports {
		if id != p.id && !p.mesh.cut[id] && !p.mesh.cut[p.id] {
			ids = append(ids, id)
		}
	}
	return ids
}

func (p *meshPort) Send(to wire.NodeID, frame []byte) error {
	p.mesh.mu.Lock()
	defer p.mesh.mu.Unlock()
	other := p.mesh.ports[to]
	if other == nil || p.mesh.cut[to] || p.mesh.cut[p.id] {
		return ErrNoPeer
	}
	select {
	case other.frames <- meshFrame{p.id, frame}:
		return nil
	default:
		return ErrBacklog
	}
}

// A busServer is a bus of a test, what it published and what came to it.
type busServer struct {
	t   *testing.T
	id  wire.NodeID
	bus *Bus

	mu   sync.Mutex
	gaps int
	got  map[wire.NodeID][]int // numbers of the actions, by author, in the order of their coming
	// published are the numbers that this server has published on each channel.
	published int
}

// Receive implements BusReceiver.
func (s *busServer) Receive(e *wire.Envelope) {
	var body struct {
		From wire.NodeID
		N    int
	}
	if err := json.Unmarshal(e.Action.Body, &body); err != nil || body.From != e.Origin {
		s.t.Errorf("%s got %+v: %v", s.id, e, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got[body.From] = append(s.got[body.From], body.N)
}

// Gap implements BusReceiver.
func (s *busServer) Gap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gaps++
}

func (s *busServer) lostSomething() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gaps
}

func (s *busServer) from(id wire.NodeID) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got[id])
}

// publish sends the next action to channels.
func (s *busServer) publish(channels ...string) {
	s.mu.Lock()
	s.published++
	n := s.published
	s.mu.Unlock()
	e := &wire.Envelope{
		Action:  &wire.Action{ID: wire.FormatActionID(int64(n), s.id, 0), Body: fmt.Appendf(nil, `{"type":"a","from":%q,"n":%d}`, s.id, n)},
		Targets: wire.Targets{Channels: channels},
	}
	if err := s.bus.Publish(e); err != nil {
		s.t.Errorf("publishing: %v", err)
	}
}

// join waits until envelopes for channels are sure to come.
func (s *busServer) join(channels ...string) {
	s.t.Helper()
	var wait sync.WaitGroup
	for _, channel := range channels {
		wait.Add(1)
		s.bus.Join(wire.ChannelTopic(channel), func(err error) {
			if err != nil {
				s.t.Errorf("joining %s: %v", channel, err)
			}
			wait.Done()
		})
	}
	wait.Wait()
}

// testHeartbeat is short, so that tests are.
const testHeartbeat = 200 * time.Millisecond

// testLog writes what buses say to the log of the test.
func testLog(t *testing.T) *zap.Logger {
	t.Helper()
	return zaptest.NewLogger(t, zaptest.Level(zap.InfoLevel))
}

// startServer runs a bus until the test ends.
func startServer(t *testing.T, url string, mesh *testMesh, id wire.NodeID, change ...func(*BusConfig)) *busServer {
	t.Helper()
	r, err := ParseRedis(url)
	if err != nil {
		t.Fatal(err)
	}
	s := &busServer{t: t, id: id, got: make(map[wire.NodeID][]int)}
	c := BusConfig{Redis: r, Server: id, Receiver: s, Heartbeat: testHeartbeat, Log: testLog(t).Named(string(id))}
	var port *meshPort
	if mesh != nil {
		port = mesh.attach(t, id)
		c.Mesh = port
	}
	for _, f := range change {
		f(&c)
	}
	if s.bus, err = NewBus(c); err != nil {
		t.Fatal(err)
	}
	if port != nil {
		port.bus.Store(s.bus)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.bus.Run(ctx)
	}()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s: %+v", id, s.bus.Stats())
			s.bus.eachOrigin(func(o *origin) {
				o.mu.Lock()
				defer o.mu.Unlock()
				t.Logf("%s knows %s: healing %v, ready %v, held %d, parked %d, cursor %d", id, o.id, o.healing, o.ready, len(o.held), len(o.parked), o.cursor)
			})
		}
		cancel()
		<-done
	})
	return s
}

// startServers runs n buses on one Redis and mesh and waits until they are well.
func startServers(t *testing.T, url string, n int, change ...func(*BusConfig)) ([]*busServer, *testMesh) {
	t.Helper()
	mesh := newTestMesh()
	var servers []*busServer
	for i := range n {
		servers = append(servers, startServer(t, url, mesh, wire.NodeID(fmt.Sprintf("server:%c", 'a'+i)), change...))
	}
	waitState(t, BusOK, servers...)
	return servers, mesh
}

func waitState(t *testing.T, state BusState, servers ...*busServer) {
	t.Helper()
	for _, s := range servers {
		eventually(t, fmt.Sprintf("%s is %s", s.id, state), func() bool { return s.bus.Stats().State == state })
	}
}

// A stream publishes on all servers without end: each action goes to a channel that all have joined, and some to
// others too.
type stream struct {
	servers []*busServer
	stop    chan struct{}
	running sync.WaitGroup
}

// channels are joined by every server of a stream, and spread over several servers of Redis.
var channels = []string{"all", "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"}

func startStream(t *testing.T, servers []*busServer) *stream {
	t.Helper()
	st := &stream{servers: servers, stop: make(chan struct{})}
	for _, s := range servers {
		s.join(channels...)
	}
	for _, s := range servers {
		st.running.Go(func() {
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			for n := 0; ; n++ {
				select {
				case <-st.stop:
					return
				case <-tick.C:
				}
				if n%3 == 0 {
					s.publish("all", channels[1+n/3%8], "nobody")
				} else {
					s.publish("all")
				}
			}
		})
	}
	t.Cleanup(st.end)
	st.flows(t)
	return st
}

func (st *stream) end() {
	select {
	case <-st.stop:
	default:
		close(st.stop)
	}
	st.running.Wait()
}

// flows waits until something published from now on has come everywhere.
func (st *stream) flows(t *testing.T) {
	t.Helper()
	for _, from := range st.servers {
		from.mu.Lock()
		n := from.published + 50
		from.mu.Unlock()
		for _, to := range st.servers {
			if to != from {
				eventually(t, fmt.Sprintf("%d of %s comes to %s", n, from.id, to.id), func() bool {
					got := to.from(from.id)
					return len(got) > 0 && got[len(got)-1] >= n
				})
			}
		}
	}
}

// check ends the stream: nothing was lost, nothing came twice, everything in order.
func (st *stream) check(t *testing.T) {
	t.Helper()
	st.end()
	for _, from := range st.servers {
		for _, to := range st.servers {
			if to == from {
				continue
			}
			eventually(t, fmt.Sprintf("all %d of %s come to %s (%d came)", from.published, from.id, to.id, len(to.from(from.id))), func() bool {
				return len(to.from(from.id)) >= from.published
			})
			got := to.from(from.id)
			for i, n := range got {
				if n != i+1 {
					t.Fatalf("of %s came to %s: %d as number %d; that one came %d. of %d", from.id, to.id, n, i+1, slices.Index(got, i+1)+1, len(got))
				}
			}
			if n := len(to.from(from.id)); n != from.published {
				t.Errorf("%s published %d, %d came to %s", from.id, from.published, n, to.id)
			}
		}
	}
	for _, s := range st.servers {
		if n := s.lostSomething(); n != 0 {
			t.Errorf("%s was told of %d gaps", s.id, n)
		}
	}
}

func TestBusSingle(t *testing.T) {
	redis := startRedis(t)
	servers, _ := startServers(t, "redis://"+redis.addr, 3)
	st := startStream(t, servers)
	st.check(t)
}
