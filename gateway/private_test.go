package gateway

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"logux-proxy/cluster"
	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// What is published of actions for clients: nothing when all of them are connected here, unless one turns out not to be.

// countingBus remembers the actions that are published.
type countingBus struct {
	Bus
	mu        sync.Mutex
	published []string // Guarded by mu.
}

// Publish implements Bus.
func (b *countingBus) Publish(e *wire.Envelope) error {
	if e.Kind == wire.KindAction {
		b.mu.Lock()
		b.published = append(b.published, string(e.Action.Body))
		b.mu.Unlock()
	}
	return b.Bus.Publish(e)
}

func (b *countingBus) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.published)
}

// pair runs two servers of a cluster that share a back-end.
func pair(t *testing.T) (one, two *world, bus *countingBus) {
	t.Helper()
	local, b := cluster.NewLocal(), newStub(t)
	bus = new(countingBus)
	join := func(id wire.NodeID) *world {
		return joinWorld(t, local, id, b, func(c *Config) {
			c.Life = wire.NewServerID(id, time.Now())
			if bus.Bus == nil {
				bus.Bus = c.Bus
				c.Bus = bus
			}
		})
	}
	return join("server:one"), join("server:two"), bus
}

func body(n int) string { return fmt.Sprintf(`{"type":"own","n":%d}`, n) }

// Where all targets are clients connected here nothing is published; everything else is.
func TestOnlyWhatOthersMayNeedIsPublished(t *testing.T) {
	w, _, bus := pair(t)
	a, b := w.connect("10:a:tab"), w.connect("10:b:tab")
	var want []string
	for i, c := range []struct {
		targets   wire.Targets
		reaches   []*browser
		published bool
	}{
		{wire.Targets{Clients: []wire.ClientID{"10:a"}}, []*browser{a}, false},
		{wire.Targets{Nodes: []wire.NodeID{"10:b:tab"}}, []*browser{b}, false},
		{wire.Targets{Clients: []wire.ClientID{"10:a"}, Nodes: []wire.NodeID{"10:b:tab"}}, []*browser{a, b}, false},
		{wire.Targets{Clients: []wire.ClientID{"10:a", "10:b"}}, []*browser{a, b}, false},
		{wire.Targets{Clients: []wire.ClientID{"10:a", "10:elsewhere"}}, []*browser{a}, true},
		{wire.Targets{Clients: []wire.ClientID{"10:elsewhere"}}, nil, true},
		{wire.Targets{Nodes: []wire.NodeID{"10:a:other"}}, nil, true},
		{wire.Targets{Users: []wire.UserID{"10"}}, []*browser{a, b}, true},
		{wire.Targets{Clients: []wire.ClientID{"10:a"}, Users: []wire.UserID{"20"}}, []*browser{a}, true},
		{wire.Targets{Clients: []wire.ClientID{"10:a"}, Channels: []string{"nobody's"}}, []*browser{a}, true},
		{wire.Targets{}, nil, false},
	} {
		w.deliver(body(i), c.targets)
		for _, r := range c.reaches {
			r.want("action " + body(i))
		}
		if c.published {
			want = append(want, body(i))
		}
	}
	if got := bus.all(); !slices.Equal(got, want) {
		t.Errorf("published were %v, want %v", got, want)
	}
	w.nothingFor(a, b)
}

// The same for the answers of the back-end to a client, which are most of what is addressed to clients.
func TestAnswersToAClientArePrivate(t *testing.T) {
	w, _, bus := pair(t)
	c := w.connect("10:a:tab")
	c.act(1, subscribeBody("c"))
	q := w.backend.next(t, subscribeBody("c"))
	q.approve()
	q.action(`{"type":"state"}`, wire.Targets{Clients: []wire.ClientID{"10:a"}})
	q.processed()
	c.want(`action {"type":"state"}`)
	c.wantProcessed(1)
	if got := bus.all(); len(got) != 0 {
		t.Errorf("published were %v", got)
	}
}

// Every live client that is addressed gets the action, wherever it is connected: also when another server still has
// a dead connection of it.
func TestPrivateActionFollowsItsClient(t *testing.T) {
	w, other, bus := pair(t)
	old := w.connect("10:a:tab")
	w.deliver(body(1), wire.Targets{Clients: []wire.ClientID{"10:a"}})
	old.want("action " + body(1))
	old.alive() // its confirmation is read
	old.deaf = true
	w.deliver(body(2), wire.Targets{Clients: []wire.ClientID{"10:a"}})
	w.deliver(body(3), wire.Targets{Nodes: []wire.NodeID{"10:a:tab"}})
	// It may have got them, or not: it is gone without a word.
	fresh := other.connect("10:a:tab")
	fresh.want("action "+body(2), "action "+body(3))
	if got, want := bus.all(), []string{body(2), body(3)}; !slices.Equal(got, want) {
		t.Errorf("published were %v, want %v", got, want)
	}
	w.members(0)
	other.nothingFor(fresh)
}

