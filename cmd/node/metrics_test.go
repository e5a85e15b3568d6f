package main

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"logux-proxy/backend"
	"logux-proxy/cluster"
	"logux-proxy/gateway"
	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// scrape returns the text of /metrics.
func scrape(t *testing.T, m *metrics) string {
	t.Helper()
	w := ask(t, m.handler(), "GET", "/metrics")
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// watched is a metrics with all packages.
func watched(ts transport.Stats, gs gateway.Stats, bs backend.Stats) *metrics {
	m := newMetrics(func() int64 { return 0 })
	m.watchTransport(func() transport.Stats { return ts }, 2)
	m.watchGateway(func() gateway.Stats { return gs })
	m.watchBackend(func() backend.Stats { return bs })
	m.watchTracing(func() traceStats { return traceStats{Waiting: 160, Sent: 161, Full: 162, Failed: 163} })
	m.watchBus(func() cluster.BusStats {
		return cluster.BusStats{
			Published: 101, Received: 102, Duplicates: 103, Undecodable: 104, Gaps: 105, Healed: 106, Lost: 107, Replayed: 108, Direct: 109, Pages: 110,
			Reconnects: 111, Expired: 112, Overflows: 113, Topics: 114, Joins: 115, Healing: 116, State: cluster.BusDegraded,
			Connections: []cluster.BusConnection{
				{Redis: "a:6379", Healthy: true, Waiting: 117, RoundTrip: time.Millisecond, Lag: 2 * time.Second}, {Redis: "b:1"}, {Redis: "a:6379"},
			},
		}
	})
	m.watchHandovers(func() cluster.HandoversStats {
		return cluster.HandoversStats{Claims: 120, Orphans: 121, Late: 122, Takeovers: 123, Lost: 124, Rewritten: 125}
	})
	m.watchMembers(func() cluster.MembersStats {
		return cluster.MembersStats{Members: 130, Joins: 131, Leaves: 132, Refused: 133, Cut: 134, Strange: 135, Metas: 136, Score: 137}
	})
	m.watchLinks(func() cluster.LinksStats {
		return cluster.LinksStats{Links: 140, Queued: 141, Sent: 142, Received: 143, Resent: 144, Dropped: 145, Refused: 146, Malformed: 147}
	})
	m.watchAttempts(func() cluster.AttemptsStats { return cluster.AttemptsStats{Told: 150, Heard: 151, Dropped: 152} })
	return m
}

// promtool has nothing to say against the metrics.
func TestMetricsLint(t *testing.T) {
	text := scrape(t, watched(transport.Stats{}, gateway.Stats{}, backend.Stats{}))
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "logux_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "), " ")
		if !strings.HasPrefix(name, "logux_") && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") && !strings.HasPrefix(name, "promhttp_") {
			t.Errorf("a name outside of logux_: %s", line)
		}
	}
}

// Every label value is there from the start, at zero.
func TestMetricsStartAtZero(t *testing.T) {
	text := scrape(t, watched(transport.Stats{}, gateway.Stats{}, backend.Stats{}))
	var want []string
	for r := transport.CloseNone + 1; r < transport.CloseReasons; r++ {
		want = append(want, `logux_connections_closed_total{reason="`+r.String()+`"} 0`)
	}
	for r, name := range refusals {
		if name == "" {
			t.Errorf("refusal %d has no label", r)
		}
		want = append(want, `logux_sockets_refused_total{reason="`+name+`"} 0`)
	}
	for i, name := range messageTypes {
		if name == "" {
			t.Errorf("message type %d has no label", i)
		}
		want = append(want, `logux_messages_received_total{type="`+name+`"} 0`, `logux_messages_sent_total{type="`+name+`"} 0`)
	}
	for _, outcome := range gateway.Outcomes {
		want = append(want, `logux_actions_total{outcome="`+outcome+`"} 0`, `logux_action_seconds_count{outcome="`+outcome+`"} 0`)
	}
	for _, outcome := range authOutcomes {
		want = append(want, `logux_auth_seconds_count{outcome="`+outcome+`"} 0`)
	}
	for _, status := range requestStatuses {
		want = append(want, `logux_backend_request_seconds_count{status="`+status+`"} 0`)
	}
	for _, line := range want {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("missing: %s", line)
		}
	}
	if strings.Contains(text, `reason="none"`) || strings.Contains(text, `=""`) {
		t.Error("a label without a meaning")
	}
}

