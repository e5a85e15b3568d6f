package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"logux-proxy/cluster"
)

// rebalanceLooks are what the metrics say about rebalancing.
type rebalanceLooks struct {
	state  atomic.Int64 // a cluster.RebalanceState
	target atomic.Int64
}

// rebalance lets clients go to other nodes while those have fewer, until ctx ends or the node drains.
func (n *clusterNode) rebalance(ctx context.Context) {
	c := n.config
	if !c.Rebalance {
		return
	}
	r := &rebalancing{n: n, Rebalancer: cluster.NewRebalancer(n.life, cluster.RebalanceConfig{
		Rate: c.RebalanceRate, Margin: c.RebalanceMargin, Minimum: c.RebalanceMin, Delay: c.RebalanceDelay,
	})}
	tick := time.NewTicker(cluster.RebalanceEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if n.members.Meta().Draining {
			n.looks.target.Store(0)
			n.looks.state.Store(int64(cluster.RebalanceQuiet))
			return
		}
		r.step(ctx)
	}
}

// A rebalancing does what the Rebalancer decides, and tells.
type rebalancing struct {
	*cluster.Rebalancer
	n *clusterNode

	began  time.Time // zero while no clients are let go
	closed int       // since then
}

func (r *rebalancing) step(ctx context.Context) {
	n := r.n
	now := time.Now()
	clients := n.gateway.Connected()
	if let := r.Step(now, clients, n.members.View().Members); let > 0 {
		closed := n.gateway.Shed(ctx, let)
		r.Shed(now, closed)
		r.closed += closed
	}
	r.tell(now, clients)
}

// tell tells the metrics how it stands, and the log of the beginning and the end.
func (r *rebalancing) tell(now time.Time, clients int) {
	r.n.looks.state.Store(int64(r.State()))
	r.n.looks.target.Store(int64(r.Target()))
	working := r.State() == cluster.RebalanceSheds || r.State() == cluster.RebalanceWaits
	log := r.n.log
	switch {
	case working && r.began.IsZero():
		r.began = now
		log.Info("Rebalancing: clients are let go to nodes that have fewer", zap.Int("clients", clients), zap.Int("target", r.Target()))
	case !working && !r.began.IsZero():
		fields := []zap.Field{zap.Int("clients", clients), zap.Int("closed", r.closed), zap.Duration("duration", now.Sub(r.began))}
		r.began, r.closed = time.Time{}, 0
		if r.State() == cluster.RebalanceRests {
			log.Warn("Rebalancing does not help", append(fields, zap.String(hintKey,
				"The clients did not come to the nodes that have fewer: look whether the load balancer sends any there. The node tries again after some minutes."))...)
			return
		}
		log.Info("Rebalancing has ended", fields...)
	}
}

// rebalanceStates are the labels of logux_rebalance_state.
var rebalanceStates = [cluster.RebalanceStates]string{
	cluster.RebalanceQuiet: "quiet", cluster.RebalanceIdle: "idle", cluster.RebalanceSheds: "sheds", cluster.RebalanceWaits: "waits", cluster.RebalanceRests: "rests",
}

// watchRebalance adds the numbers of rebalancing. The clients that were let go are among the closed connections.
func (m *metrics) watchRebalance(l *rebalanceLooks) {
	type stats = rebalanceLooks
	state := counters("logux_rebalance_state",
		"1 for what rebalancing does: quiet while nodes come, go or are ill, idle, sheds clients, waits whether that helps, rests because it did not.",
		"state", rebalanceStates[:], func(s **stats, i int) int64 { return one((*s).state.Load() == int64(i)) })
	state.kind = prometheus.GaugeValue
	m.registry.MustRegister(&statsCollector[*stats]{func() *stats { return l }, []series[*stats]{
		state,
		gauge("logux_rebalance_target", "Clients that this node is content with; 0 while rebalancing is quiet or off.", func(s **stats) int64 { return (*s).target.Load() }),
	}})
}
