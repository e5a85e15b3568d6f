package faults

import (
	"fmt"
	"testing"
	"time"

	"logux-proxy/e2e/fleet"
)

// away is how long Redis is away in a test: shorter where rounds are few.
func away() time.Duration {
	if rounds <= 2 {
		return 4 * time.Second
	}
	return 10 * time.Second
}

// awaitBus waits until all nodes say that about Redis.
func awaitBus(t *testing.T, f *fleet.Fleet, want string) {
	t.Helper()
	began := time.Now()
	for _, n := range f.Nodes {
		fleet.Await(t, fmt.Sprintf("%s says that the bus is %s", n.Name, want), func() bool { return n.Bus() == want })
	}
	t.Logf("all nodes say that the bus is %s after %v", want, time.Since(began).Round(time.Millisecond))
}

// awaitBusTroubled waits until all nodes have noticed that Redis is not what it was.
func awaitBusTroubled(t *testing.T, f *fleet.Fleet) {
	t.Helper()
	began := time.Now()
	for _, n := range f.Nodes {
		fleet.Await(t, n.Name+" has noticed that Redis is away", func() bool { return n.Bus() != "ok" })
	}
	t.Logf("all nodes have noticed after %v", time.Since(began).Round(time.Millisecond))
}

// ready fails the test when a node is not: while Redis is away from all of them, all are as ready as they can be.
func ready(t *testing.T, f *fleet.Fleet) {
	t.Helper()
	for _, n := range f.Nodes {
		if status, page := n.Get("/readyz"); status != 200 {
			t.Errorf("%s is not ready: %d %s", n.Name, status, page)
		}
	}
}

// Redis is killed, and comes back empty.
func TestRedisIsKilled(t *testing.T) {
	t.Parallel()
	r, redis := oneRedis(t)
	f := start(t, fleet.Options{Nodes: 3, Redis: redis})
	for range rounds {
		f.Moment(2 * time.Second)
		f.Note("Redis is killed")
		r.Kill()
		awaitBusTroubled(t, f)
		f.Pass(away())
		ready(t, f)
		f.Note("Redis is started")
		r.Start()
		awaitBus(t, f, "ok")
	}
	f.Pass(time.Second)
	nobodyLeft(t, f)
	f.Judge()
}

// Redis stops and goes on: connections stay, and the kernel still takes what is sent.
func TestRedisIsStopped(t *testing.T) {
	t.Parallel()
	r, redis := oneRedis(t)
	f := start(t, fleet.Options{Nodes: 3, Redis: redis})
	for range rounds {
		f.Moment(2 * time.Second)
		f.Note("Redis is stopped")
		r.Stop()
		awaitBusTroubled(t, f)
		f.Pass(away())
		ready(t, f)
		f.Note("Redis goes on")
		r.Continue()
		awaitBus(t, f, "ok")
	}
	f.Pass(time.Second)
	nobodyLeft(t, f)
	f.Judge()
}

// Sentinels make a replica the master when theirs is killed.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	s := fleet.StartSentinels(t)
	f := start(t, fleet.Options{Nodes: 3, Redis: func(int) string { return s.URL }})
	for range rounds {
		f.Moment(2 * time.Second)
		master := s.Master()
		f.Note("the master is killed")
		master.Kill()
		began := time.Now()
		fleet.Await(t, "another master", func() bool {
			m := s.Master()
			return m != master
		})
		t.Logf("another master after %v", time.Since(began).Round(time.Millisecond))
		awaitBus(t, f, "ok")
		master.Start()
		s.AwaitWhole()
	}
	f.Pass(time.Second)
	nobodyLeft(t, f)
	f.Judge()
}

// A master of a Redis Cluster is killed and its replica takes its place; then slots move from one master to another.
func TestRedisClusterChanges(t *testing.T) {
	t.Parallel()
	c := fleet.StartRedisCluster(t)
	f := start(t, fleet.Options{Nodes: 3, Redis: func(int) string { return c.URL }})
	for range rounds {
		f.Moment(2 * time.Second)
		masters := c.Masters()
		master := masters[f.Random.IntN(len(masters))]
		f.Note("a master is killed")
		master.Kill()
		fleet.Await(t, "three masters", func() bool { return len(c.Masters()) == 3 })
		awaitBus(t, f, "ok")
		master.Start()
		c.AwaitWhole()
		f.Moment(time.Second)
		f.Note("slots move")
		c.MoveSlots(1000)
		awaitBus(t, f, "ok")
	}
	f.Pass(time.Second)
	nobodyLeft(t, f)
	f.Judge()
}

// Behind the same address there is another, empty Redis: publications go to it, while the subscriptions stay at the one before.
func TestRedisIsAnotherOne(t *testing.T) {
	t.Parallel()
	servers := []*fleet.Redis{fleet.StartRedis(t, "127.0.0.1"), fleet.StartRedis(t, "127.0.0.1")}
	lines := lines(t, 3, servers[0])
	f := start(t, fleet.Options{Nodes: 3, Redis: func(i int) string { return lines[i].URL() }})
	for i := range rounds {
		f.Moment(2 * time.Second)
		f.Note("Redis is another one")
		for _, l := range lines {
			l.Lead(servers[(i+1)%2].Addr)
		}
		f.Pass(away())
		awaitBus(t, f, "ok")
	}
	f.Pass(time.Second)
	nobodyLeft(t, f)
	f.Judge()
}

func lines(t *testing.T, n int, r *fleet.Redis) (lines []*fleet.Line) {
	t.Helper()
	for range n {
		lines = append(lines, fleet.NewLine(t, r.Addr))
	}
	return lines
}

// One node is cut off from Redis, which the others have: its connections are hung up, or nothing passes them any more.
func TestOneNodeWithoutRedis(t *testing.T) {
	t.Parallel()
	r := fleet.StartRedis(t, "127.0.0.1")
	lines := lines(t, 3, r)
	f := start(t, fleet.Options{Nodes: 3, Redis: func(i int) string { return lines[i].URL() }})
	for i := range rounds {
		f.Moment(2 * time.Second)
		n := f.Random.IntN(3)
		f.Note("no Redis for " + f.Nodes[n].Name)
		if i%2 == 0 {
			lines[n].Down()
		} else {
			lines[n].Silence()
		}
		fleet.Await(t, f.Nodes[n].Name+" has noticed", func() bool { return f.Nodes[n].Bus() != "ok" })
		f.Pass(away())
		f.Note("Redis for " + f.Nodes[n].Name)
		lines[n].Up()
		lines[n].Sound()
		awaitBus(t, f, "ok")
	}
	f.Pass(time.Second)
	nobodyLeft(t, f)
	f.Judge()
}
