package cluster

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"logux-proxy/wire"
)

func TestServersMeet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		a := n.on(t, "a")
		b := n.on(t, "b", a)
		c := n.on(t, "c", a)
		met(t, 5*time.Second, a, b, c)
		for _, s := range []*gossiper{a, b, c} {
			for _, o := range []*gossiper{a, b, c} {
				if !s.members.Alive(o.members.Self()) {
					t.Errorf("%s does not take %s for alive", s.members.Self(), o.members.Self())
				}
			}
			if s.members.Alive("server:a/1-OTHER") {
				t.Error("another life of a server is alive")
			}
		}
		if got := fmt.Sprint(a.members.Peers()); got != "[server:b server:c]" {
			t.Errorf("peers are %v", got)
		}
	})
}

// A killed server is dead to the others within ten seconds, in clusters of two and more.
func TestKilledServerIsDead(t *testing.T) {
	for _, size := range []int{2, 3, 5, 8} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newGossipNet(t)
				servers := []*gossiper{n.on(t, "0")}
				for i := 1; i < size; i++ {
					servers = append(servers, n.on(t, fmt.Sprint(i), servers[0]))
				}
				met(t, time.Minute, servers...) // gossip may miss one; the exchange of everything every 15 s does not
				killed := servers[size-1]
				n.partition(servers[:size-1])
				for _, s := range servers[:size-1] {
					s.wantPeers(t, 10*time.Second, without(servers[:size-1], s)...)
				}
				if servers[0].members.Alive(killed.members.Self()) {
					t.Error("the killed server is alive")
				}
			})
		})
	}
}

func TestLeave(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		a := n.on(t, "a")
		b := n.on(t, "b", a)
		c := n.on(t, "c", a)
		met(t, 5*time.Second, a, b, c)
		b.members.SetDraining(true)
		draining := func(v *View) bool { m, ok := v.Get(b.members.Self()); return ok && m.Meta.Draining }
		for _, s := range []*gossiper{a, c} {
			if !s.until(2*time.Second, draining) {
				t.Error("the draining mark did not arrive within two seconds")
			}
		}
		b.stop()
		a.wantPeers(t, time.Second, c)
		c.wantPeers(t, time.Second, a)
		if got := a.members.lost.addresses(); len(got) != 0 {
			t.Errorf("a looks for %v, which said goodbye", got)
		}
		b.members.Leave() // again
	})
}

// A server whose process stood still for 30 s was dead to the others and comes back.
func TestPartitionHeals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		a := n.on(t, "a")
		b := n.on(t, "b", a)
		c := n.on(t, "c", a)
		d := n.on(t, "d", a)
		all := []*gossiper{a, b, c, d}
		met(t, 5*time.Second, all...)
		n.partition([]*gossiper{a, b}, []*gossiper{c, d})
		met(t, 20*time.Second, a, b)
		met(t, 20*time.Second, c, d)
		<-time.After(5 * time.Minute)
		met(t, time.Nanosecond, a, b)
		n.partition(all)
		met(t, 30*time.Second, all...)
	})
}

// One way is cut: the third server helps, and nobody is called dead.
func TestOneWayCut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		a := n.on(t, "a")
		b := n.on(t, "b", a)
		c := n.on(t, "c", a)
		met(t, 5*time.Second, a, b, c)
		leaves := func() (sum int64) {
			for _, s := range []*gossiper{a, b, c} {
				sum += s.members.Stats().Leaves
			}
			return sum
		}
		n.cutWhere(func(from, to string) bool { return from == a.addr && to == b.addr })
		<-time.After(5 * time.Minute)
		if sum := leaves(); sum > 15 {
			t.Errorf("%d membership changes in five minutes", sum)
		}
		n.cutWhere(nil)
		met(t, 30*time.Second, a, b, c)
	})
}

