package cluster

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"logux-proxy/wire"
)

// lookups is a Resolver whose answers the test sets.
type lookups struct {
	mu sync.Mutex
	// Guarded by mu.
	ips   []netip.Addr
	err   error
	asked int
}

func (l *lookups) set(err error, ips ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ips, l.err = nil, err
	for _, ip := range ips {
		l.ips = append(l.ips, netip.MustParseAddr(ip))
	}
}

func (l *lookups) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if network != "ip" || host != "gossip.example" {
		return nil, errors.New("what?")
	}
	return l.ips, l.err
}

// byName returns a change for start: the server joins whoever the name leads to.
func (l *lookups) byName(c *MembersConfig) {
	c.Join, c.Resolver = []string{"gossip.example"}, l
}

// DNS is empty, then stale, then knows only the server itself. Nobody is found, and each server works alone. Once it
// is right there is one cluster within 30 s.
func TestJoinByName(t *testing.T) {
	for name, set := range map[string]func(*lookups){
		"empty":       func(l *lookups) { l.set(nil) },
		"fails":       func(l *lookups) { l.set(errors.New("no such host")) },
		"stale":       func(l *lookups) { l.set(nil, "10.0.0.77", "10.0.0.78") },
		"only itself": func(l *lookups) { l.set(nil, "10.0.0.1") },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newGossipNet(t)
				var a, b, c lookups
				set(&a)
				b.set(nil)
				c.set(nil)
				servers := []*gossiper{n.with(t, "a", a.byName), n.with(t, "b", b.byName), n.with(t, "c", c.byName)}
				<-time.After(30 * time.Second)
				for _, s := range servers {
					s.wantPeers(t, time.Nanosecond)
				}
				for _, l := range []*lookups{&a, &b, &c} {
					l.set(nil, "10.0.0.1", "10.0.0.2", "10.0.0.3")
				}
				met(t, 30*time.Second, servers...)
			})
		})
	}
}

// Two halves that started apart become one, as soon as DNS shows one of them a server of the other.
func TestHalvesMerge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		var left, right lookups
		left.set(nil, "10.0.0.1", "10.0.0.2")
		right.set(nil, "10.0.0.3", "10.0.0.4")
		a, b := n.with(t, "a", left.byName), n.with(t, "b", left.byName)
		c, d := n.with(t, "c", right.byName), n.with(t, "d", right.byName)
		met(t, 30*time.Second, a, b)
		met(t, 30*time.Second, c, d)
		right.set(nil, "10.0.0.3", "10.0.0.1", "10.0.0.4")
		met(t, time.Minute, a, b, c, d)
	})
}

// Who is a member already is not joined again and again; DNS is asked at a bounded rate.
func TestJoiningIsQuietWhenAllIsWell(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		var l lookups
		l.set(nil, "10.0.0.1", "10.0.0.2")
		a, b := n.with(t, "a", l.byName), n.with(t, "b", l.byName)
		met(t, 30*time.Second, a, b)
		l.mu.Lock()
		l.asked = 0
		l.mu.Unlock()
		<-time.After(10 * time.Minute)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.asked < 2*20 || l.asked > 2*70 {
			t.Errorf("the name was looked up %d times in ten minutes", l.asked)
		}
	})
}

// A server that was held up so long that the others gave it up is a member again within ten seconds, though nobody
// knows its address but itself and those that lost it.
func TestHeldUpServerComesBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		a := n.on(t, "a")
		b := n.on(t, "b", a)
		c := n.on(t, "c", a)
		met(t, 5*time.Second, a, b, c)
		n.cutWhere(func(from, to string) bool { return from == c.addr || to == c.addr })
		a.wantPeers(t, 10*time.Second, b)
		<-time.After(20 * time.Second)
		n.cutWhere(nil)
		met(t, 15*time.Second, a, b, c)
	})
}

func TestCandidates(t *testing.T) {
	self := wire.NewServerID("server:a", time.Now())
	var l lookups
	l.set(nil, "10.0.0.1", "10.0.0.2", "::ffff:10.0.0.3", "10.0.0.2")
	m, err := NewMembers(MembersConfig{Self: self, Bind: "127.0.0.1:7946", Join: []string{"gossip.example:5", "10.0.0.9", "[fd00::1]:6", "gossip.example"}, Resolver: &l})
	if err != nil {
		t.Fatal(err)
	}
	j := newJoiner(m, nil)
	addr := netip.MustParseAddrPort
	m.view.set(Member{ID: self, Addr: addr("10.0.0.1:5")})
	m.view.set(Member{ID: "server:b/1-B", Addr: addr("10.0.0.2:5")})
	m.lost.add(addr("10.0.0.2:5")) // it is a member again
	m.lost.add(addr("10.0.0.8:1"))
	want := func(everybody bool, texts ...string) {
		t.Helper()
		got := make(map[string]bool)
		for _, a := range j.candidates(context.Background(), everybody) {
			got[a.String()] = true
		}
		for _, text := range texts {
			if !got[text] {
				t.Errorf("%s is missing", text)
			}
		}
		if len(got) != len(texts) {
			t.Errorf("candidates are %v", got)
		}
	}
	base := []string{"10.0.0.3:5", "10.0.0.9:7946", "[fd00::1]:6", "10.0.0.1:7946", "10.0.0.2:7946", "10.0.0.3:7946", "10.0.0.8:1"}
	want(false, base...)
	want(true, append(base, "10.0.0.2:5")...)
	for i := range 200 {
		m.lost.add(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}), 1))
	}
	if got := len(j.candidates(context.Background(), false)); got != joinRound {
		t.Errorf("%d candidates in one round", got)
	}
}

func TestLostPeersAreForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var l lostPeers
		a, b := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:1")
		l.add(a)
		l.add(b)
		l.forget(b)
		if got := l.addresses(); len(got) != 1 || got[0] != a {
			t.Errorf("lost are %v", got)
		}
		<-time.After(lostFor + time.Second)
		if got := l.addresses(); len(got) != 0 || len(l.since) != 0 {
			t.Errorf("lost are %v", got)
		}
	})
}

// A process that stood still joins the members again, which may have called it dead.
func TestSleeperJoinsAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, err := NewMembers(MembersConfig{Self: wire.NewServerID("server:a", time.Now()), Bind: "127.0.0.1:7946"})
		if err != nil {
			t.Fatal(err)
		}
		other := Member{ID: "server:b/1-B", Addr: netip.MustParseAddrPort("10.0.0.2:5")}
		m.view.set(other)
		var mu sync.Mutex
		var slept time.Duration
		asked := 0
		j := newJoiner(m, func(addr netip.AddrPort) error {
			mu.Lock()
			defer mu.Unlock()
			if addr == other.Addr {
				asked++
			}
			return nil
		})
		j.now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(slept)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { j.run(ctx, make(chan struct{})) })
		count := func(want int) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if asked != want {
				t.Errorf("the member was asked %d times, want %d", asked, want)
			}
		}
		pass(time.Minute)
		count(0)
		mu.Lock()
		slept = 30 * time.Second
		mu.Unlock()
		pass(2 * time.Second)
		count(1)
		pass(time.Minute)
		count(1)
		cancel()
		running.Wait()
	})
}
