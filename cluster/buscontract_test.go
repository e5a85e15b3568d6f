package cluster

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"logux-proxy/wire"
)

// What every bus promises, in memory and over each form of Redis.

// A place is one server's use of a bus.
type place interface {
	Join(topic wire.Topic, done func(error))
	Leave(topic wire.Topic)
	Publish(e *wire.Envelope) error
	Announce(e *wire.Envelope, done func(others int))
}

var (
	_ place = (*Port)(nil)
	_ place = (*Bus)(nil)
	_ place = Alone{}
)

// newer and what follows are kinds of envelopes of a release to come.
const newer wire.EnvelopeKind = 200

// A guest is a server at a place.
type guest struct {
	place
	id wire.NodeID

	mu     sync.Mutex
	got    []wire.ActionID
	others []wire.EnvelopeKind
}

// Receive implements Receiver.
func (g *guest) Receive(e *wire.Envelope) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e.Kind != wire.KindAction {
		g.others = append(g.others, e.Kind)
		return
	}
	g.got = append(g.got, e.Action.ID)
}

func (g *guest) kinds() []wire.EnvelopeKind {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.others)
}

// announce waits for the number of servers that a topic's envelope reaches.
func (g *guest) announce(kind wire.EnvelopeKind, channel string) int {
	others := make(chan int, 2)
	g.Announce(&wire.Envelope{Kind: kind, Targets: wire.Targets{Channels: []string{channel}}}, func(n int) { others <- n })
	return <-others
}

// Gap implements BusReceiver.
func (g *guest) Gap() {}

func (g *guest) came() []wire.ActionID {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.got)
}

func (g *guest) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.got = nil
}

func (g *guest) joined(t *testing.T, topics ...wire.Topic) {
	t.Helper()
	var wait sync.WaitGroup
	for _, topic := range topics {
		wait.Add(1)
		g.Join(topic, func(err error) {
			if err != nil {
				t.Errorf("joining %s: %v", topic, err)
			}
			wait.Done()
		})
	}
	wait.Wait()
}

func (g *guest) send(t *testing.T, id int, targets wire.Targets) wire.ActionID {
	t.Helper()
	a := &wire.Action{ID: wire.FormatActionID(int64(id), g.id, 0), Time: int64(id), Type: "a", Body: wire.RawJSON(`{"type":"a"}`)}
	if err := g.Publish(&wire.Envelope{Origin: g.id, Seq: uint64(id), Action: a, Targets: targets}); err != nil {
		t.Fatal(err)
	}
	return a.ID
}

func TestBusContract(t *testing.T) {
	t.Parallel()
	for name, guests := range map[string]func(t *testing.T) []*guest{
		"local": func(*testing.T) (guests []*guest) {
			l := NewLocal()
			for i := range 3 {
				g := &guest{id: wire.NodeID(fmt.Sprint("server:", i))}
				g.place = l.Attach(g.id, g)
				guests = append(guests, g)
			}
			return guests
		},
		"one Redis": func(t *testing.T) []*guest { return redisGuests(t, "redis://"+startRedis(t).addr) },
		"TLS and a user with the least rights": func(t *testing.T) []*guest {
			url, _ := startTLS(t)
			return redisGuests(t, url)
		},
		"Sentinel": func(t *testing.T) []*guest {
			url, _, _ := startSentinels(t)
			return redisGuests(t, url)
		},
		"Cluster": func(t *testing.T) []*guest {
			url, _ := startCluster(t)
			return redisGuests(t, url)
		},
		"two servers": func(t *testing.T) []*guest {
			return redisGuests(t, "redis://"+startRedis(t).addr+",redis://"+startRedis(t).addr)
		},
		"prefix and database": func(t *testing.T) []*guest {
			return redisGuests(t, "redis://"+startRedis(t).addr+"/3?prefix=other.")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			busContract(t, guests(t))
		})
	}
}

// redisGuests starts three buses on a Redis.
func redisGuests(t *testing.T, url string) (guests []*guest) {
	t.Helper()
	mesh := newTestMesh()
	for i := range 3 {
		g := &guest{id: wire.NodeID(fmt.Sprint("server:", i))}
		s := startServer(t, url, mesh, g.id, func(c *BusConfig) {
			c.Receiver = g
			c.Heartbeat = time.Second // so that a slow machine breaks nothing
			c.Linger = time.Millisecond
		})
		waitState(t, BusOK, s)
		g.place = s.bus
		guests = append(guests, g)
	}
	return guests
}