// Numbers arrive under their names.
func TestMetricsValues(t *testing.T) {
	ts := transport.Stats{Sockets: 11, Connections: 12, Accepted: 13, Upgraded: 14, MessagesIn: 15, BytesIn: 16, MessagesOut: 17, BytesOut: 18, Writes: 19, OutputWaiting: 20, Turns: 21, Tasks: 22}
	ts.Closed[transport.CloseSlow] = 23
	ts.Refused[0] = 24
	gs := gateway.Stats{Malformed: 30, Duplicates: 31, Routed: 32, Deliveries: 33, Zombies: 34, Clients: 35, Remembered: 36, Open: 37, Handovers: 90, Claims: 91, Orphans: 92, GapCloses: 93, Actions: map[string]int64{gateway.Outcomes[0]: 38}}
	gs.Members, gs.Users, gs.Channels, gs.Subscriptions = 40, 41, 42, 43
	gs.MessagesIn[wire.MessageSync], gs.MessagesOut[wire.MessagePong] = 44, 45
	bs := backend.Stats{Waiting: 50, InFlight: 51, Requests: 52, Commands: 53, Retries: 54, Ignored: 55, Locked: 1}
	m := watched(ts, gs, bs)
	m.actionDone(gateway.Outcomes[0], 20*time.Millisecond)
	m.authDone("denied", time.Second)
	m.backendRequest(backend.RequestInfo{Commands: 3, Status: 204, FirstByte: time.Millisecond, Total: 2 * time.Second})
	m.backendRequest(backend.RequestInfo{Commands: 1, Err: errors.New("refused"), Total: time.Second})
	text := scrape(t, m)
	for _, line := range []string{
		"logux_loops 2", "logux_sockets 11", "logux_connections 12", "logux_sockets_accepted_total 13", "logux_connections_opened_total 14",
		"logux_websocket_messages_received_total 15", "logux_websocket_received_bytes_total 16", "logux_websocket_messages_sent_total 17", "logux_websocket_sent_bytes_total 18",
		"logux_websocket_writes_total 19", "logux_output_waiting_bytes 20", "logux_loop_turns_total 21", "logux_loop_tasks_total 22",
		`logux_connections_closed_total{reason="slow"} 23`, `logux_sockets_refused_total{reason="` + refusals[0] + `"} 24`,
		"logux_messages_malformed_total 30", "logux_actions_repeated_total 31", "logux_receivers_total 32", "logux_deliveries_total 33", "logux_zombies_total 34",
		"logux_handovers_total 90", "logux_actions_claimed_total 91", "logux_actions_orphaned_total 92", "logux_gap_closes_total 93",
		"logux_clients_remembered 35", "logux_actions_remembered 36", "logux_actions_open 37", `logux_actions_total{outcome="processed"} 38`,
		"logux_clients 40", "logux_users 41", "logux_channels 42", "logux_subscriptions 43",
		`logux_messages_received_total{type="sync"} 44`, `logux_messages_sent_total{type="pong"} 45`,
		"logux_backend_waiting_commands 50", "logux_backend_requests_in_flight 51", "logux_backend_requests_total 52", "logux_backend_commands_total 53",
		"logux_backend_retries_total 54", "logux_backend_ignored_answers_total 55", "logux_backend_locked 1",
		`logux_action_seconds_sum{outcome="processed"} 0.02`, `logux_auth_seconds_sum{outcome="denied"} 1`,
		`logux_backend_request_seconds_sum{status="2xx"} 2`, `logux_backend_request_seconds_count{status="none"} 1`,
		"logux_bus_published_total 101", "logux_bus_received_total 102", "logux_bus_duplicates_total 103", "logux_bus_undecodable_total 104", "logux_bus_gaps_total 105",
		"logux_bus_healed_total 106", "logux_bus_lost_total 107", "logux_bus_replayed_total 108", "logux_bus_direct_total 109", "logux_bus_pages_total 110",
		"logux_bus_reconnects_total 111", "logux_bus_expired_total 112", "logux_bus_overflows_total 113", "logux_bus_topics 114", "logux_bus_joins 115", "logux_bus_healing 116",
		`logux_bus_state{state="ok"} 0`, `logux_bus_state{state="degraded"} 1`, `logux_bus_state{state="down"} 0`,
		`logux_redis_healthy{redis="a:6379"} 1`, `logux_redis_healthy{redis="b:1"} 0`, `logux_redis_waiting_envelopes{redis="a:6379"} 117`,
		`logux_redis_round_trip_seconds{redis="a:6379"} 0.001`, `logux_redis_lag_seconds{redis="a:6379"} 2`,
		"logux_claims 120", "logux_claims_orphaned 121", "logux_claims_late 122", "logux_takeovers_total 123", "logux_claims_lost_total 124", "logux_claims_rewritten_total 125",
		"logux_members 130", "logux_members_joined_total 131", "logux_members_left_total 132", "logux_members_refused_total 133", "logux_gossip_streams_cut_total 134",
		"logux_gossip_strange_total 135", "logux_gossip_updates_total 136", "logux_gossip_score 137",
		"logux_links 140", "logux_links_waiting_bytes 141", "logux_links_sent_total 142", "logux_links_received_total 143", "logux_links_resent_total 144", "logux_links_dropped_total 145",
		"logux_links_refused_total 146", "logux_links_malformed_total 147",
		"logux_wrong_attempts_told_total 150", "logux_wrong_attempts_heard_total 151", "logux_wrong_attempts_dropped_total 152",
		"logux_trace_spans_waiting 160", "logux_trace_spans_sent_total 161",
		`logux_trace_spans_dropped_total{reason="queue"} 162`, `logux_trace_spans_dropped_total{reason="collector"} 163`,
		"logux_backend_first_byte_seconds_count 1", "logux_backend_request_commands_sum 4",
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("missing: %s", line)
		}
	}
	if !strings.Contains(text, `logux_build_info{version="`) {
		t.Error("no build info")
	}
}

// What is called for every action allocates nothing.
func TestObservingAllocatesNothing(t *testing.T) {
	m := newMetrics(nil)
	request := backend.RequestInfo{Commands: 3, Status: 200, FirstByte: time.Millisecond, Total: time.Second}
	if n := testing.AllocsPerRun(1000, func() {
		m.actionDone(gateway.Outcomes[0], time.Millisecond)
		m.authDone("denied", time.Millisecond)
		m.backendRequest(request)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkActionDone(b *testing.B) {
	m := newMetrics(nil)
	b.ReportAllocs()
	for b.Loop() {
		m.actionDone(gateway.Outcomes[0], time.Millisecond)
	}
}