// What is for a node is not for another node of the same client.
func TestPrivateActionOfANodeIsNotForAnother(t *testing.T) {
	w, other, _ := pair(t)
	w.connect("10:a:tab").deaf = true
	w.deliver(body(1), wire.Targets{Nodes: []wire.NodeID{"10:a:tab"}})
	w.deliver(body(2), wire.Targets{Clients: []wire.ClientID{"10:a"}})
	fresh := other.connect("10:a:new")
	fresh.want("action " + body(2))
	other.nothingFor(fresh)
}

// Each of several clients that turn out to be elsewhere gets an action once.
func TestPrivateActionOfSeveralThatMoved(t *testing.T) {
	w, other, _ := pair(t)
	w.connect("10:a:tab").deaf = true
	w.connect("10:b:tab").deaf = true
	w.deliver(body(1), wire.Targets{Clients: []wire.ClientID{"10:a", "10:b"}})
	a := other.connect("10:a:tab")
	a.want("action " + body(1))
	b := other.connect("10:b:tab")
	b.want("action " + body(1))
	w.members(0)
	other.nothingFor(a, b)
}

// An action that finds its connection closed is for wherever the client is now.
func TestPrivateActionOfAClosedConnection(t *testing.T) {
	w, other, bus := pair(t)
	old := w.connect("10:a:tab")
	var p *peer
	w.on("10:a", func(found *peer) { p = found })
	old.drop()
	w.members(0)
	fresh := other.connect("10:a:tab")
	w.onLoops(nothing)
	out := w.g.own("own", wire.RawJSON(body(1)))
	f := &fanout{out: out, private: true, clients: []wire.ClientID{"10:a"}}
	done := make(chan struct{})
	p.h.loop.Post(taskFunc(func(*transport.Loop) { p.enqueuePrivate(f.privateOf(p)); close(done) }))
	<-done
	fresh.want("action " + body(1))
	if got := bus.all(); len(got) != 1 {
		t.Errorf("published were %v", got)
	}
}

// What a client does not confirm is remembered within bounds; more is published.
func TestUnconfirmedPrivateActionsAreBounded(t *testing.T) {
	w, _, bus := pair(t)
	c := w.connect("10:a:tab")
	c.deaf = true
	const more = 7
	for i := range maxPrivates + more {
		w.deliver(body(i), wire.Targets{Clients: []wire.ClientID{"10:a"}})
		c.want("action " + body(i))
	}
	if got := len(bus.all()); got != more {
		t.Errorf("%d were published, want %d", got, more)
	}
	remembered := func() (l privates) {
		w.on("10:a", func(p *peer) { l = p.passage.privates })
		return l
	}
	if l := remembered(); l.n != maxPrivates {
		t.Errorf("%d are remembered, want %d", l.n, maxPrivates)
	}
	c.send(fmt.Sprintf(`["synced",%d]`, c.added))
	c.alive()
	if l := remembered(); l != (privates{}) {
		t.Errorf("after a confirmation %+v is left", l)
	}
	// By bytes, too: one of any size, and none after it.
	large := fmt.Sprintf(`{"type":"own","text":"%0*d"}`, maxPrivateBytes, 0)
	for range 2 {
		w.deliver(large, wire.Targets{Clients: []wire.ClientID{"10:a"}})
		c.want("action " + large)
	}
	if l, got := remembered(), len(bus.all()); l.n != 1 || got != more+1 {
		t.Errorf("%d are remembered and %d were published, want 1 and %d", l.n, got, more+1)
	}
}

// A private action costs no allocation more than a published one, on a bus that makes none of its own.
func TestPrivateActionAllocations(t *testing.T) {
	const times = maxPrivates - 10
	allocs := func(life wire.ServerID) float64 {
		w := newWorld(t, func(c *Config) { quiet(c); c.Life = life })
		c := w.connect("10:a:tab")
		var before, after runtime.MemStats
		deliver := func() {
			want := w.g.Stats().Routed + 1
			if err := w.g.Deliver(benchAction, &wire.Targets{Clients: []wire.ClientID{"10:a"}}, nil); err != nil {
				t.Fatal(err)
			}
			if w.g.Stats().Routed != want {
				t.Fatal("the client is not here")
			}
		}
		for range 5 {
			deliver()
		}
		w.onLoops(nothing)
		runtime.ReadMemStats(&before)
		for range times {
			deliver()
		}
		w.onLoops(nothing)
		runtime.ReadMemStats(&after)
		_ = c
		return float64(after.Mallocs-before.Mallocs) / times
	}
	// Other goroutines allocate too, and pools forget now and then, more so under the race detector: the least of some counts.
	least := func(life wire.ServerID) float64 {
		n := allocs(life)
		for range 9 {
			n = min(n, allocs(life))
		}
		return n
	}
	const tolerance = 1
	if public, private := least(""), least(wire.NewServerID("server:one", time.Now())); private-public > tolerance {
		t.Errorf("%v allocations for a private action, %v for one that is published", private, public)
	}
}
