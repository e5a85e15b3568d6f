package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"logux-proxy/backend"
	"logux-proxy/gateway"
	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// A statsCollector turns the Stats of one package into metrics at each scrape.
type statsCollector[S any] struct {
	read   func() S
	series []series[S]
}

// series is one metric, with one value or with one for each value of a label.
type series[S any] struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	labels []string // values of the label; "" is left out; nil for a metric without one
	value  func(s *S, label int) float64
}

// counter and gauge make the series of one number.
func counter[S any](name, help string, value func(s *S) int64) series[S] {
	return series[S]{prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue, nil, func(s *S, _ int) float64 { return float64(value(s)) }}
}

func gauge[S any](name, help string, value func(s *S) int64) series[S] {
	one := counter(name, help, value)
	one.kind = prometheus.GaugeValue
	return one
}

// counters makes the series of a number for each value of label.
func counters[S any](name, help, label string, values []string, value func(s *S, i int) int64) series[S] {
	return series[S]{prometheus.NewDesc(name, help, []string{label}, nil), prometheus.CounterValue, values, func(s *S, i int) float64 { return float64(value(s, i)) }}
}

// Describe implements prometheus.Collector.
func (c *statsCollector[S]) Describe(out chan<- *prometheus.Desc) {
	for _, s := range c.series {
		out <- s.desc
	}
}

// Collect implements prometheus.Collector.
func (c *statsCollector[S]) Collect(out chan<- prometheus.Metric) {
	stats := c.read()
	for _, s := range c.series {
		if s.labels == nil {
			out <- prometheus.MustNewConstMetric(s.desc, s.kind, s.value(&stats, 0))
			continue
		}
		for i, label := range s.labels {
			if label != "" {
				out <- prometheus.MustNewConstMetric(s.desc, s.kind, s.value(&stats, i), label)
			}
		}
	}
}

// refusals are the labels of transport.Stats.Refused.
var refusals = [transport.Refusals]string{
	transport.RefusedLimit: "limit", transport.RefusedOrigin: "origin", transport.RefusedRequest: "request", transport.RefusedTLS: "tls",
}

// messageTypes are the labels of gateway.Stats.MessagesIn and MessagesOut.
var messageTypes = [wire.MessageTypes]string{
	wire.MessageUnknown: "unknown", wire.MessageConnect: "connect", wire.MessageConnected: "connected",
	wire.MessagePing: "ping", wire.MessagePong: "pong", wire.MessageSync: "sync", wire.MessageSynced: "synced",
	wire.MessageError: "error", wire.MessageDebug: "debug", wire.MessageHeaders: "headers",
}

// closeReasons are the labels of transport.Stats.Closed; CloseNone is no reason and stays "".
func closeReasons() []string {
	reasons := make([]string, transport.CloseReasons)
	for r := transport.CloseNone + 1; r < transport.CloseReasons; r++ {
		reasons[r] = r.String()
	}
	return reasons
}

// watchTransport adds the transport's numbers.
func (m *metrics) watchTransport(read func() transport.Stats, loops int) {
	type stats = transport.Stats
	m.registry.MustRegister(&statsCollector[stats]{read, []series[stats]{
		gauge("logux_loops", "Event loops.", func(*stats) int64 { return int64(loops) }),
		gauge("logux_sockets", "Open sockets of the listener, upgraded or not.", func(s *stats) int64 { return s.Sockets }),
		gauge("logux_connections", "Open WebSocket connections.", func(s *stats) int64 { return s.Connections }),
		counter("logux_sockets_accepted_total", "Sockets accepted.", func(s *stats) int64 { return s.Accepted }),
		counters("logux_sockets_refused_total", "Sockets and upgrades refused.", "reason", refusals[:], func(s *stats, i int) int64 { return s.Refused[i] }),
		counter("logux_connections_opened_total", "WebSocket connections opened.", func(s *stats) int64 { return s.Upgraded }),
		counters("logux_connections_closed_total", "WebSocket connections closed, by reason.", "reason", closeReasons(),
			func(s *stats, i int) int64 { return s.Closed[i] }),
		counter("logux_websocket_messages_received_total", "WebSocket messages received.", func(s *stats) int64 { return s.MessagesIn }),
		counter("logux_websocket_received_bytes_total", "Bytes received on WebSocket connections.", func(s *stats) int64 { return s.BytesIn }),
		counter("logux_websocket_messages_sent_total", "WebSocket messages sent.", func(s *stats) int64 { return s.MessagesOut }),
		counter("logux_websocket_sent_bytes_total", "Bytes sent on WebSocket connections.", func(s *stats) int64 { return s.BytesOut }),
		counter("logux_websocket_writes_total", "System calls that wrote to WebSocket connections.", func(s *stats) int64 { return s.Writes }),
		gauge("logux_output_waiting_bytes", "Bytes that wait for clients to read.", func(s *stats) int64 { return s.OutputWaiting }),
		counter("logux_loop_turns_total", "Turns of the event loops.", func(s *stats) int64 { return s.Turns }),
		counter("logux_loop_tasks_total", "Tasks run by the event loops.", func(s *stats) int64 { return s.Tasks }),
	}})
}

