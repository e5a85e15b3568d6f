package cluster

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"logux-proxy/wire"
)

var rebalanceTest = RebalanceConfig{Rate: 50, Margin: 10, Minimum: 100, Delay: 20 * time.Second}

// epoch is when the clocks of these tests begin.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// lives are the IDs of n servers, always the same.
func lives(n int) []wire.ServerID { return allLives[:n] }

var allLives = func() (ids []wire.ServerID) {
	for i := range 1000 {
		ids = append(ids, wire.NewServerID(wire.NodeID(fmt.Sprintf("server:%d", i)), epoch))
	}
	return ids
}()

func well(id wire.ServerID, connections int) Member {
	return Member{ID: id, Meta: Meta{Connections: connections, Bus: BusOK}}
}

// steps calls Step for d with what change makes of the counts, and returns how many clients it wanted to let go. None goes.
func steps(r *Rebalancer, now *time.Time, d time.Duration, members []Member) (wanted int) {
	own := 0
	for i := range members {
		if members[i].ID == r.self {
			own = members[i].Meta.Connections
		}
	}
	for end := now.Add(d); now.Before(end); {
		*now = now.Add(RebalanceEvery)
		wanted += r.Step(*now, own, members)
	}
	return wanted
}

// "Above it by more than a margin, it sheds idle connections at a bounded rate until it is inside the margin. It stays quiet while nodes join or drain, and
// never acts on fewer than a minimum of connections."
func TestRebalanceDecides(t *testing.T) {
	draining := func(ms []Member) { ms[1].Meta.Draining = true }
	for _, c := range []struct {
		name   string
		counts []int // of this server and of others
		change func([]Member)
		config func(*RebalanceConfig)
		sheds  bool
		state  RebalanceState
		target int
	}{
		{name: "alone", counts: []int{5000}, state: RebalanceQuiet},
		{name: "even", counts: []int{1000, 1000, 1000}, state: RebalanceIdle, target: 1010},
		{name: "inside the margin", counts: []int{1100, 950, 950}, state: RebalanceIdle, target: 1010},
		{name: "above the margin", counts: []int{1101, 950, 949}, sheds: true, state: RebalanceSheds, target: 1010},
		{name: "below the mean", counts: []int{500, 1250, 1250}, state: RebalanceIdle, target: 1010},
		{name: "new members are empty", counts: []int{1000, 1000, 1000, 0, 0}, sheds: true, state: RebalanceSheds, target: 606},
		{name: "a wider margin", counts: []int{1200, 900, 900}, config: func(c *RebalanceConfig) { c.Margin = 20 }, state: RebalanceIdle, target: 1020},
		{name: "no more than the minimum", counts: []int{100, 0, 0}, state: RebalanceIdle, target: 100},
		{name: "more than the minimum", counts: []int{110, 0, 0}, sheds: true, state: RebalanceSheds, target: 100},
		{name: "one drains", counts: []int{2000, 500, 500}, change: draining, state: RebalanceQuiet},
		{name: "this one drains", counts: []int{2000, 500, 500}, change: func(ms []Member) { ms[0].Meta.Draining = true }, state: RebalanceQuiet},
		{name: "one has no Redis", counts: []int{2000, 500, 500}, change: func(ms []Member) { ms[2].Meta.Bus = BusDown }, state: RebalanceQuiet},
		{name: "this one is not known", counts: []int{2000, 500, 500}, change: func(ms []Member) { ms[0].ID = lives(9)[8] }, state: RebalanceQuiet},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := rebalanceTest
			if c.config != nil {
				c.config(&config)
			}
			var members []Member
			for i, id := range lives(len(c.counts)) {
				members = append(members, well(id, c.counts[i]))
			}
			r := NewRebalancer(members[0].ID, config)
			if c.change != nil {
				c.change(members)
			}
			now := epoch
			if n := steps(r, &now, config.Delay, members); n != 0 {
				t.Errorf("%d clients are to go while the members are new", n)
			}
			if n := steps(r, &now, rebalanceSure+2*time.Second, members); (n > 0) != c.sheds || r.State() != c.state || r.Target() != c.target {
				t.Errorf("%d clients are to go, state %d, target %d; want %v, %d, %d", n, r.State(), r.Target(), c.sheds, c.state, c.target)
			}
		})
	}
}

