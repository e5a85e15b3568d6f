package faults

import (
	"testing"
	"time"

	"logux-proxy/e2e/fleet"
	"logux-proxy/e2e/history"
)

// start runs a fleet with what all tests share.
func start(t *testing.T, o fleet.Options) *fleet.Fleet {
	t.Helper()
	if o.Program == "" {
		o.Program = *program
	}
	if o.Load.Clients == 0 {
		o.Load = load
	}
	o.Seed = seed
	f := fleet.New(t, o)
	f.Crowd.Act(true)
	return f
}

// A single node, with clients that drop every few seconds.
func TestChurnOnOneNode(t *testing.T) {
	t.Parallel()
	l := load
	l.Churn = 3 * time.Second
	f := start(t, fleet.Options{Nodes: 1, Load: l})
	f.Pass(steady())
	f.Judge()
}

// One Redis for all nodes.
func oneRedis(t *testing.T) (*fleet.Redis, func(int) string) {
	t.Helper()
	r := fleet.StartRedis(t, "127.0.0.1")
	return r, func(int) string { return r.URL() }
}

func TestSteadyLoadOnThreeNodes(t *testing.T) {
	t.Parallel()
	_, redis := oneRedis(t)
	f := start(t, fleet.Options{Nodes: 3, Redis: redis})
	f.Pass(steady())
	nobodyLeft(t, f)
	f.Judge()
}

func TestSteadyLoadOnFiveNodes(t *testing.T) {
	t.Parallel()
	_, redis := oneRedis(t)
	f := start(t, fleet.Options{Nodes: 5, Redis: redis})
	f.Pass(steady())
	nobodyLeft(t, f)
	f.Judge()
}

// Every client drops every few seconds at random and comes back to a random node, some with an action under way that takes longer than that.
func TestChurnOnThreeNodes(t *testing.T) {
	t.Parallel()
	_, redis := oneRedis(t)
	l := load
	l.Churn, l.Slow, l.SlowTime = 3*time.Second, 100, 2500*time.Millisecond
	f := start(t, fleet.Options{Nodes: 3, Redis: redis, Load: l})
	f.Pass(steady())
	f.Judge()
}

// nobodyLeft fails the test when a client lost its connection so far.
func nobodyLeft(t *testing.T, f *fleet.Fleet) {
	t.Helper()
	n := 0
	for _, e := range f.Record.Events() {
		if e.Kind == history.Disconnected {
			n++
		}
	}
	if n != 0 {
		t.Errorf("%d connections ended, want none", n)
	}
}
