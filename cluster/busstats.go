package cluster

import (
	"sync/atomic"
	"time"
)

type busCounter = atomic.Int64

type busStats struct {
	published, received, duplicates, undecodable busCounter
	gaps, healed, lost, replayed, direct, pages  busCounter
	reconnects, expired, overflows, reconciled   busCounter
	topics, joins, healing                       busCounter // now
}

// BusStats are the counters of a Bus and how it stands.
type BusStats struct {
	Published   int64 // envelopes
	Received    int64 // envelopes of others, each counted once
	Duplicates  int64 // further copies of them
	Undecodable int64 // messages and frames that could not be read
	Gaps        int64 // times that a connection no longer brought everything
	Healed      int64 // servers whose envelopes were made complete after a gap
	Lost        int64 // times that Gap was called
	Replayed    int64 // envelopes that came over the mesh while a gap was healed
	Direct      int64 // envelopes that came over the mesh because their server, or we, could not reach Redis
	Pages       int64 // sent over the mesh
	Reconnects  int64 // subscribed connections that ended
	Expired     int64 // envelopes that Redis was not given in time
	Overflows   int64 // times that more was held than HoldBytes
	Reconciled  int64 // subscriptions, or whole connections of them, that were not as they should be and were mended

	Topics  int64 // that are or are to be subscribed, lingering ones too
	Joins   int64 // Joins without their Leave
	Healing int64 // servers whose envelopes come over the mesh
	State   BusState

	Connections []BusConnection
}

// A BusConnection is one Redis server.
type BusConnection struct {
	Redis     string    // its address
	Healthy   bool      // everything is subscribed, and it takes what is published
	Since     time.Time // of Healthy, as far as subscriptions go
	Error     string    // what was wrong last; "" while it is healthy
	Waiting   int64     // envelopes that are not with it yet
	RoundTrip time.Duration
	Lag       time.Duration // from publishing to receiving, by the clocks of two servers
}

// Stats returns the counters, and how each connection stands. Any goroutine may call it.
func (b *Bus) Stats() BusStats {
	c := &b.stats
	s := BusStats{
		Published: c.published.Load(), Received: c.received.Load(), Duplicates: c.duplicates.Load(),
		Undecodable: c.undecodable.Load(),
		Gaps:        c.gaps.Load(), Healed: c.healed.Load(), Lost: c.lost.Load(),
		Replayed: c.replayed.Load(), Direct: c.direct.Load(), Pages: c.pages.Load(),
		Reconnects: c.reconnects.Load(), Expired: c.expired.Load(), Overflows: c.overflows.Load(), Reconciled: c.reconciled.Load(),
		Topics: c.topics.Load(), Joins: c.joins.Load(), Healing: c.healing.Load(),
	}
	now, head := time.Now(), b.ring.head()
	healthy := 0
	nodes := b.layout.Load().nodes
	for _, n := range nodes {
		one := n.stand(now, head)
		if one.Healthy {
			healthy++
		}
		s.Connections = append(s.Connections, one)
	}
	switch {
	case healthy == len(nodes) && healthy > 0 && s.Healing == 0:
		s.State = BusOK
	case healthy > 0:
		s.State = BusDegraded
	default:
		s.State = BusDown
	}
	return s
}

// stand says how a server of Redis stands.
func (n *redisNode) stand(now time.Time, head uint64) BusConnection {
	p := n.publisher
	failing := p.failing(now, n.bus.cfg.Heartbeat)
	one := BusConnection{
		Redis: n.name, Waiting: int64(head - min(head, p.cursor())),
		RoundTrip: time.Duration(n.roundTrip.Load()), Lag: time.Duration(n.lag.Load()) * time.Millisecond,
	}
	p.mu.Lock()
	one.Error = p.mu.errText
	p.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	one.Healthy, one.Since = n.mu.settled && !failing, n.mu.since
	if one.Error == "" && !n.mu.settled {
		one.Error = n.mu.errText
	}
	return one
}
