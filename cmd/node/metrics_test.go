package main

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"logux-proxy/backend"
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
	gs := gateway.Stats{Malformed: 30, Duplicates: 31, Routed: 32, Deliveries: 33, Zombies: 34, Clients: 35, Remembered: 36, Open: 37, Actions: map[string]int64{gateway.Outcomes[0]: 38}}
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
		"logux_clients_remembered 35", "logux_actions_remembered 36", "logux_actions_open 37", `logux_actions_total{outcome="processed"} 38`,
		"logux_clients 40", "logux_users 41", "logux_channels 42", "logux_subscriptions 43",
		`logux_messages_received_total{type="sync"} 44`, `logux_messages_sent_total{type="pong"} 45`,
		"logux_backend_waiting_commands 50", "logux_backend_requests_in_flight 51", "logux_backend_requests_total 52", "logux_backend_commands_total 53",
		"logux_backend_retries_total 54", "logux_backend_ignored_answers_total 55", "logux_backend_locked 1",
		`logux_action_seconds_sum{outcome="processed"} 0.02`, `logux_auth_seconds_sum{outcome="denied"} 1`,
		`logux_backend_request_seconds_sum{status="2xx"} 2`, `logux_backend_request_seconds_count{status="none"} 1`,
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