// Without any UDP the cluster stays together over TCP.
func TestWithoutUDP(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		n.noUDP = true
		a := n.on(t, "a")
		b := n.on(t, "b", a)
		c := n.on(t, "c", a)
		met(t, time.Minute, a, b, c)
		<-time.After(10 * time.Minute)
		met(t, time.Nanosecond, a, b, c)
		for _, s := range []*gossiper{a, b, c} {
			if got := s.members.Stats().Leaves; got != 0 {
				t.Errorf("%d servers were called dead", got)
			}
		}
	})
}

func TestMetaSpreads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		a := n.on(t, "a")
		b := n.with(t, "b", func(c *MembersConfig) {
			c.Join = []string{a.addr}
			c.Meta = Meta{Release: "2.1", Envelope: 3, Address: "wss://example.com"}
		})
		met(t, 5*time.Second, a, b)
		b.members.SetLoad(1234, 56)
		b.members.SetBus(BusDegraded)
		want := Meta{Release: "2.1", Envelope: 3, Address: "wss://example.com", Connections: 1234, Load: 56, Bus: BusDegraded}
		if !a.until(5*time.Second, func(v *View) bool { m, _ := v.Get(b.members.Self()); return m.Meta == want }) {
			t.Errorf("a sees %+v", a.members.View().Members)
		}
		// A thousand changes a second are not a thousand updates.
		before := b.members.Stats().Metas
		for i := range 10_000 {
			b.members.SetLoad(i, 1)
			<-time.After(time.Millisecond)
		}
		if got := b.members.Stats().Metas - before; got < 8 || got > 11 {
			t.Errorf("%d updates in ten seconds", got)
		}
		if !a.until(5*time.Second, func(v *View) bool { m, _ := v.Get(b.members.Self()); return m.Meta.Connections == 9_999 }) {
			t.Error("the last change did not arrive")
		}
		b.members.SetLoad(-1, 1<<40)
		if got := b.members.Meta(); got.Connections != 0 || got.Load != maxCount {
			t.Errorf("the meta is %+v", got)
		}
	})
}

func TestLabels(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		blue := func(c *MembersConfig) { c.Cluster = "blue" }
		a := n.with(t, "a", blue)
		b := n.with(t, "b", func(c *MembersConfig) { blue(c); c.Join = []string{a.addr} })
		green := n.with(t, "c", func(c *MembersConfig) { c.Cluster = "green"; c.Join = []string{a.addr, b.addr} })
		none := n.with(t, "d", func(c *MembersConfig) { c.Join = []string{a.addr, b.addr} })
		met(t, 5*time.Second, a, b)
		<-time.After(10 * time.Minute)
		met(t, time.Nanosecond, a, b)
		green.wantPeers(t, time.Nanosecond)
		none.wantPeers(t, time.Nanosecond)
	})
}

func key(fill byte, size int) Key { return Key(strings.Repeat(string(rune(fill)), size)) }

func TestWrongKeyStaysOutside(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		with := func(name string, keys []Key, join ...*gossiper) *gossiper {
			return n.with(t, name, func(c *MembersConfig) {
				c.Keys = keys
				for _, s := range join {
					c.Join = append(c.Join, s.addr)
				}
			})
		}
		a := with("a", []Key{key('a', 32)})
		b := with("b", []Key{key('a', 32)}, a)
		wrong := with("c", []Key{key('c', 16)}, a, b)
		plain := with("d", nil, a, b)
		met(t, 5*time.Second, a, b)
		<-time.After(10 * time.Minute)
		met(t, time.Nanosecond, a, b)
		wrong.wantPeers(t, time.Nanosecond)
		plain.wantPeers(t, time.Nanosecond)
	})
}

