package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"logux-proxy/cluster"
)

// watchCluster adds the numbers of what connects a node with others.
func (m *metrics) watchCluster(n *clusterNode) {
	m.watchBus(n.bus.Stats)
	m.watchHandovers(n.handovers.Stats)
	if n.members != nil {
		m.watchMembers(n.members.Stats)
		m.watchLinks(n.links.Stats)
		m.watchAttempts(n.attempts.Stats)
		m.watchRebalance(&n.looks)
	}
}

// busStates are the labels of logux_bus_state.
var busStates = []string{string(cluster.BusOK), string(cluster.BusDegraded), string(cluster.BusDown)}

// watchBus adds the bus's numbers.
func (m *metrics) watchBus(read func() cluster.BusStats) {
	type stats = cluster.BusStats
	state := counters("logux_bus_state", "1 for the state of the bus: ok, degraded while actions go past Redis or a gap is healed, down without Redis.", "state", busStates,
		func(s *stats, i int) int64 { return one(string(s.State) == busStates[i]) })
	state.kind = prometheus.GaugeValue
	m.registry.MustRegister(&statsCollector[stats]{read, []series[stats]{
		state,
		counter("logux_bus_published_total", "Envelopes published for other nodes.", func(s *stats) int64 { return s.Published }),
		counter("logux_bus_received_total", "Envelopes of other nodes, each counted once.", func(s *stats) int64 { return s.Received }),
		counter("logux_bus_duplicates_total", "Further copies of received envelopes.", func(s *stats) int64 { return s.Duplicates }),
		counter("logux_bus_undecodable_total", "Messages and frames that could not be read.", func(s *stats) int64 { return s.Undecodable }),
		counter("logux_bus_gaps_total", "Times that a connection to Redis no longer brought everything.", func(s *stats) int64 { return s.Gaps }),
		counter("logux_bus_healed_total", "Nodes whose envelopes were made complete after a gap.", func(s *stats) int64 { return s.Healed }),
		counter("logux_bus_lost_total", "Gaps that nobody could fill: clients were closed so that they subscribe again.", func(s *stats) int64 { return s.Lost }),
		counter("logux_bus_replayed_total", "Envelopes that came past Redis while a gap was healed.", func(s *stats) int64 { return s.Replayed }),
		counter("logux_bus_direct_total", "Envelopes that came past Redis because one of the two nodes could not reach it.", func(s *stats) int64 { return s.Direct }),
		counter("logux_bus_pages_total", "Pages of envelopes sent past Redis.", func(s *stats) int64 { return s.Pages }),
		counter("logux_bus_reconnects_total", "Subscribed connections to Redis that ended.", func(s *stats) int64 { return s.Reconnects }),
		counter("logux_bus_expired_total", "Envelopes that Redis was not given in time.", func(s *stats) int64 { return s.Expired }),
		counter("logux_bus_overflows_total", "Times that too much was held while a gap was healed.", func(s *stats) int64 { return s.Overflows }),
		gauge("logux_bus_topics", "Topics subscribed in Redis, also those that linger.", func(s *stats) int64 { return s.Topics }),
		gauge("logux_bus_joins", "Users and channels of this node that need a topic.", func(s *stats) int64 { return s.Joins }),
		gauge("logux_bus_healing", "Nodes whose envelopes come past Redis now.", func(s *stats) int64 { return s.Healing }),
	}}, &redisCollector{read})
}

func one(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

// A redisCollector has the numbers of each Redis server, which come and go.
type redisCollector struct{ read func() cluster.BusStats }

func redisDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, []string{"redis"}, nil)
}

var (
	redisHealthy   = redisDesc("logux_redis_healthy", "1 while everything is subscribed at a Redis server and it takes what is published.")
	redisWaiting   = redisDesc("logux_redis_waiting_envelopes", "Envelopes that are not with a Redis server yet.")
	redisRoundTrip = redisDesc("logux_redis_round_trip_seconds", "Time of the last heartbeat through a Redis server and back.")
	redisLag       = redisDesc("logux_redis_lag_seconds", "Time from publishing to receiving the last envelope, by the clocks of two nodes.")
)

// Describe implements prometheus.Collector.
func (c *redisCollector) Describe(out chan<- *prometheus.Desc) {
	out <- redisHealthy
	out <- redisWaiting
	out <- redisRoundTrip
	out <- redisLag
}

// Collect implements prometheus.Collector.
func (c *redisCollector) Collect(out chan<- prometheus.Metric) {
	seen := make(map[string]bool)
	for _, r := range c.read().Connections {
		if seen[r.Redis] { // one that goes and one that comes, while a layout changes
			continue
		}
		seen[r.Redis] = true
		out <- prometheus.MustNewConstMetric(redisHealthy, prometheus.GaugeValue, float64(one(r.Healthy)), r.Redis)
		out <- prometheus.MustNewConstMetric(redisWaiting, prometheus.GaugeValue, float64(r.Waiting), r.Redis)
		out <- prometheus.MustNewConstMetric(redisRoundTrip, prometheus.GaugeValue, r.RoundTrip.Seconds(), r.Redis)
		out <- prometheus.MustNewConstMetric(redisLag, prometheus.GaugeValue, r.Lag.Seconds(), r.Redis)
	}
}

