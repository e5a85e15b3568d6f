package cluster

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"logux-proxy/wire"
)

// "A receiver has to answer announcements as long as Redis counts it": one that left a topic and lingers is counted,
// and gets what it is counted for.
func TestBusAnnounceReachesWhoLingers(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	mesh := newTestMesh()
	a, b := &guest{id: "server:a"}, &guest{id: "server:b"}
	for _, g := range []*guest{a, b} {
		s := startServer(t, "redis://"+r.addr, mesh, g.id, func(c *BusConfig) {
			c.Receiver, c.Heartbeat, c.Linger = g, time.Second, time.Hour
		})
		waitState(t, BusOK, s)
		g.place = s.bus
	}
	a.joined(t, "ch:x")
	b.joined(t, "ch:x")
	a.Leave("ch:x")
	b.Leave("ch:x")
	if n := a.announce(newer+7, "x"); n != 1 {
		t.Errorf("%d others are counted", n)
	}
	eventually(t, "it comes to who lingers", func() bool { return len(b.kinds()) == 1 })
}

// Nobody knows who gets an announcement while Redis is away; it comes over the mesh all the same.
func TestBusAnnounceWithoutRedis(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	mesh := newTestMesh()
	a, b := &guest{id: "server:a"}, &guest{id: "server:b"}
	var servers []*busServer
	for _, g := range []*guest{a, b} {
		s := startServer(t, "redis://"+r.addr, mesh, g.id, func(c *BusConfig) { c.Receiver = g })
		waitState(t, BusOK, s)
		g.place = s.bus
		servers = append(servers, s)
	}
	b.joined(t, "ch:x")
	// It does not answer, and nobody has noticed.
	r.signal(syscall.SIGSTOP)
	if n := a.announce(newer+1, "x"); n != -1 {
		t.Errorf("while Redis does not answer: %d", n)
	}
	waitState(t, BusDown, servers...)
	if n := a.announce(newer+2, "x"); n != -1 {
		t.Errorf("while Redis is known to be away: %d", n)
	}
	eventually(t, "both come", func() bool { return len(b.kinds()) == 2 })
}

// A subscription that Redis ended a moment ago does not make others fewer.
func TestBusAnnounceOnABrokenConnection(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startProxy(t, r.addr)
	mesh := newTestMesh()
	g := &guest{id: "server:a"}
	s := startServer(t, "redis://"+p.addr, mesh, g.id, func(c *BusConfig) { c.Receiver, c.Heartbeat = g, time.Second })
	waitState(t, BusOK, s)
	g.place = s.bus
	g.joined(t, "ch:x")
	goOn := p.stall() // Redis' word about it does not come
	defer goOn()
	r.do("client", "kill", "type", "pubsub")
	client := r.client()
	defer func() { _ = client.Close() }()
	other := client.Subscribe(t.Context(), "logux:ch:x")
	defer func() { _ = other.Close() }()
	if _, err := other.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := g.announce(newer+1, "x"); n != -1 {
		t.Errorf("%d others", n)
	}
}

// Nobody knows who gets an announcement while another server's connection is broken.
func TestBusAnnounceWhileAnotherServerIsCutOff(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startProxy(t, r.addr)
	mesh := newTestMesh()
	a, b := &guest{id: "server:a"}, &guest{id: "server:b"}
	one := startServer(t, "redis://"+r.addr, mesh, a.id, func(c *BusConfig) { c.Receiver = a })
	two := startServer(t, "redis://"+p.addr, mesh, b.id, func(c *BusConfig) { c.Receiver = b })
	waitState(t, BusOK, one, two)
	a.place, b.place = one.bus, two.bus
	b.joined(t, "ch:x")
	eventually(t, "it is counted", func() bool { return a.announce(newer+1, "x") == 1 })
	nowhere := "127.0.0.1:1"
	p.to.Store(&nowhere)
	p.cut()
	eventually(t, "Redis knows", func() bool { return len(subscribed(r)) == 0 })
	if n := a.announce(newer+2, "x"); n != -1 {
		t.Errorf("while b is cut off: %d", n)
	}
	eventually(t, "b gets it over the mesh", func() bool { return slices.Contains(b.kinds(), newer+2) })
	p.to.Store(&r.addr)
	eventually(t, "it is counted again", func() bool { return a.announce(newer+3, "x") == 1 })
}

// done is called once, however an announcement ends.
func TestBusAnnounceEnds(t *testing.T) {
	r, err := ParseRedis("redis://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewBus(BusConfig{Redis: r, Server: "server:a", Receiver: &guest{}})
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	done := func(n int) { got = append(got, n) }
	b.Announce(&wire.Envelope{Kind: newer, Targets: wire.Targets{Channels: []string{"x", "y"}}}, done)
	if len(got) != 1 || got[0] != -1 || b.ring.head() != 0 {
		t.Errorf("with two topics: %v", got)
	}
	n := b.layout.Load().nodes[0]
	n.mu.Lock()
	n.mu.settled = true
	n.mu.Unlock()
	one := &wire.Envelope{Kind: newer, Targets: wire.Targets{Channels: []string{"x"}}}
	for seq, x := range []struct {
		end  func(seq uint64)
		want int
	}{
		{func(seq uint64) { b.given(seq); b.counted(seq, 3, true); b.counted(seq, 4, true) }, 3},
		{func(seq uint64) { b.given(seq); b.counted(seq, 0, false); b.counted(seq, 4, true) }, -1},
		{func(uint64) { b.announcements.end(time.Now().Add(time.Hour)) }, -1},
		{func(seq uint64) { b.given(seq); b.counted(seq, 0, true) }, 0},
	} {
		got = nil
		b.Announce(one, done)
		if len(got) != 0 {
			t.Fatalf("%d: done too early: %v", seq, got)
		}
		x.end(uint64(seq + 1))
		b.announcements.end(time.Now().Add(time.Hour))
		if len(got) != 1 || got[0] != x.want {
			t.Errorf("%d: %v", seq, got)
		}
	}
	if n := b.announcements.open.Load(); n != 0 {
		t.Errorf("%d are left", n)
	}
	b.stopped.Store(true)
	got = nil
	if b.Announce(one, done); len(got) != 1 || got[0] != -1 {
		t.Errorf("after the end: %v", got)
	}
}

func TestLocalAnnounceDetached(t *testing.T) {
	p := NewLocal().Attach("server:a", &guest{})
	p.Detach()
	got := 0
	p.Announce(&wire.Envelope{Targets: wire.Targets{Channels: []string{"x"}}}, func(n int) { got = n })
	if got != -1 {
		t.Errorf("a detached server reaches %d", got)
	}
}
