package cluster

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"logux-proxy/wire"
)

// "A Redis restart, failover or partition heals without a lost delivery." Each test makes three servers publish to each
// other all the time, breaks something, waits until it is noticed and mended, and looks at what came where.

// Redis is killed, away for a while, and comes back empty.
func TestBusKill(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	servers, _ := startServers(t, "redis://"+r.addr, 3)
	st := startStream(t, servers)
	for range 2 {
		r.kill()
		waitState(t, BusDown, servers...)
		st.flows(t) // past Redis
		for _, s := range servers {
			s.join("while it is away") // is not kept waiting
		}
		r.start()
		waitState(t, BusOK, servers...)
		st.flows(t)
	}
	st.check(t)
	for _, s := range servers {
		if stats := s.bus.Stats(); stats.Gaps < 2 || stats.Direct+stats.Replayed == 0 || stats.Healed < 2 {
			t.Errorf("%s: %+v", s.id, stats)
		}
	}
}

// Redis stands still: connections stay, and the kernel goes on acknowledging.
func TestBusStop(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	servers, _ := startServers(t, "redis://"+r.addr, 3)
	st := startStream(t, servers)
	r.signal(syscall.SIGSTOP)
	waitState(t, BusDown, servers...)
	st.flows(t)
	r.signal(syscall.SIGCONT)
	waitState(t, BusOK, servers...)
	st.flows(t)
	st.check(t)
}

// Redis cuts the connections that are subscribed, again and again.
func TestBusClientKill(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	servers, _ := startServers(t, "redis://"+r.addr, 3)
	st := startStream(t, servers)
	for range 5 {
		before := servers[0].bus.Stats().Reconnects
		r.do("client", "kill", "type", "pubsub")
		eventually(t, "the break is noticed", func() bool { return servers[0].bus.Stats().Reconnects > before })
		waitState(t, BusOK, servers...)
	}
	st.check(t)
}

// The password changes while everything runs: nothing breaks, and new connections log in with the new one.
func TestBusPasswordChanges(t *testing.T) {
	t.Parallel()
	url, r := startTLS(t)
	servers, _ := startServers(t, url, 3)
	st := startStream(t, servers)
	r.do("acl", "setuser", "logux", ">changed")
	for _, s := range servers {
		if err := s.bus.cfg.Redis.Relogin(strings.Replace(url, ":secret@", ":changed@", 1)); err != nil {
			t.Fatal(err)
		}
	}
	r.do("acl", "setuser", "logux", "<secret")
	st.flows(t)
	for _, s := range servers {
		if n := s.bus.Stats().Reconnects; n != 0 {
			t.Errorf("%s has connected again %d times", s.id, n)
		}
	}
	r.do("client", "kill", "user", "logux")
	for _, s := range servers {
		eventually(t, "the break is noticed", func() bool { return s.bus.Stats().Reconnects > 0 })
	}
	waitState(t, BusOK, servers...)
	st.flows(t)
	st.check(t)
}

// A subscribed connection brings nothing any more, and nobody closes it.
func TestBusSwallowed(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startProxy(t, r.addr)
	servers := oneBehindProxy(t, r, p)
	st := startStream(t, servers)
	p.swallow.Store(true)
	eventually(t, "it is noticed", func() bool { return servers[1].bus.Stats().State != BusOK })
	st.flows(t)
	p.swallow.Store(false)
	waitState(t, BusOK, servers...)
	st.flows(t)
	st.check(t)
}

// oneBehindProxy starts three servers whose bus is well; the second reaches Redis through p.
func oneBehindProxy(t *testing.T, r *redisProcess, p *proxy) []*busServer {
	t.Helper()
	mesh := newTestMesh()
	servers := []*busServer{
		startServer(t, "redis://"+r.addr, mesh, "server:a"),
		startServer(t, "redis://"+p.addr, mesh, "server:b"),
		startServer(t, "redis://"+r.addr, mesh, "server:c"),
	}
	waitState(t, BusOK, servers...)
	return servers
}

// One server loses its way to Redis; the others do not.
func TestBusCutOff(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startProxy(t, r.addr)
	servers := oneBehindProxy(t, r, p)
	st := startStream(t, servers)
	nowhere := "127.0.0.1:1"
	p.to.Store(&nowhere)
	p.cut()
	waitState(t, BusDown, servers[1])
	st.flows(t)
	p.to.Store(&r.addr)
	waitState(t, BusOK, servers...)
	st.flows(t)
	st.check(t)
}

