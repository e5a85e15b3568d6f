package cluster

import (
	"net"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"logux-proxy/wire"
)

// quick makes gossip on the loopback interface fast enough for tests in real time.
func quick(c *memberlist.Config) {
	c.ProbeInterval, c.ProbeTimeout = 100*time.Millisecond, 80*time.Millisecond
	c.GossipInterval = 20 * time.Millisecond
	c.PushPullInterval = time.Second
}

func startBench(t testing.TB, name string, join ...*gossiper) *gossiper {
	t.Helper()
	return start(t, name, func(c *MembersConfig) {
		c.tune = quick
		c.Keys = []Key{key('k', 32)}
		for _, s := range join {
			c.Join = append(c.Join, s.addr)
		}
	}, LinksConfig{})
}

// The same over sockets, on addresses of their own, with encryption and a label.
func TestServersMeetOverSockets(t *testing.T) {
	on := func(name, bind string, join ...*gossiper) *gossiper {
		return start(t, name, func(c *MembersConfig) {
			c.Bind, c.Cluster, c.tune = bind, "blue", quick
			c.Keys = []Key{key('k', 32)}
			for _, s := range join {
				c.Join = append(c.Join, s.addr)
			}
		}, LinksConfig{})
	}
	a := on("a", "127.0.0.1:0")
	b := on("b", "127.0.0.2:0", a)
	c := on("c", "127.0.0.3:0", b)
	met(t, waitTime, a, b, c)
	lanes := []*Lane{a.listen(KindBus), b.listen(KindBus), c.listen(KindBus)}
	for i, from := range []*gossiper{a, b, c} {
		for _, to := range without([]*gossiper{a, b, c}, from) {
			frames := append(numbered("x", 100), string(make([]byte, 1<<20)))
			send(t, lanes[i], to, frames...)
			to.want(t, waitTime, from, frames...)
		}
	}
	c.members.SetDraining(true)
	if !a.until(waitTime, func(v *View) bool { m, _ := v.Get(c.members.Self()); return m.Meta.Draining }) {
		t.Error("the draining mark did not arrive")
	}
	c.stop()
	met(t, waitTime, a, b)
}

func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	m, err := NewMembers(MembersConfig{Self: wire.NewServerID("server:a", time.Now()), Bind: taken.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Run(t.Context()); err == nil {
		t.Error("no error")
	}
}
