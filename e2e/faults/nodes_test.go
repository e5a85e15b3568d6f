package faults

import (
	"testing"
	"time"

	"logux-proxy/e2e/fleet"
)

// claims make nodes acknowledge actions before their outcome: one in ten takes two seconds, and after half a second it is written down for others.
func claims(o fleet.Options) fleet.Options {
	o.Load = load
	o.Load.Slow, o.Load.SlowTime = 100, 2*time.Second
	o.Settings = fleet.Settings{"LOGUX_ACK_LIMIT": "500ms"}
	return o
}

// A node is killed. Its clients go to others, with the actions that have no outcome; another node takes over what it had acknowledged.
func TestKillOneNode(t *testing.T) {
	t.Parallel()
	_, redis := oneRedis(t)
	f := start(t, claims(fleet.Options{Nodes: 3, Redis: redis}))
	for range rounds {
		f.Moment(3 * time.Second)
		i := f.Random.IntN(3)
		f.Nodes[i].Kill()
		began := time.Now()
		f.AwaitMembers(others(f, i)...)
		t.Logf("the others see the death of %s after %v", f.Nodes[i].Name, time.Since(began))
		f.Nodes[i].Start()
		f.AwaitMembers(f.Nodes...)
	}
	f.Judge()
}

// others are all nodes but one.
func others(f *fleet.Fleet, i int) (nodes []*fleet.Node) {
	for k, n := range f.Nodes {
		if k != i {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// All nodes are killed at once and started again within five seconds. What was acknowledged has its outcome afterwards.
func TestKillAllNodes(t *testing.T) {
	t.Parallel()
	_, redis := oneRedis(t)
	f := start(t, claims(fleet.Options{Nodes: 3, Redis: redis}))
	for range rounds {
		f.Moment(3 * time.Second)
		for _, n := range f.Nodes {
			n.Kill()
		}
		killed := time.Now()
		f.Moment(4 * time.Second)
		started := time.Now()
		for _, n := range f.Nodes {
			n.Start()
		}
		f.AwaitMembers(f.Nodes...)
		f.AwaitOutcomes(killed)
		t.Logf("all that was acknowledged has its outcome %v after the start", time.Since(started).Round(time.Millisecond))
	}
	f.Judge()
}

// Nodes join, and others leave by SIGTERM.
func TestNodesJoinAndLeave(t *testing.T) {
	t.Parallel()
	_, redis := oneRedis(t)
	f := start(t, fleet.Options{Nodes: 3, Redis: redis})
	for range rounds {
		n := f.Add()
		f.Crowd.Serve(f.Targets(f.Nodes...)...)
		f.Moment(2 * time.Second)
		leaving := f.Random.IntN(len(f.Nodes))
		f.Crowd.Serve(f.Targets(others(f, leaving)...)...)
		f.Nodes[leaving].Terminate()
		f.Moment(time.Second)
		f.Nodes[leaving].Start()
		f.Crowd.Serve(f.Targets(f.Nodes...)...)
		f.AwaitMembers(f.Nodes...)
		// The new one goes again, so that every round has as many.
		f.Crowd.Serve(f.Targets(f.Nodes[:len(f.Nodes)-1]...)...)
		n.Terminate()
		f.Drop(n)
		f.AwaitMembers(f.Nodes...)
	}
	f.Judge()
}

// A node is killed while clients drop and come back to any node.
func TestKillOneNodeUnderChurn(t *testing.T) {
	t.Parallel()
	_, redis := oneRedis(t)
	o := claims(fleet.Options{Nodes: 3, Redis: redis})
	o.Load.Churn = 5 * time.Second
	f := start(t, o)
	for range rounds {
		f.Moment(3 * time.Second)
		i := f.Random.IntN(3)
		f.Nodes[i].Kill()
		f.Moment(3 * time.Second)
		f.Nodes[i].Start()
		f.AwaitMembers(f.Nodes...)
	}
	f.Judge()
}

// A node stops for some seconds and goes on: nobody is disconnected, and others do not take it for dead.
func TestOneNodeStops(t *testing.T) {
	t.Parallel()
	_, redis := oneRedis(t)
	f := start(t, fleet.Options{Nodes: 3, Redis: redis})
	for range rounds {
		f.Moment(2 * time.Second)
		n := f.Nodes[f.Random.IntN(3)]
		n.Stop()
		f.Pass(2 * time.Second)
		n.Continue()
		f.AwaitMembers(f.Nodes...)
	}
	f.Pass(time.Second)
	nobodyLeft(t, f)
	f.Judge()
}

// A node stops for so long that the others take it for dead, and goes on. Its clients wait for it.
func TestOneNodeStopsForLong(t *testing.T) {
	t.Parallel()
	_, redis := oneRedis(t)
	f := start(t, claims(fleet.Options{Nodes: 3, Redis: redis}))
	for range rounds {
		f.Moment(2 * time.Second)
		i := f.Random.IntN(3)
		f.Crowd.Serve(f.Targets(others(f, i)...)...)
		f.Nodes[i].Stop()
		f.Nodes[i].TakenForDead()
		f.AwaitMembers(others(f, i)...)
		f.Pass(away())
		f.Nodes[i].Continue()
		f.AwaitMembers(f.Nodes...)
		awaitBus(t, f, "ok")
		f.Pass(4 * time.Second) // until it knows that of what came before nothing is missing: two faults at once are another test
		f.Crowd.Serve(f.Targets(f.Nodes...)...)
	}
	f.Pass(time.Second)
	f.Judge()
}