// Another, empty Redis stands behind the address: one server is there already, another is still on the old one. Each of
// them gets its own heartbeats back.
func TestBusOtherRedis(t *testing.T) {
	t.Parallel()
	old, other := startRedis(t), startRedis(t)
	p := startProxy(t, old.addr)
	servers := oneBehindProxy(t, old, p)
	st := startStream(t, servers)
	p.to.Store(&other.addr)
	p.cut()
	eventually(t, "it is noticed", func() bool { return servers[1].bus.Stats().Healing == 2 && servers[0].bus.Stats().Healing == 1 })
	st.flows(t)
	p.to.Store(&old.addr)
	p.cut()
	waitState(t, BusOK, servers...)
	st.flows(t)
	st.check(t)
}

// A subscriber is stuck on a Redis that answers its PINGs but that nobody publishes on, as after a failover; what it
// publishes itself goes to the right one.
func TestBusSubscriberOnTheWrongRedis(t *testing.T) {
	t.Parallel()
	right, wrong := startRedis(t), startRedis(t)
	p := startProxy(t, right.addr)
	servers := oneBehindProxy(t, right, p)
	st := startStream(t, servers)
	before := servers[1].bus.Stats().Reconnects
	p.to.Store(&wrong.addr)
	p.cutSubscribed()
	// Its own heartbeats do not come back.
	eventually(t, "it is noticed", func() bool { return servers[1].bus.Stats().Reconnects >= before+2 })
	st.flows(t)
	p.to.Store(&right.addr)
	waitState(t, BusOK, servers...)
	st.flows(t)
	st.check(t)
}

// Sentinels make the replica the master.
func TestBusSentinelFailover(t *testing.T) {
	t.Parallel()
	url, master, replica := startSentinels(t)
	servers, _ := startServers(t, url, 3)
	st := startStream(t, servers)
	master.kill()
	eventually(t, "the replica is the master", func() bool {
		client := replica.client() // the Sentinels cut its connections
		defer func() { _ = client.Close() }()
		return strings.Contains(client.Info(t.Context(), "replication").Val(), "role:master")
	})
	waitState(t, BusOK, servers...)
	st.flows(t)
	st.check(t)
}

// A master of a Cluster is killed, and its replica takes its place.
func TestBusClusterFailover(t *testing.T) {
	t.Parallel()
	url, nodes := startCluster(t)
	servers, _ := startServers(t, url, 3)
	st := startStream(t, servers)
	dead := nodes[0]
	dead.kill()
	eventually(t, "a replica is a master", func() bool {
		for _, s := range servers {
			for _, c := range s.bus.Stats().Connections {
				if c.Redis == dead.addr {
					return false
				}
			}
		}
		return true
	})
	waitState(t, BusOK, servers...)
	st.flows(t)
	st.check(t)
	for _, s := range servers {
		if n := len(s.bus.Stats().Connections); n != 3 {
			t.Errorf("%s has connections to %d masters", s.id, n)
		}
	}
}

// Slots of a Cluster move to another master while they are used.
func TestBusClusterSlotsMove(t *testing.T) {
	t.Parallel()
	url, nodes := startCluster(t)
	servers, _ := startServers(t, url, 3)
	st := startStream(t, servers)
	from, to := nodes[0], nodes[1]
	fromID, toID := from.do("cluster", "myid").(string), to.do("cluster", "myid").(string)
	layout := servers[0].bus.layout.Load()
	for p := range partitions {
		if layout.owner[p].name != from.addr || p%8 != 0 {
			continue
		}
		slot := slotOf(hashTags()[p])
		to.do("cluster", "setslot", slot, "importing", fromID)
		from.do("cluster", "setslot", slot, "migrating", toID)
		for _, n := range []*redisProcess{to, from, nodes[2]} {
			n.do("cluster", "setslot", slot, "node", toID)
		}
	}
	for _, s := range servers {
		eventually(t, "the new layout is known", func() bool {
			l := s.bus.layout.Load()
			for p := range partitions {
				if layout.owner[p].name == from.addr && p%8 == 0 && l.owner[p].name != to.addr {
					return false
				}
			}
			return true
		})
	}
	waitState(t, BusOK, servers...)
	st.flows(t)
	st.check(t)
}

// Of two independent servers one dies; the topics of the other are served as before.
func TestBusTwoServersOneDies(t *testing.T) {
	t.Parallel()
	one, two := startRedis(t), startRedis(t)
	servers, _ := startServers(t, "redis://"+one.addr+",redis://"+two.addr, 3)
	st := startStream(t, servers)
	one.kill()
	waitState(t, BusDegraded, servers...)
	st.flows(t)
	one.start()
	waitState(t, BusOK, servers...)
	st.flows(t)
	st.check(t)
}

