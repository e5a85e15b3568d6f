package cluster

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"logux-proxy/wire"
)

// Of two servers of Redis one is slower for one of ours, now this, now that one. What comes through both stays in order.
func TestBusOrderOverTwoServers(t *testing.T) {
	t.Parallel()
	one, two := startRedis(t), startRedis(t)
	p, q := startProxy(t, one.addr), startProxy(t, two.addr)
	// Nothing else than the two brings anything: there is no mesh, and nobody loses patience.
	url, slowly := "redis://"+p.addr+",redis://"+q.addr, func(c *BusConfig) { c.Heartbeat = time.Minute }
	a, b := startServer(t, url, nil, "server:a", slowly), startServer(t, url, nil, "server:b", slowly)
	waitState(t, BusOK, a, b)
	names := make([]string, 20)
	for i := range names {
		names[i] = fmt.Sprint("c", i)
	}
	a.join(names...)
	n := 0
	for round := range 20 {
		slow := []*proxy{p, q}[round%2]
		goOn := slow.stall()
		before := len(a.from("server:b"))
		for i := range 50 {
			switch n++; i % 3 {
			case 0:
				b.publish("c0", names[n%20], names[n*7%20])
			case 1:
				b.publish("c0")
			default:
				b.publish("c0", "c1", "c2", "c3", "c4", "c5", "c6")
			}
		}
		eventually(t, "Redis has them", func() bool { return b.bus.withRedis() == uint64(n) })
		goOn()
		eventually(t, "they come", func() bool { return len(a.from("server:b")) == before+50 })
	}
	for i, got := range a.from("server:b") {
		if got != i+1 {
			t.Fatalf("%d came as number %d", got, i+1)
		}
	}
	if s := a.bus.Stats(); s.Replayed+s.Direct+s.Lost != 0 || s.Gaps != 0 {
		t.Errorf("%+v", s)
	}
}

// A server that is started again under its ID counts its envelopes anew.
func TestBusServerStartsAgain(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	mesh := newTestMesh()
	a := startServer(t, "redis://"+r.addr, mesh, "server:a")
	waitState(t, BusOK, a)
	a.join("x")
	for life := range 3 {
		t.Run(fmt.Sprint("life ", life), func(t *testing.T) {
			b := startServer(t, "redis://"+r.addr, mesh, "server:b")
			waitState(t, BusOK, b)
			for range 10 {
				b.publish("x")
			}
			eventually(t, "all of it comes", func() bool { return len(a.from("server:b")) == 10*(life+1) })
		})
		eventually(t, "a sees that it is gone", func() bool { return !(*a.bus.peers.Load())["server:b"] })
	}
	if n := a.lostSomething(); n > 0 {
		t.Errorf("%d gaps although servers only came and went", n)
	}
}

// What was published before the end is published.
func TestBusStopsWhenAllIsPublished(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	mesh := newTestMesh()
	a := startServer(t, "redis://"+r.addr, mesh, "server:a")
	waitState(t, BusOK, a)
	a.join("x")
	var bus *Bus
	t.Run("short life", func(t *testing.T) {
		b := startServer(t, "redis://"+r.addr, mesh, "server:b")
		bus = b.bus
		waitState(t, BusOK, b)
		for range 5_000 {
			b.publish("x")
		}
	})
	eventually(t, "all of it comes", func() bool { return len(a.from("server:b")) == 5_000 })
	if err := bus.Publish(&wire.Envelope{Action: &wire.Action{}, Targets: wire.Targets{Channels: []string{"x"}}}); !errors.Is(err, ErrStopped) {
		t.Errorf("publishing after the end: %v", err)
	}
	called := 0
	bus.Join("ch:y", func(err error) {
		called++
		if !errors.Is(err, ErrStopped) {
			t.Errorf("joining after the end: %v", err)
		}
	})
	if called != 1 {
		t.Errorf("done was called %d times", called)
	}
}

// A join that waits when the bus ends is told.
func TestBusEndsJoins(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startProxy(t, r.addr)
	result := make(chan error, 1)
	t.Run("life", func(t *testing.T) {
		s := startServer(t, "redis://"+p.addr, nil, "server:a", func(c *BusConfig) { c.Heartbeat = time.Minute })
		waitState(t, BusOK, s)
		goOn := p.stall()
		t.Cleanup(goOn)
		s.bus.Join("ch:first", func(error) {}) // what Redis said before may still come
		s.bus.Join("ch:x", func(err error) { result <- err })
	})
	if err := <-result; err != nil && !errors.Is(err, ErrStopped) {
		t.Errorf("joining ended with %v", err)
	}
}