// watchHandovers adds the numbers of what nodes leave to each other.
func (m *metrics) watchHandovers(read func() cluster.HandoversStats) {
	type stats = cluster.HandoversStats
	m.registry.MustRegister(&statsCollector[stats]{read, []series[stats]{
		gauge("logux_claims", "Actions of this node that were acknowledged without an outcome and are kept in Redis.", func(s *stats) int64 { return int64(s.Claims) }),
		gauge("logux_claims_orphaned", "Claims of dead nodes that this one processes.", func(s *stats) int64 { return int64(s.Orphans) }),
		gauge("logux_claims_late", "Claims with an outcome that Redis could not be told yet.", func(s *stats) int64 { return int64(s.Late) }),
		counter("logux_takeovers_total", "Dead nodes whose claims were taken over here.", func(s *stats) int64 { return s.Takeovers }),
		counter("logux_claims_lost_total", "Claims of this node that another one took over.", func(s *stats) int64 { return s.Lost }),
		counter("logux_claims_rewritten_total", "Claims written again because Redis had forgotten them.", func(s *stats) int64 { return s.Rewritten }),
	}})
}

// watchMembers adds the gossip's numbers.
func (m *metrics) watchMembers(read func() cluster.MembersStats) {
	type stats = cluster.MembersStats
	m.registry.MustRegister(&statsCollector[stats]{read, []series[stats]{
		gauge("logux_members", "Nodes of the cluster that this one knows, itself included.", func(s *stats) int64 { return int64(s.Members) }),
		gauge("logux_gossip_score", "How unwell gossip takes this node for; 0 is well.", func(s *stats) int64 { return int64(s.Score) }),
		counter("logux_members_joined_total", "Times that another node joined.", func(s *stats) int64 { return s.Joins }),
		counter("logux_members_left_total", "Times that another node left or died.", func(s *stats) int64 { return s.Leaves }),
		counter("logux_members_refused_total", "Times that there was no room for another node.", func(s *stats) int64 { return s.Refused }),
		counter("logux_gossip_streams_cut_total", "Gossip streams closed for being too many or too long.", func(s *stats) int64 { return s.Cut }),
		counter("logux_gossip_strange_total", "Gossip packets and streams that are not of this cluster.", func(s *stats) int64 { return s.Strange }),
		counter("logux_gossip_updates_total", "Updates of what this node says about itself.", func(s *stats) int64 { return s.Metas }),
	}})
}

// watchLinks adds the numbers of what goes between nodes past Redis.
func (m *metrics) watchLinks(read func() cluster.LinksStats) {
	type stats = cluster.LinksStats
	m.registry.MustRegister(&statsCollector[stats]{read, []series[stats]{
		gauge("logux_links", "Links to other nodes.", func(s *stats) int64 { return int64(s.Links) }),
		gauge("logux_links_waiting_bytes", "Bytes that wait for other nodes.", func(s *stats) int64 { return int64(s.Queued) }),
		counter("logux_links_sent_total", "Frames that another node has acknowledged.", func(s *stats) int64 { return s.Sent }),
		counter("logux_links_received_total", "Frames of other nodes.", func(s *stats) int64 { return s.Received }),
		counter("logux_links_resent_total", "Messages sent again to another node.", func(s *stats) int64 { return s.Resent }),
		counter("logux_links_dropped_total", "Frames dropped because their node went away.", func(s *stats) int64 { return s.Dropped }),
		counter("logux_links_refused_total", "Frames that did not fit into the queue of a node.", func(s *stats) int64 { return s.Refused }),
		counter("logux_links_malformed_total", "Messages that made no sense or were for another node.", func(s *stats) int64 { return s.Malformed }),
	}})
}

// watchAttempts adds the numbers of shared wrong attempts.
func (m *metrics) watchAttempts(read func() cluster.AttemptsStats) {
	type stats = cluster.AttemptsStats
	m.registry.MustRegister(&statsCollector[stats]{read, []series[stats]{
		counter("logux_wrong_attempts_told_total", "Wrong credentials here that other nodes were told of.", func(s *stats) int64 { return s.Told }),
		counter("logux_wrong_attempts_heard_total", "Wrong credentials on other nodes.", func(s *stats) int64 { return s.Heard }),
		counter("logux_wrong_attempts_dropped_total", "Wrong credentials that a node was not told of.", func(s *stats) int64 { return s.Dropped }),
	}})
}
