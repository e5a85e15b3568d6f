package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"logux-proxy/wire"
)

// A gossipNet is a network in memory for servers, on memberlist's own, with faults. It is made for
// testing/synctest: hours of gossip take milliseconds.
type gossipNet struct {
	mock   memberlist.MockNetwork
	free   []*memberlist.MockTransport // made beforehand: the mock does not expect newcomers while it is used
	settle time.Duration               // how long servers that have ended may still send
	stop   chan struct{}
	wait   sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.
	cut    func(from, to string) bool // addresses
	noUDP  bool
	frozen map[string]bool   // addresses where nobody reads
	places map[string]string // addresses in the mock
}

func newGossipNet(t testing.TB) *gossipNet {
	t.Helper()
	n := &gossipNet{settle: time.Minute, stop: make(chan struct{}), frozen: make(map[string]bool), places: make(map[string]string)}
	for range 16 {
		n.free = append(n.free, n.mock.NewTransport(fmt.Sprint(len(n.free))))
	}
	t.Cleanup(func() {
		<-time.After(n.settle) // memberlist does not wait for the probes that it has under way
		close(n.stop)
		n.wait.Wait()
	})
	return n
}

// partition lets servers talk only within their group. No groups: everybody with everybody.
func (n *gossipNet) partition(groups ...[]*gossiper) {
	group := make(map[string]int)
	for i, servers := range groups {
		for _, s := range servers {
			group[s.addr] = i + 1
		}
	}
	n.cutWhere(func(from, to string) bool { return group[from] != group[to] })
}

func (n *gossipNet) cutWhere(cut func(from, to string) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = cut
}

func (n *gossipNet) isCut(from, to string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut != nil && n.cut(from, to)
}

func (n *gossipNet) freeze(s *gossiper, frozen bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.frozen[s.addr] = frozen
}

func (n *gossipNet) isFrozen(addr string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.frozen[addr]
}

// transport returns the place of one server.
func (n *gossipNet) transport() *faultyTransport {
	mock := n.free[0]
	n.free = n.free[1:]
	f := &faultyTransport{MockTransport: mock, net: n, packets: make(chan *memberlist.Packet, 1024), streams: make(chan net.Conn), down: make(chan struct{})}
	_, place, _ := mock.FinalAdvertiseAddr("", 0)
	f.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(place)}), gossipPort).String()
	n.mu.Lock()
	n.places[f.addr] = fmt.Sprintf("127.0.0.1:%d", place)
	n.mu.Unlock()
	n.wait.Go(f.pumpPackets)
	n.wait.Go(f.pumpStreams)
	return f
}

// gossipPort is the port of every server on a gossipNet. The first has the address 10.0.0.1, the next 10.0.0.2.
const gossipPort = 7946

// mockAddr is where the mock has the server that our servers know under addr.
func (n *gossipNet) mockAddr(addr string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if at, ok := n.places[addr]; ok {
		return at
	}
	return "nowhere"
}

// A faultyTransport is a mock transport whose network can be broken, and which can be shut down without
// stopping those that send to it.
type faultyTransport struct {
	*memberlist.MockTransport
	net     *gossipNet
	addr    string
	packets chan *memberlist.Packet
	streams chan net.Conn
	once    sync.Once
	down    chan struct{}
}

func (f *faultyTransport) pumpPackets() {
	for {
		select {
		case <-f.net.stop:
			return
		case p := <-f.MockTransport.PacketCh():
			if f.net.isFrozen(f.addr) {
				continue
			}
			select {
			case f.packets <- p:
			default: // as the kernel does it: two servers that wait for each other would stand still
			}
		}
	}
}

func (f *faultyTransport) pumpStreams() {
	for {
		select {
		case <-f.net.stop:
			return
		case c := <-f.MockTransport.StreamCh():
			select {
			case f.streams <- c:
			case <-f.down:
				_ = c.Close()
			}
		}
	}
}

func (f *faultyTransport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	ap := netip.MustParseAddrPort(f.addr)
	return ap.Addr().AsSlice(), int(ap.Port()), nil
}

func (f *faultyTransport) PacketCh() <-chan *memberlist.Packet { return f.packets }
func (f *faultyTransport) StreamCh() <-chan net.Conn           { return f.streams }

func (f *faultyTransport) Shutdown() error {
	f.once.Do(func() { close(f.down) })
	return nil
}

