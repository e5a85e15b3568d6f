package faults

import (
	"fmt"
	"testing"
	"time"

	"logux-proxy/e2e/fleet"
)

// One node is cut off from the two others, and all have Redis. Each side takes the other for dead, and nothing that a living node has acknowledged is
// processed by another one.
func TestOneNodeWithoutTheOthers(t *testing.T) {
	t.Parallel()
	network := fleet.NewNetwork(t, 3)
	r := fleet.StartRedis(t, network.Host())
	f := start(t, claims(fleet.Options{Nodes: 3, Network: network, Redis: func(int) string { return r.URL() }}))
	for range rounds {
		f.Moment(2 * time.Second)
		alone := f.Random.IntN(3)
		f.Note(f.Nodes[alone].Name + " is cut off from the others")
		for i := range 3 {
			if i != alone {
				network.Cut(alone, i)
			}
		}
		began := time.Now()
		f.AwaitMembers(f.Nodes[alone])
		f.AwaitMembers(others(f, alone)...)
		t.Logf("both sides have noticed after %v", time.Since(began).Round(time.Millisecond))
		f.Pass(away())
		f.Note("the cut is mended")
		for i := range 3 {
			if i != alone {
				network.Mend(alone, i)
			}
		}
		began = time.Now()
		f.AwaitMembers(f.Nodes...)
		t.Logf("one cluster after %v", time.Since(began).Round(time.Millisecond))
	}
	f.Pass(time.Second)
	nobodyLeft(t, f)
	f.Judge()
}

// The nodes find each other by a DNS name. At first it stands for nobody, or only for the node that asks, or for one half of the nodes each; when it stands for all,
// they are one cluster. A node of another cluster behind the same name stays apart.
func TestNodesFindEachOtherLate(t *testing.T) {
	t.Parallel()
	const name = "nodes.test"
	network := fleet.NewNetwork(t, 5)
	r := fleet.StartRedis(t, network.Host())
	halves := [][]int{{0, 1}, {0, 1}, {2}, {}, {4}}
	for i, half := range halves {
		network.Resolve(i, name, half...)
	}
	f := start(t, fleet.Options{
		Nodes: 5, Network: network, Redis: func(int) string { return r.URL() }, Apart: true,
		Join: func(int, []string) string { return name },
		Own: func(i int) fleet.Settings {
			if i == 4 {
				return fleet.Settings{"LOGUX_CLUSTER": "another"}
			}
			return nil
		},
	})
	for i, n := range f.Nodes {
		want := []int{2, 2, 1, 1, 1}[i]
		fleet.Await(t, fmt.Sprintf("%s sees %d nodes", n.Name, want), func() bool { return n.Members() == want })
	}
	f.Pass(2 * time.Second)
	f.Note("the name stands for all nodes")
	for i := range 5 {
		network.Resolve(i, name, 0, 1, 2, 3, 4)
	}
	began := time.Now()
	f.AwaitMembers(f.Nodes[:4]...)
	t.Logf("one cluster after %v", time.Since(began).Round(time.Millisecond))
	if n := f.Nodes[4].Members(); n != 1 {
		t.Errorf("the node of another cluster sees %d nodes, want itself", n)
	}
	f.Pass(time.Second)
	nobodyLeft(t, f)
	f.Judge()
}
