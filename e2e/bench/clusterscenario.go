//go:build linux

package main

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Scenarios of several nodes. All of a run share one machine, so that rates fall as nodes are added: what counts are ratios within one run, and what must be 0.

// A gathering says which clients there are in a cluster, and who publishes.
type gathering struct {
	clients  int
	channels int
	at       func(i int) int // the node of client i
	channel  func(i int) int // which one client i subscribes to, or, if direct, is reached as
	direct   bool            // publications are for clients by name
	user     string          // of all clients; "": each has its own
	through  []int           // nodes that are published through
	window   int             // publications under way
}

// inCluster starts n nodes, runs what is to be measured and stops them.
func (b *bench) inCluster(m *measurement, n int, measure func(c *cluster) error) {
	if b.stopped() {
		return
	}
	c, err := m.program.startCluster(b.ctx, b.o, m.stub.url(), n)
	if err != nil {
		m.faults = append(m.faults, m.scenario+": "+err.Error())
		return
	}
	defer c.stop()
	defer func() {
		for _, s := range c.nodes {
			m.spent += s.process.cpu()
		}
		m.spent += c.redis.process.cpu()
	}()
	if err := errors.Join(measure(c), c.died()); err != nil {
		m.faults = append(m.faults, m.scenario+": "+err.Error())
	}
}

// gather connects the clients.
func (b *bench) gather(m *measurement, c *cluster, g gathering) (*fleet, error) {
	f, err := newFleet(c.nodes[0].client, "/", m.name, g.clients, g.channels, g.channel)
	if err != nil {
		return nil, err
	}
	f.servers, f.at, f.direct, f.user, f.parallel = c.addrs(), g.at, g.direct, g.user, 100
	var through []netip.AddrPort
	for _, i := range g.through {
		through = append(through, c.nodes[i].control)
	}
	f.control = newControl(f, through, "/", b.o.secret, b.o.size, max(g.window, 4))
	f.run(b.o.limit, func() bool { return f.connected+f.failed+f.closed >= g.clients || b.stopped() })
	if f.connected < g.clients {
		f.close()
		return nil, fmt.Errorf("%d clients of %d did not connect: %s", g.clients-f.connected, g.clients, f.failure)
	}
	// What connecting began is over: clients confirm what they got, nodes write what they have to.
	f.pass(500 * time.Millisecond)
	return f, nil
}

// dismiss counts what the clients missed and ends them.
func (m *measurement) dismiss(f *fleet) {
	f.finish()
	t := f.tally
	m.missed.lost += t.lost
	m.missed.duplicated += t.duplicated + int64(f.extra)
	m.missed.wrong += t.wrong
	m.missed.undone += int64(f.undone)
	m.missed.closed += int64(f.closed)
	if f.failure != "" {
		m.faults = append(m.faults, m.scenario+": "+f.failure)
	}
	f.close()
}

// judge adds the figures that must be 0.
func (m *measurement) judge() {
	m.count("lost", m.missed.lost)
	m.count("duplicated", m.missed.duplicated)
	m.count("wrong_channel", m.missed.wrong)
	m.count("undone", m.missed.undone)
	m.count("lost_connections", m.missed.closed)
}

// publishFor publishes for a while, at a rate per second or, when that is 0, as fast as the window allows; it returns how many
// publications there were, and what the cluster used.
func (b *bench) publishFor(f *fleet, c *cluster, window int, rate float64, d time.Duration) (n float64, u usage, err error) {
	f.tally.restart()
	before, err := c.usage()
	if err != nil {
		return 0, u, err
	}
	published := len(f.tally.publications)
	f.control.start(window, rate)
	f.run(d, b.stopped)
	f.control.stop()
	f.run(5*time.Second, func() bool { return f.control.settled() || b.stopped() })
	after, err := c.usage()
	return float64(len(f.tally.publications) - published), after.since(before), err
}

// restFor is publishFor without a publication.
func (b *bench) restFor(f *fleet, c *cluster, d time.Duration) (u usage, err error) {
	before, err := c.usage()
	if err != nil {
		return u, err
	}
	f.run(d, b.stopped)
	after, err := c.usage()
	return after.since(before), err
}

// clusterWindow is how many publications are under way when the rate of a cluster is measured.
const clusterWindow = 16