func busContract(t *testing.T, guests []*guest) {
	t.Helper()
	a, b, c := guests[0], guests[1], guests[2]
	a.joined(t, wire.ChannelTopic("x"))
	b.joined(t, wire.ChannelTopic("x"), wire.ChannelTopic("y"), wire.UserTopic("1"))
	c.joined(t, wire.UserTopic("1"), wire.ChannelTopic("z"), wire.NodeTopic("uuid"))
	want := map[*guest][]wire.ActionID{}
	n := 0
	send := func(from *guest, targets wire.Targets, to ...*guest) {
		t.Helper()
		n++
		id := from.send(t, n, targets)
		for _, g := range to {
			want[g] = append(want[g], id)
		}
	}
	// Order is only promised for what has a topic in common.
	arrive := func(what string, ordered bool) {
		t.Helper()
		for _, g := range guests {
			eventually(t, fmt.Sprintf("%s: %v come to %s", what, want[g], g.id), func() bool {
				return len(g.came()) >= len(want[g])
			})
			got, want := g.came(), want[g]
			if !ordered {
				slices.Sort(got)
				slices.Sort(want)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%s: to %s came %v, want %v", what, g.id, got, want)
			}
			g.forget()
		}
		clear(want)
	}

	send(a, wire.Targets{Channels: []string{"x"}}, b) // not back to the publisher
	send(a, wire.Targets{Users: []wire.UserID{"1"}}, b, c)
	send(a, wire.Targets{Clients: []wire.ClientID{"1:tab"}}, b, c)
	send(a, wire.Targets{Nodes: []wire.NodeID{"1:tab:n"}}, b, c)
	send(a, wire.Targets{Nodes: []wire.NodeID{"uuid"}}, c)
	send(a, wire.Targets{Channels: []string{"nobody"}})
	send(a, wire.Targets{Channels: []string{"x", "y", "z"}, Users: []wire.UserID{"1"}}, b, c) // each server once
	send(a, wire.Targets{ExcludeClients: []wire.ClientID{"1:tab"}})
	arrive("by interest", false)
	send(c, wire.Targets{Channels: []string{"x"}}, a, b)
	arrive("from another server", false)
	for range 500 { // in order
		send(b, wire.Targets{Channels: []string{"x", "z"}}, a, c)
		send(b, wire.Targets{Channels: []string{"x"}}, a)
		send(b, wire.Targets{Channels: []string{"z"}, Users: []wire.UserID{"1"}}, c)
	}
	arrive("in order", true)

	// Joins count.
	c.joined(t, wire.ChannelTopic("x"), wire.ChannelTopic("x"))
	send(a, wire.Targets{Channels: []string{"x"}}, b, c)
	arrive("after a join", false)
	c.Leave(wire.ChannelTopic("x"))
	send(a, wire.Targets{Channels: []string{"x"}}, b, c)
	arrive("after one of two leaves", false)
	c.Leave(wire.ChannelTopic("x"))
	c.Leave(wire.ChannelTopic("x")) // one too many
	c.Leave("ch:never joined")
	if bus, ok := c.place.(*Bus); ok {
		eventually(t, "the topic is let go", func() bool { return bus.Stats().Topics == 3 })
	}
	send(a, wire.Targets{Channels: []string{"x"}}, b)
	send(a, wire.Targets{Channels: []string{"z"}}, c)
	arrive("after the last leave", false)
	c.joined(t, wire.ChannelTopic("x"))
	send(a, wire.Targets{Channels: []string{"x"}}, b, c)
	arrive("after joining again", false)

	// What is announced is counted, and comes whatever its kind is.
	const unknown = -1
	for i, x := range []struct {
		from    *guest
		channel string
		others  int
		to      []*guest
	}{
		{a, "x", 2, []*guest{b, c}}, // and a itself, which does not count
		{a, "y", 1, []*guest{b}},
		{b, "y", 0, nil},
		{c, "y", 1, []*guest{b}},
		{c, "nobody", 0, nil},
	} {
		n := unknown
		eventually(t, "it is known who gets an announcement", func() bool { // a Cluster is new for a while
			n = x.from.announce(newer+wire.EnvelopeKind(i), x.channel)
			return n != unknown
		})
		if n != x.others {
			t.Errorf("what %s announces on %s reaches %d others", x.from.id, x.channel, n)
		}
		for _, g := range x.to {
			eventually(t, fmt.Sprintf("%s gets announcement %d", g.id, i), func() bool {
				return slices.Contains(g.kinds(), newer+wire.EnvelopeKind(i))
			})
		}
	}
}