// Whatever changes among the members makes a server quiet for the delay.
func TestRebalanceIsQuietAfterChanges(t *testing.T) {
	full := func() []Member {
		ids := lives(3)
		return []Member{well(ids[0], 2000), well(ids[1], 500), well(ids[2], 500)}
	}
	for name, change := range map[string]func([]Member) []Member{
		"joins":         func(ms []Member) []Member { return append(ms, well(lives(4)[3], 0)) },
		"leaves":        func(ms []Member) []Member { return ms[:2] },
		"takes a place": func(ms []Member) []Member { ms[2].ID = lives(4)[3]; return ms },
		"drains":        func(ms []Member) []Member { ms[2].Meta.Draining = true; return ms },
		"falls ill":     func(ms []Member) []Member { ms[2].Meta.Bus = BusDegraded; return ms },
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRebalancer(lives(1)[0], rebalanceTest)
			now := epoch
			steps(r, &now, time.Minute, full())
			if r.State() != RebalanceSheds {
				t.Fatalf("state %d before the change", r.State())
			}
			if n := steps(r, &now, rebalanceTest.Delay, change(full())); n != 0 {
				t.Errorf("%d clients are to go after the change", n)
			}
			// Back to how it was is a change too.
			if n := steps(r, &now, rebalanceTest.Delay, full()); n != 0 {
				t.Errorf("%d clients are to go after the change back", n)
			}
			if steps(r, &now, time.Minute, full()); r.State() != RebalanceSheds {
				t.Errorf("state %d at last, want the shedding", r.State())
			}
		})
	}
}

// While all servers fill up, the counts of others are older than the own one.
func TestRebalanceWhileClientsCome(t *testing.T) {
	ids := lives(3)
	r := NewRebalancer(ids[0], rebalanceTest)
	now := epoch
	for own := range 20_000 {
		now = now.Add(RebalanceEvery)
		old := max(own-29, 0) * 300 // nearly three seconds
		if n := r.Step(now, own*300, []Member{well(ids[0], 0), well(ids[1], old), well(ids[2], old)}); n != 0 {
			t.Fatalf("%d of %d clients are to go; the others had %d", n, own*300, old)
		}
	}
}

// The rate holds in every second, however late the calls are.
func TestRebalanceRate(t *testing.T) {
	ids := lives(2)
	for _, rate := range []int{1, 3, 50} {
		r := NewRebalancer(ids[0], RebalanceConfig{Rate: rate, Margin: 10, Minimum: 100})
		random := rand.New(rand.NewPCG(1, uint64(rate)))
		own, other := 100_000, 0
		type closing struct {
			at time.Time
			n  int
		}
		var all []closing
		for now := epoch; now.Before(epoch.Add(3 * time.Minute)); now = now.Add(time.Duration(random.IntN(600)) * time.Millisecond) {
			n := r.Step(now, own, []Member{well(ids[0], own), well(ids[1], other)})
			r.Shed(now, n)
			own, other = own-n, other+n
			all = append(all, closing{now, n})
		}
		if other == 0 {
			t.Fatalf("rate %d: nobody went", rate)
		}
		for i := range all {
			sum := 0
			for k := i; k < len(all) && all[k].at.Sub(all[i].at) < time.Second; k++ {
				sum += all[k].n
			}
			if most := rate + max(rate/10, 1); sum > most {
				t.Fatalf("rate %d: %d clients within a second", rate, sum)
			}
		}
	}
}