// clusterPublish: channels with ten subscribers each, on all nodes alike; each node is published through.
func clusterPublish(b *bench, m *measurement) {
	for _, n := range []int{1, 2, 4} {
		b.inCluster(m, n, func(c *cluster) error {
			channels := max(b.o.clients/10, 1)
			g := gathering{
				clients: b.o.clients, channels: channels, window: clusterWindow,
				at: func(i int) int { return i / channels % n }, channel: func(i int) int { return i % channels },
			}
			for i := range n {
				g.through = append(g.through, i)
			}
			f, err := b.gather(m, c, g)
			if err != nil {
				return err
			}
			defer m.dismiss(f)
			published, u, err := b.publishFor(f, c, clusterWindow, 0, b.o.time)
			if err != nil {
				return err
			}
			took := seconds(u.at)
			prefix := fmt.Sprintf("%d_nodes_", n)
			m.add(prefix+"publish_rate", published/took)
			m.add(prefix+"deliveries_per_s", float64(f.tally.delivered)/took)
			m.addLatency(prefix+"delivery", &f.tally.latency)
			m.add(prefix+"cpu_us_per_publish", u.nodesCPU(0, n).Seconds()*1e6/max(published, 1))
			m.add(prefix+"redis_cpu_us_per_publish", u.redisCPU.Seconds()*1e6/max(published, 1))
			return nil
		})
	}
	m.ratio("4_to_2_nodes_publish_rate", "4_nodes_publish_rate", "2_nodes_publish_rate")
	m.judge()
}

// ratio adds one figure by another.
func (m *measurement) ratio(name, above, below string) {
	a, _ := m.value(above)
	if z, _ := m.value(below); z != 0 {
		m.add(name, a/z)
	}
}

// clusterLatency: each channel has a subscriber on the node that is published through and one on another.
func clusterLatency(b *bench, m *measurement) {
	const pairs, rate = 50, 200
	b.inCluster(m, 2, func(c *cluster) error {
		f, err := b.gather(m, c, gathering{
			clients: 2 * pairs, channels: pairs, through: []int{0},
			at: func(i int) int { return i / pairs }, channel: func(i int) int { return i % pairs },
		})
		if err != nil {
			return err
		}
		defer m.dismiss(f)
		if _, _, err := b.publishFor(f, c, 0, rate, b.o.time); err != nil {
			return err
		}
		same, other := &f.tally.sides[0], &f.tally.sides[1]
		m.addLatency("same_node", same)
		m.addLatency("other_node", other)
		for _, p := range []float64{50, 99} {
			m.add(fmt.Sprintf("added_p%.0f_ms", p), milliseconds(other.Percentile(p)-same.Percentile(p)))
			m.ratio(fmt.Sprintf("other_to_same_p%.0f", p), fmt.Sprintf("other_node_p%.0f_ms", p), fmt.Sprintf("same_node_p%.0f_ms", p))
		}
		return nil
	})
	m.judge()
}

// clusterRedis: what an action costs Redis, by whom it is for. What nodes do by the clock, publications or not, is taken off.
func clusterRedis(b *bench, m *measurement) {
	const clients, rate = 100, 200
	here, there := func(int) int { return 0 }, func(int) int { return 1 }
	for _, s := range []struct {
		name   string
		g      gathering
		free   bool // Redis must not notice
		acting bool // clients' own actions, which go to nobody
	}{
		{name: "channel", g: gathering{channels: clients / 2, at: func(i int) int { return i % 2 }, channel: func(i int) int { return i / 2 }}},
		// No node knows what others listen to.
		{name: "channel_here", g: gathering{channels: clients / 2, at: here, channel: func(i int) int { return i / 2 }}},
		{name: "client_here", g: gathering{channels: clients, at: here, channel: func(i int) int { return i }, direct: true}, free: true},
		{name: "client_elsewhere", g: gathering{channels: clients, at: there, channel: func(i int) int { return i }, direct: true}},
		{name: "own", g: gathering{at: func(i int) int { return i % 2 }, channel: func(int) int { return -1 }}, free: true, acting: true},
	} {
		b.inCluster(m, 2, func(c *cluster) error {
			before, err := c.usage()
			if err != nil {
				return err
			}
			s.g.clients, s.g.through = clients, []int{0}
			f, err := b.gather(m, c, s.g)
			if err != nil {
				return err
			}
			defer m.dismiss(f)
			after, err := c.usage()
			if err != nil {
				return err
			}
			rest, err := b.restFor(f, c, 2*time.Second)
			if err != nil {
				return err
			}
			m.addCommands(s.name+"_connect", after.since(before), rest, clients)
			var n float64
			var u usage
			if s.acting {
				n, u, err = b.actFor(f, c, b.o.time)
			} else {
				n, u, err = b.publishFor(f, c, 0, rate, b.o.time)
			}
			if err != nil {
				return err
			}
			if each := m.addCommands(s.name+"_action", u, rest, n); s.free && each > 0.05 {
				m.faults = append(m.faults, fmt.Sprintf("%s: %s costs Redis %.2f commands", m.scenario, s.name, each))
			}
			return nil
		})
	}
	m.judge()
}

