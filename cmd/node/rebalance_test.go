package main

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"logux-proxy/cluster"
	"logux-proxy/wire"
)

// The log has one line when rebalancing begins and one when it ends, or does not help; the metrics say how it stands.
func TestRebalancingIsTold(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	full := wire.NewServerID("server:full", time.Now())
	empty := wire.NewServerID("server:empty", time.Now())
	n := &clusterNode{log: zap.New(core)}
	r := &rebalancing{n: n, Rebalancer: cluster.NewRebalancer(full, cluster.RebalanceConfig{Rate: 50, Margin: 10, Minimum: 100, Delay: time.Second})}
	now := time.Now()
	members := func(here, there int) []cluster.Member {
		return []cluster.Member{
			{ID: full, Meta: cluster.Meta{Connections: here, Bus: cluster.BusOK}},
			{ID: empty, Meta: cluster.Meta{Connections: there, Bus: cluster.BusOK}},
		}
	}
	// pass lets time go by; of the clients that go so many per cent arrive at the other node.
	here, there := 1000, 0
	pass := func(d time.Duration, arrive int) {
		for end := now.Add(d); now.Before(end); now = now.Add(cluster.RebalanceEvery) {
			closed := r.Step(now, here, members(here, there))
			r.Shed(now, closed)
			r.closed += closed
			here, there = here-closed*arrive/100, there+closed*arrive/100
			r.tell(now, here)
		}
	}
	lines := func(want ...string) {
		t.Helper()
		var got []string
		for _, e := range logs.TakeAll() {
			got = append(got, e.Message)
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("the log says %q, want %q", got, want)
		}
	}
	pass(time.Minute, 100)
	lines("Rebalancing: clients are let go to nodes that have fewer", "Rebalancing has ended")
	if here != r.Target() || here+there != 1000 {
		t.Errorf("%d and %d clients, want %d here", here, there, r.Target())
	}
	metrics := newMetrics(func() int64 { return 0 })
	metrics.watchRebalance(&n.looks)
	text := scrape(t, metrics)
	for _, line := range []string{"logux_rebalance_target 505\n", `logux_rebalance_state{state="idle"} 1`, `logux_rebalance_state{state="sheds"} 0`, `logux_rebalance_state{state="rests"} 0`} {
		if !strings.Contains(text, line) {
			t.Errorf("the metrics do not say %q", line)
		}
	}
	// Nobody arrives.
	here, there = 2000, 0
	pass(time.Minute, 0)
	lines("Rebalancing: clients are let go to nodes that have fewer", "Rebalancing does not help")
}