// A load balancer that does not find the member that lacks clients gets few of them to carry to and fro.
func TestRebalanceRestsWhenItDoesNotHelp(t *testing.T) {
	s := newRebalanceSim(7, []int{1500, 1500, 0})
	s.balancer = func(s *rebalanceSim) int { return s.random.IntN(2) }
	s.run(20 * time.Minute)
	// A trial each five minutes.
	if most := 5 * 2 * rebalanceTrial * 3; s.closed > most || s.closed == 0 {
		t.Errorf("%d clients were closed for nothing, want %d at most", s.closed, most)
	}
}

// A rebalanceSim is a cluster in which nothing takes time but what does in a real one: the gossip, and clients between two servers.
type rebalanceSim struct {
	random   *rand.Rand
	now      time.Time
	nodes    []*simNode
	away     []simAway
	balancer func(*rebalanceSim) int
	closed   int
	made     int
	turn     int // of a balancer
	failure  string
}

type simNode struct {
	id    wire.ServerID
	r     *Rebalancer
	count int
	told  []timed // what it told the others, and when they hear of it
}

type simAway struct{ back time.Time }

func newRebalanceSim(seed uint64, counts []int) *rebalanceSim {
	s := &rebalanceSim{random: rand.New(rand.NewPCG(seed, 3)), now: epoch}
	s.balancer = func(s *rebalanceSim) int { return s.random.IntN(len(s.nodes)) }
	for _, n := range counts {
		s.add(n)
	}
	return s
}

func (s *rebalanceSim) add(count int) {
	s.made++
	id := lives(s.made)[s.made-1]
	n := &simNode{id: id, r: NewRebalancer(id, rebalanceTest), count: count}
	n.told = []timed{{s.now, float64(count)}}
	s.nodes = append(s.nodes, n)
}

// remove takes a node away; its clients connect again.
func (s *rebalanceSim) remove(i int) {
	n := s.nodes[i]
	s.nodes = slices.Delete(s.nodes, i, i+1)
	s.leave(n.count)
}

func (s *rebalanceSim) leave(n int) {
	for range n {
		s.away = append(s.away, simAway{s.now.Add(time.Second + time.Duration(s.random.IntN(4000))*time.Millisecond)})
	}
}

// heard is what the others know of n's count.
func (s *rebalanceSim) heard(n *simNode) int {
	known := n.told[0]
	for _, t := range n.told {
		if !t.at.After(s.now) {
			known = t
		}
	}
	return int(known.value)
}

func (s *rebalanceSim) step() {
	s.now = s.now.Add(RebalanceEvery)
	s.away = slices.DeleteFunc(s.away, func(a simAway) bool {
		if a.back.After(s.now) {
			return false
		}
		s.nodes[s.balancer(s)].count++
		return true
	})
	for _, n := range s.nodes {
		if last := n.told[len(n.told)-1]; s.now.Sub(last.at) >= time.Second {
			n.told = append(n.told[max(len(n.told)-3, 0):], timed{s.now.Add(time.Duration(s.random.IntN(1000)) * time.Millisecond), float64(n.count)})
		}
	}
	total := len(s.away)
	for _, n := range s.nodes {
		total += n.count
	}
	mean := float64(total) / float64(len(s.nodes))
	for _, n := range s.nodes {
		var members []Member
		for _, m := range s.nodes {
			members = append(members, well(m.id, s.heard(m)))
		}
		shed := n.r.Step(s.now, n.count, members)
		n.r.Shed(s.now, shed)
		if n.count -= shed; shed > 0 {
			if s.failure == "" && (float64(n.count) < math.Floor(mean) || n.count < rebalanceTest.Minimum) {
				s.failure = fmt.Sprintf("a server went down to %d clients, the mean is %.1f", n.count, mean)
			}
		}
		s.closed += shed
		s.leave(shed)
	}
}

func (s *rebalanceSim) run(d time.Duration) {
	for end := s.now.Add(d); s.now.Before(end); {
		s.step()
	}
}

// inside reports whether no server is above the margin.
func (s *rebalanceSim) inside() bool {
	total, most := 0, 0
	for _, n := range s.nodes {
		total += n.count
		most = max(most, n.count)
	}
	return float64(most) <= max(float64(total)/float64(len(s.nodes))*1.1, float64(rebalanceTest.Minimum))+1
}