func (f *faultyTransport) WriteTo(b []byte, addr string) (time.Time, error) {
	f.net.mu.Lock()
	drop := f.net.noUDP
	f.net.mu.Unlock()
	if drop || f.net.isCut(f.addr, addr) {
		return time.Now(), nil
	}
	return f.MockTransport.WriteTo(bytes.Clone(b), f.net.mockAddr(addr))
}

func (f *faultyTransport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return f.WriteTo(b, a.Addr)
}

var errTimeout = errors.New("time-out")

func (f *faultyTransport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	if f.net.isCut(f.addr, addr) || f.net.isCut(addr, f.addr) { // no handshake
		select {
		case <-time.After(timeout):
		case <-f.down:
		}
		return nil, errTimeout
	}
	if f.net.isFrozen(addr) { // the kernel accepts, and nobody reads
		ours, theirs := net.Pipe()
		_ = theirs.SetDeadline(time.Now().Add(time.Minute))
		return ours, nil
	}
	return f.MockTransport.DialTimeout(f.net.mockAddr(addr), timeout)
}

func (f *faultyTransport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return f.DialTimeout(a.Addr, timeout)
}

// A gossiper is one member of a test's cluster.
type gossiper struct {
	members *Members
	links   *Links
	addr    string
	stop    func() // ends it as SIGTERM would, and waits

	mu sync.Mutex
	// Guarded by mu.
	frames map[wire.NodeID][]string
	came   chan struct{}
	hold   chan struct{} // while it is not nil and open, frames are not taken
}

// start runs a server until the test ends or stop is called.
func start(t testing.TB, name string, change func(*MembersConfig), links LinksConfig) *gossiper {
	t.Helper()
	c := MembersConfig{Self: wire.NewServerID(wire.NodeID("server:"+name), time.Now()), Bind: "127.0.0.1:0", Meta: Meta{Release: "1.0"}}
	change(&c)
	m, err := NewMembers(c)
	if err != nil {
		t.Fatal(err)
	}
	s := &gossiper{members: m, frames: make(map[wire.NodeID][]string), came: make(chan struct{}, 1)}
	s.links = NewLinks(links, m)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	running.Go(func() { s.links.Run(ctx) })
	s.stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(s.stop)
	select {
	case <-m.Started():
	case <-time.After(waitTime):
		t.Fatalf("%s did not start", name)
	}
	s.addr = m.Addr().String()
	return s
}

// on returns a change for start: the server is on this network and knows those servers.
func (n *gossipNet) on(t *testing.T, name string, join ...*gossiper) *gossiper {
	t.Helper()
	return n.with(t, name, func(c *MembersConfig) {
		for _, s := range join {
			c.Join = append(c.Join, s.addr)
		}
	})
}

func (n *gossipNet) with(t *testing.T, name string, change func(*MembersConfig)) *gossiper {
	t.Helper()
	return start(t, name, func(c *MembersConfig) {
		c.transport = n.transport()
		c.Bind = fmt.Sprintf("127.0.0.1:%d", gossipPort)
		change(c)
	}, LinksConfig{})
}

// waitTime is the longest that a test waits; with testing/synctest it is not real.
const waitTime = 30 * time.Second

// until waits for a view with a property and reports whether it came.
func (s *gossiper) until(within time.Duration, good func(*View) bool) bool {
	deadline := time.After(within)
	for {
		v := s.members.View()
		if good(v) {
			return true
		}
		select {
		case <-v.Changed():
		case <-deadline:
			return good(s.members.View())
		}
	}
}

// wantPeers waits until s has exactly these peers.
func (s *gossiper) wantPeers(t testing.TB, within time.Duration, peers ...*gossiper) {
	t.Helper()
	var want []wire.ServerID
	for _, p := range peers {
		want = append(want, p.members.Self())
	}
	slices.Sort(want)
	if !s.until(within, func(v *View) bool { return slices.Equal(s.others(v), want) }) {
		t.Fatalf("%s has the peers %v after %v, want %v", s.members.Self(), s.others(s.members.View()), within, want)
	}
}

func (s *gossiper) others(v *View) (ids []wire.ServerID) {
	for _, m := range v.Members {
		if m.ID != s.members.Self() {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// met waits until each of servers has all others.
func met(t testing.TB, within time.Duration, servers ...*gossiper) {
	t.Helper()
	for _, s := range servers {
		s.wantPeers(t, within, without(servers, s)...)
	}
}

func without(servers []*gossiper, s *gossiper) []*gossiper {
	return slices.DeleteFunc(slices.Clone(servers), func(o *gossiper) bool { return o == s })
}