// addCommands adds how many commands each of n pieces of work cost Redis, beyond those of rest: publications, and the others by name
// where there are some. What a script does counts beside the script.
func (m *measurement) addCommands(prefix string, u, rest usage, n float64) (each float64) {
	above := func(did, atRest int64) float64 {
		return max(float64(did)-float64(atRest)*float64(u.at)/float64(rest.at), 0) / max(n, 1)
	}
	for _, name := range slices.Sorted(maps.Keys(u.commands)) {
		one := above(u.commands[name], rest.commands[name])
		if each += one; one >= 0.005 || name == "publish" {
			m.add(prefix+"_"+name, one)
		}
	}
	return each
}

// actFor lets each client have one action under way for a while.
func (b *bench) actFor(f *fleet, c *cluster, d time.Duration) (n float64, u usage, err error) {
	before, err := c.usage()
	if err != nil {
		return 0, u, err
	}
	trips := f.trips.N
	f.startActing()
	f.run(d, b.stopped)
	f.acting = false
	f.run(5*time.Second, func() bool { return f.busy() == 0 || b.stopped() })
	after, err := c.usage()
	if err == nil && f.busy() > 0 && !b.stopped() {
		err = fmt.Errorf("%d actions have no outcome", f.busy())
	}
	return float64(f.trips.N - trips), after.since(before), err
}

// clusterInterest: the same load with the same subscribers on two nodes, while nodes are added where nobody listens.
func clusterInterest(b *bench, m *measurement) {
	const interested, rate = 2, 200
	clients := max(b.o.clients/10, interested)
	for _, n := range []int{2, 3, 4} {
		b.inCluster(m, n, func(c *cluster) error {
			f, err := b.gather(m, c, gathering{
				clients: clients, channels: 1, through: []int{0},
				at: func(i int) int { return i % interested }, channel: func(int) int { return 0 },
			})
			if err != nil {
				return err
			}
			defer m.dismiss(f)
			rest, err := b.restFor(f, c, b.o.time)
			if err != nil {
				return err
			}
			published, u, err := b.publishFor(f, c, 0, rate, b.o.time)
			if err != nil {
				return err
			}
			prefix := fmt.Sprintf("%d_nodes_", n)
			m.add(prefix+"interested_cpu_us_per_publish", u.nodesCPU(0, interested).Seconds()*1e6/max(published, 1))
			if n > interested {
				m.addIdle(prefix, u, rest, interested, n, published)
			}
			return nil
		})
	}
	m.ratio("interested_cpu_4_to_2_nodes", "4_nodes_interested_cpu_us_per_publish", "2_nodes_interested_cpu_us_per_publish")
	m.judge()
}

// addIdle adds what publications cost the nodes from one on up to another, which have no receiver. They must not get any.
func (m *measurement) addIdle(prefix string, u, rest usage, from, to int, published float64) {
	nodes := float64(to - from)
	perSecond := func(u usage) float64 { return u.nodesCPU(from, to).Seconds() * 1e3 / seconds(u.at) / nodes }
	m.add(prefix+"idle_node_cpu_ms_per_s", perSecond(u))
	m.add(prefix+"idle_node_cpu_ms_per_s_at_rest", perSecond(rest))
	var received int64
	for _, n := range u.received[from:to] {
		received += n
	}
	m.count(prefix+"idle_node_received", received)
	m.add(prefix+"interested_received_per_publish", float64(u.received[1])/max(published, 1))
}

// clusterAnonymous: all clients are one user, and actions go to those on one of three nodes by their client IDs.
func clusterAnonymous(b *bench, m *measurement) {
	const nodes, rate = 3, 200
	each := max(b.o.clients/10, 1)
	b.inCluster(m, nodes, func(c *cluster) error {
		// The first nodes' clients come first in what is published, so the node without a receiver is the last one.
		f, err := b.gather(m, c, gathering{
			clients: nodes * each, channels: nodes * each, through: []int{0}, direct: true, user: "anonymous",
			at: func(i int) int { return i / each }, channel: func(i int) int { return i },
		})
		if err != nil {
			return err
		}
		defer m.dismiss(f)
		for i := range each {
			f.control.only = append(f.control.only, each+i)
		}
		rest, err := b.restFor(f, c, b.o.time)
		if err != nil {
			return err
		}
		published, u, err := b.publishFor(f, c, 0, rate, b.o.time)
		if err != nil {
			return err
		}
		m.addCommands("action", u, rest, published)
		m.addIdle("", u, rest, nodes-1, nodes, published)
		return nil
	})
	m.judge()
}