// excess is how many clients are above the mean.
func (s *rebalanceSim) excess() (sum float64) {
	total := 0
	for _, n := range s.nodes {
		total += n.count
	}
	for _, n := range s.nodes {
		sum += max(float64(n.count)-float64(total)/float64(len(s.nodes)), 0)
	}
	return sum
}

// Property: whatever the counts, and whether the load balancer chooses at random, in turn or the emptiest, the servers come inside the margin with a bounded number of
// closes, nobody ever goes below the mean, and afterwards nobody closes anything.
func TestRebalanceConverges(t *testing.T) {
	balancers := map[string]func(*rebalanceSim) int{
		"random": func(s *rebalanceSim) int { return s.random.IntN(len(s.nodes)) },
		"in turn": func(s *rebalanceSim) int {
			s.turn++
			return s.turn % len(s.nodes)
		},
		"emptiest": func(s *rebalanceSim) int {
			least := 0
			for i, n := range s.nodes {
				if n.count < s.nodes[least].count {
					least = i
				}
			}
			return least
		},
	}
	for name, balancer := range balancers {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(6) {
				random := rand.New(rand.NewPCG(seed, 11))
				var counts []int
				for range 2 + random.IntN(6) {
					counts = append(counts, random.IntN(4000))
				}
				s := newRebalanceSim(seed, counts)
				s.balancer = balancer
				bound := s.excess() * float64(len(counts)) * 1.3
				s.run(12 * time.Minute)
				before := s.closed
				s.run(6 * time.Minute)
				switch {
				case s.failure != "":
					t.Fatalf("seed %d, %v: %s", seed, counts, s.failure)
				case !s.inside():
					t.Fatalf("seed %d, %v: still %v", seed, counts, s.counts())
				case s.closed > before:
					t.Fatalf("seed %d, %v: %d clients closed when all were inside", seed, counts, s.closed-before)
				case float64(s.closed) > bound:
					t.Fatalf("seed %d, %v: %d clients closed, want %.0f at most", seed, counts, s.closed, bound)
				}
			}
		})
	}
}

func (s *rebalanceSim) counts() (all []int) {
	for _, n := range s.nodes {
		all = append(all, n.count)
	}
	return all
}

// Property: servers come and go at random times; nobody closes anything until some time after, and at last all are inside the margin.
func TestRebalanceWhileServersComeAndGo(t *testing.T) {
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 12))
		s := newRebalanceSim(seed, []int{1000, 1200, 900})
		for range 6 {
			s.run(time.Duration(random.IntN(60)) * time.Second)
			if before := s.counts(); random.IntN(2) == 0 && len(s.nodes) > 2 {
				s.remove(random.IntN(len(s.nodes)))
			} else if s.add(0); len(before) == len(s.nodes) {
				t.Fatal("nobody came")
			}
			closed := s.closed
			s.run(rebalanceTest.Delay - RebalanceEvery)
			if s.closed != closed {
				t.Fatalf("seed %d: %d clients closed soon after a server came or went", seed, s.closed-closed)
			}
		}
		s.run(15 * time.Minute)
		if !s.inside() || s.failure != "" {
			t.Fatalf("seed %d: %v %s", seed, s.counts(), s.failure)
		}
	}
}

// From three servers with 3,333 clients each to five: within two minutes, at the default rate, behind a load balancer that chooses at random.
func TestRebalanceScaleOut(t *testing.T) {
	s := newRebalanceSim(5, []int{3333, 3334, 3333})
	s.run(time.Minute)
	s.add(0)
	s.add(0)
	s.run(2 * time.Minute)
	for _, n := range s.counts() {
		if n < 1800 || n > 2200 {
			t.Errorf("clients after two minutes: %v", s.counts())
			break
		}
	}
	t.Logf("%d closes, %v", s.closed, s.counts())
}