// Without a mesh a break cannot be healed, and the bus says so.
func TestBusGapWithoutMesh(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	a, b := startServer(t, "redis://"+r.addr, nil, "server:a"), startServer(t, "redis://"+r.addr, nil, "server:b")
	waitState(t, BusOK, a, b)
	a.join("x")
	eventually(t, "they know each other", func() bool {
		b.publish("x")
		return len(a.from("server:b")) > 0
	})
	r.kill()
	waitState(t, BusDown, a, b)
	r.start()
	waitState(t, BusOK, a, b)
	eventually(t, "a is told", func() bool { return a.lostSomething() > 0 })
	n := len(a.from("server:b"))
	b.publish("x")
	eventually(t, "it goes on", func() bool { return len(a.from("server:b")) > n })
}

// A peer whose ring is too short says so.
func TestBusGapOfAShortRing(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startProxy(t, r.addr)
	mesh := newTestMesh()
	a := startServer(t, "redis://"+p.addr, mesh, "server:a")
	b := startServer(t, "redis://"+r.addr, mesh, "server:b", func(c *BusConfig) { c.KeepBytes = 4 << 10 })
	waitState(t, BusOK, a, b)
	a.join("x")
	b.publish("x")
	eventually(t, "it flows", func() bool { return len(a.from("server:b")) == 1 })
	p.swallow.Store(true)
	mesh.mu.Lock()
	mesh.cut["server:a"] = true
	mesh.mu.Unlock()
	for range 1_000 {
		b.publish("x")
	}
	eventually(t, "all is published", func() bool { return b.bus.Stats().Connections[0].Waiting == 0 })
	p.swallow.Store(false)
	p.cut()
	mesh.mu.Lock()
	mesh.cut["server:a"] = false
	mesh.mu.Unlock()
	eventually(t, "a is told", func() bool { return a.lostSomething() > 0 })
	waitState(t, BusOK, a, b)
	b.publish("x")
	eventually(t, "it goes on", func() bool {
		got := a.from("server:b")
		return len(got) > 0 && got[len(got)-1] == 1_002
	})
}

// Somebody publishes on our channels what is no envelope.
func TestBusHostilePublisher(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	// Heartbeats at their usual pace: what is not ours is not replayed after a break, and could not be counted.
	servers, _ := startServers(t, "redis://"+r.addr, 3, func(c *BusConfig) { c.Heartbeat = 0 })
	st := startStream(t, servers)
	client := r.client()
	defer func() { _ = client.Close() }()
	whole := wire.AppendEnvelope(nil, &wire.Envelope{Origin: "server:x", Epoch: 1, Seq: 1, Action: &wire.Action{ID: "1 server:x 0", Body: wire.RawJSON("{}")}})
	n := 0
	send := func(channel string, text []byte) {
		t.Helper()
		if err := client.Publish(context.Background(), channel, text).Err(); err != nil {
			t.Fatal(err)
		}
		n++
	}
	for i := range whole {
		if i != len(whole)-2-len("{}") {
			send("logux:ch:all", append([]byte{255}, whole[:i]...))
		}
		send("logux:hb", whole[:i])
	}
	send("logux:ch:all", nil)
	send("logux:ch:all", bytes.Repeat([]byte("A"), 10<<20))
	send("logux:ch:all", bytes.Repeat([]byte{1, 11, 0}, 3<<20))
	send("logux:hb", bytes.Repeat([]byte{1}, 10<<20))
	send("logux:hb", (&heartbeat{}).append(nil))
	for _, s := range servers {
		eventually(t, "all of it is counted", func() bool { return s.bus.Stats().Undecodable >= int64(n) })
	}
	st.flows(t)
	st.check(t)
}

// Redis cuts a subscriber whose buffer is full: a burst is larger than what it may hold.
func TestBusOutputBufferLimit(t *testing.T) {
	t.Parallel()
	r := startRedis(t, "--client-output-buffer-limit", "pubsub 1mb 256kb 1")
	p := startProxy(t, r.addr)
	mesh := newTestMesh()
	a := startServer(t, "redis://"+p.addr, mesh, "server:a")
	b := startServer(t, "redis://"+r.addr, mesh, "server:b")
	waitState(t, BusOK, a, b)
	a.join("x")
	goOn := p.stall()
	defer goOn()
	const burst = 150
	for i := range burst {
		e := &wire.Envelope{
			Action: &wire.Action{
				ID:   "1 server:b 0",
				Body: fmt.Appendf(nil, `{"type":"a","from":"server:b","n":%d,"x":"%s"}`, i+1, strings.Repeat("x", 100_000)),
			},
			Targets: wire.Targets{Channels: []string{"x"}},
		}
		if err := b.bus.Publish(e); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "Redis cuts the connection", func() bool {
		return a.bus.Stats().Reconnects > 0
	})
	goOn()
	eventually(t, "all of it comes", func() bool { return len(a.from("server:b")) == burst })
	for i, n := range a.from("server:b") {
		if n != i+1 {
			t.Fatalf("%d came as number %d", n, i+1)
		}
	}
	if a.lostSomething() > 0 {
		t.Error("something was lost")
	}
}