// A new key comes second, then first, then alone; the cluster stays whole at each step, and the old key
// opens nothing at the end.
func TestKeyRotation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		old, young := key('o', 16), key('y', 32)
		with := func(name string, keys []Key, join ...*gossiper) *gossiper {
			return n.with(t, name, func(c *MembersConfig) {
				c.Keys = keys
				for _, s := range join {
					c.Join = append(c.Join, s.addr)
				}
			})
		}
		a := with("a", []Key{old})
		b := with("b", []Key{old}, a)
		c := with("c", []Key{old}, a)
		all := []*gossiper{a, b, c}
		met(t, 5*time.Second, all...)
		for _, keys := range [][]Key{{old, young}, {young, old}, {young}} {
			for _, s := range all {
				if err := s.members.SetKeys(keys); err != nil {
					t.Fatal(err)
				}
				<-time.After(20 * time.Second)
			}
		}
		for _, s := range all {
			if got := s.members.Stats().Leaves; got != 0 {
				t.Errorf("%d servers were called dead", got)
			}
		}
		stale := with("d", []Key{old}, a)
		<-time.After(time.Minute)
		stale.wantPeers(t, time.Nanosecond)
		fresh := with("e", []Key{young}, a)
		met(t, 5*time.Second, a, b, c, fresh)

		if err := a.members.SetKeys(nil); !errors.Is(err, errNoKeys) {
			t.Errorf("no keys: %v", err)
		}
		if err := a.members.SetKeys([]Key{Key("short")}); err == nil || strings.Contains(err.Error(), "short") {
			t.Errorf("a short key: %v", err)
		}
	})
}

// Who gossips and has no server's name becomes no member, whatever it sends.
func TestOddNamesStayOutside(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		a := n.on(t, "a")
		for _, name := range []string{"odd", "38:abc/1-A", "server:x\n/1-A", "server:" + strings.Repeat("x", 300) + "/1-A"} {
			c := memberlist.DefaultLANConfig()
			c.Name, c.Transport, c.LogOutput = name, n.transport(), io.Discard
			list, err := memberlist.Create(c)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := list.Join([]string{a.addr}); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = list.Shutdown() }()
		}
		pass(time.Minute)
		a.wantPeers(t, time.Nanosecond)
	})
}

func TestViewIsBounded(t *testing.T) {
	v := newViewer("server:self/1-A")
	view := v.current.Load()
	for i := range 2 * maxMembers {
		if ok := v.set(Member{ID: wire.ServerID(fmt.Sprint("server:", i, "/1-A"))}); ok != (i < maxMembers) {
			t.Fatalf("member %d: %v", i, ok)
		}
	}
	select {
	case <-view.Changed():
	default:
		t.Error("the old view is not out of date")
	}
	view = v.current.Load()
	if ok := v.set(Member{ID: "server:5/1-A"}); !ok || v.current.Load() != view {
		t.Error("the same again is a new view")
	}
	if ok := v.set(Member{ID: "server:5/1-A", Meta: Meta{Load: 1}}); !ok || v.current.Load() == view {
		t.Error("a change is no new view")
	}
	if _, ok := v.remove("server:nobody/1-A"); ok {
		t.Error("nobody was removed")
	}
	if m, ok := v.remove("server:5/1-A"); !ok || m.Meta.Load != 1 || len(v.current.Load().Members) != maxMembers-1 {
		t.Errorf("%+v was removed", m)
	}
}

