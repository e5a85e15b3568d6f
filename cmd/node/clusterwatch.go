package main

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"logux-proxy/cluster"
	"logux-proxy/wire"
)

// A busHealth is how the node stands with Redis.
type busHealth struct {
	state cluster.BusState
	// cutOff: Redis has been away from this node for some time, and not from another one. Clients are better off there.
	cutOff bool
}

// Times of watch.
const (
	watchEvery = 500 * time.Millisecond
	// cutOffAfter is how long Redis has to be away from this node and not from others before the node is not ready: when
	// Redis dies they do not all notice in the same second.
	cutOffAfter = 5 * time.Second
	// busLogEvery is the time between two lines about the state of the bus, at least.
	busLogEvery = 5 * time.Second
	// twinAfter is how long another node of the same name has to be there: the one before this, which was killed, is for
	// some seconds too.
	twinAfter = 20 * time.Second
)

// A watcher tells the others how this node is, and the log what has changed.
type watcher struct {
	n     *clusterNode
	files []*secretFile // read again when they change

	begun  bool             // the bus has been well once
	down   time.Time        // since when others have Redis and we do not; zero when that is not so
	told   cluster.BusState // what the log was told last
	toldAt time.Time
	twins  map[wire.ServerID]twin
}

// A twin is another node of our name.
type twin struct {
	since time.Time
	told  bool // the log was
}

// watch works until ctx ends.
func (n *clusterNode) watch(ctx context.Context) {
	w := &watcher{n: n, files: n.secretFiles(), told: cluster.BusDown, twins: make(map[wire.ServerID]twin)}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		w.look(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (w *watcher) look(now time.Time) {
	n := w.n
	state := n.bus.Stats().State
	h := &busHealth{state: state}
	if n.members != nil {
		n.members.SetBus(state)
		connections := n.gateway.Connected()
		n.members.SetLoad(connections, percent(connections, connectionLimit(n.config.MaxConnections)))
		view := n.members.View()
		h.cutOff = w.cutOff(now, state, view)
		w.findTwins(now, view)
	}
	for _, f := range w.files {
		f.look()
	}
	n.health.Store(h)
	w.say(now, state)
}

func percent(n, of int) int { return int(int64(n) * 100 / int64(max(of, 1))) }

// cutOff reports whether this node has lost Redis and others have not, for long enough. A node that never had it is cut
// off at once.
func (w *watcher) cutOff(now time.Time, state cluster.BusState, view *cluster.View) bool {
	w.begun = w.begun || state != cluster.BusDown
	others := slices.ContainsFunc(view.Members, func(m cluster.Member) bool {
		return m.ID != w.n.life && m.Meta.Bus == cluster.BusOK && !m.Meta.Draining
	})
	if state != cluster.BusDown || !others {
		w.down = time.Time{}
		return false
	}
	if w.down.IsZero() {
		w.down = now
	}
	return !w.begun || now.Sub(w.down) >= cutOffAfter
}

// say logs how the bus stands when that has changed, but not each time that it changes to and fro.
func (w *watcher) say(now time.Time, state cluster.BusState) {
	if state == w.told || now.Sub(w.toldAt) < busLogEvery {
		return
	}
	w.told, w.toldAt = state, now
	log := w.n.log
	switch state {
	case cluster.BusOK:
		log.Info("The bus is well: actions for other nodes go through Redis")
	case cluster.BusDegraded:
		log.Warn("The bus is degraded: a part of the actions for other nodes goes past Redis")
	default:
		if w.n.members == nil {
			log.Error("The bus is down: actions reach clients of this node only", zap.String(hintKey, "With LOGUX_GOSSIP_ADDR they would go past Redis."))
			return
		}
		log.Warn("The bus is down: actions for other nodes go past Redis")
	}
}

// findTwins complains about living nodes of our name: each gets what is meant for the other.
func (w *watcher) findTwins(now time.Time, view *cluster.View) {
	found := make(map[wire.ServerID]twin)
	for _, m := range view.Members {
		if m.ID == w.n.life || m.ID.Node() != w.n.life.Node() {
			continue
		}
		t, known := w.twins[m.ID]
		if !known {
			t.since = now
		}
		if !t.told && now.Sub(t.since) >= twinAfter {
			t.told = true
			w.n.log.Error("Another node has the same name as this one", zap.String("nodeId", string(m.ID.Node())), zap.Stringer("address", m.Addr),
				zap.String(hintKey, "Give each node a LOGUX_ID of its own, or none. Until then actions between the two get lost."))
		}
		found[m.ID] = t
	}
	w.twins = found
}
