package main

import (
	"cmp"
	"slices"
	"time"

	"logux-proxy/cluster"
)

// An overview is what /cluster shows: all nodes as this one knows them, and how this one stands with Redis and the others.
type overview struct {
	Time     time.Time       `json:"time"`
	Node     string          `json:"node"`              // the node ID of who says this
	Cluster  string          `json:"cluster,omitempty"` // "" without gossip
	Nodes    []nodeOverview  `json:"nodes"`
	Bus      *busOverview    `json:"bus,omitempty"`      // nil for a single node
	Handover *handoverCounts `json:"handover,omitempty"` // likewise
	Gossip   *gossipCounts   `json:"gossip,omitempty"`   // nil without gossip
}

// A nodeOverview is one node.
type nodeOverview struct {
	ID          string           `json:"id"`
	Life        string           `json:"life,omitempty"` // tells a node from the one that had its ID before
	Self        bool             `json:"self"`
	Release     string           `json:"release"`
	Connections int              `json:"connections"`
	Load        int              `json:"load"` // per cent of its LOGUX_MAX_CONNECTIONS
	Draining    bool             `json:"draining"`
	Bus         cluster.BusState `json:"bus,omitempty"`
	Gossip      string           `json:"gossip,omitempty"`
	Since       time.Time        `json:"since"` // it is known here
}

// A busOverview is how this node stands with Redis.
type busOverview struct {
	State       cluster.BusState `json:"state"`
	Healing     int64            `json:"healing"` // nodes whose actions come past Redis
	Topics      int64            `json:"topics"`
	Published   int64            `json:"published"`
	Received    int64            `json:"received"`
	Gaps        int64            `json:"gaps"`
	Healed      int64            `json:"healed"`
	Lost        int64            `json:"lost"`
	Direct      int64            `json:"direct"`
	Replayed    int64            `json:"replayed"`
	Connections []redisOverview  `json:"connections"`
}

// A redisOverview is one Redis server.
type redisOverview struct {
	Redis       string    `json:"redis"`
	Healthy     bool      `json:"healthy"`
	Since       time.Time `json:"since"`
	Error       string    `json:"error,omitempty"`
	Waiting     int64     `json:"waiting"` // envelopes
	RoundTripMs float64   `json:"roundTripMs"`
	LagMs       float64   `json:"lagMs"`
}

// handoverCounts are about what nodes leave to each other in Redis.
type handoverCounts struct {
	Claims    int   `json:"claims"`
	Orphans   int   `json:"orphans"`
	Takeovers int64 `json:"takeovers"`
}

// gossipCounts are about what goes past Redis.
type gossipCounts struct {
	Joins   int64 `json:"joins"`
	Leaves  int64 `json:"leaves"`
	Waiting int   `json:"waitingBytes"`
	Resent  int64 `json:"resent"`
}

// overview looks at the cluster now.
func (n *node) overview() *overview {
	connections := n.gateway.Connected()
	self := nodeOverview{
		ID: "server:" + n.config.ID, Self: true, Release: releaseName(), Connections: connections,
		Load: percent(connections, connectionLimit(n.config.MaxConnections)), Draining: n.draining.Load(), Since: n.start,
	}
	o := &overview{Time: time.Now(), Node: self.ID}
	if n.cluster != nil {
		n.cluster.describe(o, &self)
	}
	o.Nodes = append(o.Nodes, self)
	slices.SortFunc(o.Nodes, func(a, b nodeOverview) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Life, b.Life))
	})
	return o
}

// describe adds the other nodes and what connects this one with them. What gossip says of this node is older than what
// it knows itself.
func (n *clusterNode) describe(o *overview, self *nodeOverview) {
	stats := n.bus.Stats()
	self.Life, self.Bus, self.Gossip = string(n.life), stats.State, n.addr()
	o.Bus = describeBus(&stats)
	h := n.handovers.Stats()
	o.Handover = &handoverCounts{Claims: h.Claims, Orphans: h.Orphans, Takeovers: h.Takeovers}
	if n.members == nil {
		return
	}
	o.Cluster = n.config.Cluster
	m, l := n.members.Stats(), n.links.Stats()
	o.Gossip = &gossipCounts{Joins: m.Joins, Leaves: m.Leaves, Waiting: l.Queued, Resent: l.Resent}
	for _, other := range n.members.View().Members {
		if other.ID != n.life {
			o.Nodes = append(o.Nodes, describeNode(&other))
		}
	}
}

func describeNode(m *cluster.Member) nodeOverview {
	return nodeOverview{
		ID: string(m.ID.Node()), Life: string(m.ID), Release: oneLine(m.Meta.Release), Connections: m.Meta.Connections, Load: m.Meta.Load,
		Draining: m.Meta.Draining, Bus: m.Meta.Bus, Gossip: m.Addr.String(), Since: m.Since,
	}
}

func describeBus(s *cluster.BusStats) *busOverview {
	b := &busOverview{
		State: s.State, Healing: s.Healing, Topics: s.Topics, Published: s.Published, Received: s.Received, Gaps: s.Gaps, Healed: s.Healed,
		Lost: s.Lost, Direct: s.Direct, Replayed: s.Replayed, Connections: []redisOverview{},
	}
	for _, c := range s.Connections {
		b.Connections = append(b.Connections, redisOverview{
			Redis: c.Redis, Healthy: c.Healthy, Since: c.Since, Error: oneLine(cut(c.Error, maxLogField)), Waiting: c.Waiting,
			RoundTripMs: milliseconds(c.RoundTrip), LagMs: milliseconds(c.Lag),
		})
	}
	return b
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}