// watchGateway adds the gateway's numbers.
func (m *metrics) watchGateway(read func() gateway.Stats) {
	type stats = gateway.Stats
	types := messageTypes[:]
	m.registry.MustRegister(&statsCollector[stats]{read, []series[stats]{
		gauge("logux_clients", "Clients connected and let in.", func(s *stats) int64 { return s.Members }),
		gauge("logux_users", "Users connected.", func(s *stats) int64 { return s.Users }),
		gauge("logux_channels", "Channels with subscribers.", func(s *stats) int64 { return s.Channels }),
		gauge("logux_subscriptions", "Subscriptions.", func(s *stats) int64 { return s.Subscriptions }),
		counters("logux_messages_received_total", "Logux messages received, by type.", "type", types, func(s *stats, i int) int64 { return s.MessagesIn[i] }),
		counters("logux_messages_sent_total", "Logux messages sent, by type.", "type", types, func(s *stats, i int) int64 { return s.MessagesOut[i] }),
		counter("logux_messages_malformed_total", "Messages refused for their form.", func(s *stats) int64 { return s.Malformed }),
		counters("logux_actions_total", "Actions of clients, by outcome.", "outcome", gateway.Outcomes, func(s *stats, i int) int64 { return s.Actions[gateway.Outcomes[i]] }),
		counter("logux_actions_repeated_total", "Actions that came again after a reconnect and were not processed again.", func(s *stats) int64 { return s.Duplicates }),
		counter("logux_receivers_total", "Receivers found for actions.", func(s *stats) int64 { return s.Routed }),
		counter("logux_deliveries_total", "Actions written to connections.", func(s *stats) int64 { return s.Deliveries }),
		counter("logux_zombies_total", "Connections replaced by a newer one of the same client.", func(s *stats) int64 { return s.Zombies }),
		counter("logux_handovers_total", "Clients that left with something open, which was written for the nodes where they come back.", func(s *stats) int64 { return s.Handovers }),
		counter("logux_actions_claimed_total", "Actions that were made safe in Redis before they were acknowledged without an outcome.", func(s *stats) int64 { return s.Claims }),
		counter("logux_actions_orphaned_total", "Actions of dead nodes that were processed here.", func(s *stats) int64 { return s.Orphans }),
		counter("logux_gap_closes_total", "Connections closed because actions of other nodes may be missing.", func(s *stats) int64 { return s.GapCloses }),
		gauge("logux_clients_remembered", "Clients, connected or not, whose actions are remembered.", func(s *stats) int64 { return s.Clients }),
		gauge("logux_actions_remembered", "Actions remembered in case their client sends them again.", func(s *stats) int64 { return s.Remembered }),
		gauge("logux_actions_open", "Actions of clients without an outcome.", func(s *stats) int64 { return s.Open }),
	}})
}

// spanDrops are the labels of traceStats.Full and Failed.
var spanDrops = []string{"queue", "collector"}

// watchTracing adds the numbers of traces.
func (m *metrics) watchTracing(read func() traceStats) {
	type stats = traceStats
	m.registry.MustRegister(&statsCollector[stats]{read, []series[stats]{
		gauge("logux_trace_spans_waiting", "Spans that wait for the collector.", func(s *stats) int64 { return s.Waiting }),
		counter("logux_trace_spans_sent_total", "Spans that the collector took.", func(s *stats) int64 { return s.Sent }),
		counters("logux_trace_spans_dropped_total", "Spans that no collector got, because too many waited or it did not take them.", "reason", spanDrops,
			func(s *stats, i int) int64 { return [...]int64{s.Full, s.Failed}[i] }),
	}})
}

// watchBackend adds the numbers of the back-end's client.
func (m *metrics) watchBackend(read func() backend.Stats) {
	type stats = backend.Stats
	m.registry.MustRegister(&statsCollector[stats]{read, []series[stats]{
		gauge("logux_backend_waiting_commands", "Commands that are not yet in a request.", func(s *stats) int64 { return s.Waiting }),
		gauge("logux_backend_requests_in_flight", "Requests to the back-end under way.", func(s *stats) int64 { return s.InFlight }),
		counter("logux_backend_requests_total", "Requests to the back-end.", func(s *stats) int64 { return s.Requests }),
		counter("logux_backend_commands_total", "Commands sent to the back-end.", func(s *stats) int64 { return s.Commands }),
		counter("logux_backend_retries_total", "Commands sent again.", func(s *stats) int64 { return s.Retries }),
		counter("logux_backend_ignored_answers_total", "Answers for no waiting command.", func(s *stats) int64 { return s.Ignored }),
		gauge("logux_backend_locked", "1 while the back-end refuses our secret.", func(s *stats) int64 { return s.Locked }),
	}})
}