func TestConfigIsChecked(t *testing.T) {
	self := wire.NewServerID("server:a", time.Now())
	for name, c := range map[string]MembersConfig{
		"not loopback":        {Self: self, Bind: "10.0.0.1:7946"},
		"all interfaces":      {Self: self, Bind: "0.0.0.0:7946"},
		"no host":             {Self: self, Bind: ":7946"},
		"all of IPv6":         {Self: self, Bind: "[::]:7946", Keys: []Key{key('a', 16)}},
		"a name":              {Self: self, Bind: "example.com:7946", Keys: []Key{key('a', 16)}},
		"no port":             {Self: self, Bind: "127.0.0.1"},
		"odd port":            {Self: self, Bind: "127.0.0.1:70000"},
		"key of 15 bytes":     {Self: self, Bind: "127.0.0.1:0", Keys: []Key{key('a', 15)}},
		"no ID":               {Bind: "127.0.0.1:0"},
		"a client's ID":       {Self: wire.NewServerID("38:abc", time.Now()), Bind: "127.0.0.1:0"},
		"an ID without start": {Self: "server:a", Bind: "127.0.0.1:0"},
		"long ID":             {Self: wire.NewServerID(wire.NodeID("server:"+strings.Repeat("a", 300)), time.Now()), Bind: "127.0.0.1:0"},
		"long cluster":        {Self: self, Bind: "127.0.0.1:0", Cluster: strings.Repeat("a", 65)},
		"long release":        {Self: self, Bind: "127.0.0.1:0", Meta: Meta{Release: strings.Repeat("a", 65)}},
		"long address":        {Self: self, Bind: "127.0.0.1:0", Meta: Meta{Address: strings.Repeat("a", 129)}},
		"meta of 513 bytes":   {Self: self, Bind: "127.0.0.1:0", Meta: Meta{Address: strings.Repeat("\"", 128), Release: strings.Repeat("\x01", 64)}},
		"advertise":           {Self: self, Bind: "127.0.0.1:0", Advertise: "0.0.0.0:1"},
		"advertise a name":    {Self: self, Bind: "127.0.0.1:0", Advertise: "example.com:1"},
		"join without port":   {Self: self, Bind: "127.0.0.1:0", Join: []string{"example.com"}},
		"join nobody":         {Self: self, Bind: "127.0.0.1:1", Join: []string{""}},
		"join odd port":       {Self: self, Bind: "127.0.0.1:1", Join: []string{"example.com:x"}},
		"join too many":       {Self: self, Bind: "127.0.0.1:1", Join: make([]string, 65)},
	} {
		if _, err := NewMembers(c); err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "aaaaaaaaaaaaaaa\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]MembersConfig{
		"loopback":       {Self: self, Bind: "127.0.0.2:7946", Join: []string{"example.com", "[::1]:5", "::1", "10.0.0.1"}},
		"localhost":      {Self: self, Bind: "localhost:0"},
		"IPv6":           {Self: self, Bind: "[::1]:7946"},
		"key":            {Self: self, Bind: "0.0.0.0:7946", Keys: []Key{key('a', 24)}},
		"told so":        {Self: self, Bind: "10.0.0.1:7946", AllowPlain: true},
		"all of IPv6":    {Self: self, Bind: "[::]:7946", Keys: []Key{key('a', 16)}, Advertise: "[fd00::1]:7946"},
		"slash in an ID": {Self: wire.NewServerID("server:a/b", time.Now()), Bind: "127.0.0.1:0"},
	} {
		if _, err := NewMembers(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A taken address is known before anything runs; Close gives an address back that was never used.
func TestMembersListen(t *testing.T) {
	one, err := NewMembers(MembersConfig{Self: "server:a/1-a", Bind: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(one.Listen(), one.Listen()); err != nil || one.Addr().Port() == 0 {
		t.Fatalf("%v at %v", err, one.Addr())
	}
	other, err := NewMembers(MembersConfig{Self: "server:b/1-b", Bind: one.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Listen(); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a taken address: %v", err)
	}
	// Somebody calls before anybody runs.
	conn, err := net.Dial("udp", one.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := conn.Write([]byte("hello")); err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(conn.Close(), one.Close(), other.Listen(), other.Close()); err != nil {
		t.Error(err)
	}
}

// Who drains and leaves in one breath has said so: nobody looks for it.
func TestMembersLeaveAtOnceAfterDraining(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		a := n.on(t, "a")
		b := n.on(t, "b", a)
		met(t, 5*time.Second, a, b)
		a.members.SetDraining(true)
		a.members.Leave()
		met(t, 5*time.Second, b)
		if lost := b.members.lost.addresses(); len(lost) > 0 {
			t.Errorf("%v is looked for", lost)
		}
	})
}