// "A Redis that does not answer costs bounded memory and delays nobody": what is published is kept within bounds, and
// the newest of it is published late.
func TestBusIsBounded(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	const keep = 1 << 20
	mesh := newTestMesh()
	a := startServer(t, "redis://"+r.addr, mesh, "server:a", func(c *BusConfig) { c.KeepBytes = keep })
	b := startServer(t, "redis://"+r.addr, mesh, "server:b")
	waitState(t, BusOK, a, b)
	b.join("x")
	mesh.mu.Lock()
	mesh.cut["server:a"] = true
	mesh.mu.Unlock()
	r.signal(syscall.SIGSTOP)
	for range 20_000 {
		a.publish("x")
	}
	a.bus.ring.mu.Lock()
	bytes := a.bus.ring.mu.bytes
	a.bus.ring.mu.Unlock()
	if bytes > keep {
		t.Errorf("%d bytes are kept", bytes)
	}
	r.signal(syscall.SIGCONT)
	eventually(t, "the last one comes", func() bool {
		got := b.from("server:a")
		return len(got) > 0 && got[len(got)-1] == 20_000
	})
	eventually(t, "b is told that some are missing", func() bool { return b.lostSomething() > 0 })
	if a.bus.Stats().Expired == 0 {
		t.Error("nothing expired")
	}
}

func TestBusRefuses(t *testing.T) {
	r, err := ParseRedis("redis://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{}
	for name, c := range map[string]BusConfig{
		"no Redis":    {Server: "server:a", Receiver: g},
		"no receiver": {Server: "server:a", Redis: r},
		"no server":   {Redis: r, Receiver: g},
		"a client":    {Server: "38:a:b", Redis: r, Receiver: g},
	} {
		if _, err := NewBus(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	b, err := NewBus(BusConfig{Redis: r, Server: "server:a", Receiver: g})
	if err != nil {
		t.Fatal(err)
	}
	long := &wire.Envelope{Action: &wire.Action{ID: "1 a 0", Body: make(wire.RawJSON, maxPublished)}, Targets: wire.Targets{Channels: []string{"x"}}}
	if err := b.Publish(long); !errors.Is(err, ErrEnvelopeSize) {
		t.Errorf("an envelope that is too long: %v", err)
	}
	if err := b.Publish(&wire.Envelope{Action: &wire.Action{}}); err != nil || b.ring.head() != 0 {
		t.Errorf("an envelope for nobody: %v", err)
	}
}

// While Redis is away nobody waits, and the bus says what is wrong.
func TestBusWithoutRedis(t *testing.T) {
	t.Parallel()
	mesh := newTestMesh()
	a, b := startServer(t, "redis://127.0.0.1:1", mesh, "server:a"), startServer(t, "redis://127.0.0.1:1", mesh, "server:b")
	a.join("x")
	b.publish("x")
	eventually(t, "it comes over the mesh", func() bool { return len(a.from("server:b")) == 1 })
	eventually(t, "it says what is wrong", func() bool {
		s := a.bus.Stats()
		return s.State == BusDown && len(s.Connections) == 1 && !s.Connections[0].Healthy && strings.Contains(s.Connections[0].Error, "refused")
	})
}

// One Redis command for each topic, and heartbeats: nothing else is sent for an envelope.
func TestBusCommandsOfAnEnvelope(t *testing.T) {
	r := startRedis(t)
	servers, _ := startServers(t, "redis://"+r.addr, 2, func(c *BusConfig) { c.Heartbeat = time.Minute })
	a, b := servers[0], servers[1]
	a.join("x", "y")
	published, all := commandCalls(r, "publish"), calls(r)
	for range 500 {
		b.publish("x", "y")
	}
	eventually(t, "all of it comes", func() bool { return len(a.from("server:b")) == 500 })
	if n := commandCalls(r, "publish") - published; n != 1_000 {
		t.Errorf("%d times published", n)
	}
	if n := calls(r) - all; n > 1_010 { // and what the test itself asks
		t.Errorf("%d commands", n)
	}
	// At the start they may come past Redis as well.
	eventually(t, "all second copies come", func() bool {
		s := a.bus.Stats()
		return s.Received == 500 && s.Duplicates == 500+s.Direct
	})
}

// calls returns how many commands a Redis ran.
func calls(p *redisProcess) int {
	p.t.Helper()
	_, rest, _ := strings.Cut(fmt.Sprint(p.do("info", "stats")), "total_commands_processed:")
	n := 0
	if _, err := fmt.Sscan(rest, &n); err != nil {
		p.t.Fatal(err)
	}
	return n
}

// Publishing takes the envelope's memory and little else.
func TestBusPublishAllocations(t *testing.T) {
	r, err := ParseRedis("redis://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewBus(BusConfig{Redis: r, Server: "server:a", Receiver: &guest{}, KeepBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	e := &wire.Envelope{
		Action:  &wire.Action{ID: "1 38:a:b 0", Body: wire.RawJSON(`{"type":"a"}`), Type: "a"},
		Targets: wire.Targets{Channels: []string{"posts/1"}},
	}
	for range 20_000 {
		_ = b.Publish(e)
	}
	// The name of the topic, the lists of them as names and as places, the stamped envelope, and its bytes.
	if n := testing.AllocsPerRun(10_000, func() { _ = b.Publish(e) }); n > 6 {
		t.Errorf("%v allocations", n)
	}
}
