package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A tracedBackend re-sends everything to the channel "posts", and remembers the header of each request with an action that is no subscription.
type tracedBackend struct {
	url string

	mu      sync.Mutex
	parents []string
}

func startTracedBackend(t *testing.T) *tracedBackend {
	t.Helper()
	b := new(tracedBackend)
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	b.url = server.URL + "/logux?key=canary-url"
	return b
}

// ServeHTTP implements http.Handler.
func (b *tracedBackend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Commands []struct {
			Command, AuthID string
			Action          struct{ Type string }
			Meta            struct{ ID string }
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answers := []map[string]any{}
	for _, c := range body.Commands {
		switch {
		case c.Command == "auth":
			answers = append(answers, map[string]any{"answer": "authenticated", "authId": c.AuthID, "subprotocol": "1.0.0"})
			continue
		case c.Action.Type == "broken":
			answers = append(answers, map[string]any{"answer": "error", "id": c.Meta.ID, "details": "at line 7"})
			continue
		case c.Action.Type != "logux/subscribe":
			answers = append(answers, map[string]any{"answer": "resend", "id": c.Meta.ID, "channels": []string{"posts"}})
			b.mu.Lock()
			b.parents = append(b.parents, strings.Join(r.Header.Values("Traceparent"), " and "))
			b.mu.Unlock()
		}
		answers = append(answers, map[string]any{"answer": "approved", "id": c.Meta.ID}, map[string]any{"answer": "processed", "id": c.Meta.ID})
	}
	_ = json.NewEncoder(w).Encode(answers)
}

func (b *tracedBackend) seen() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.parents)
}

// act sends the n-th action of a client and waits for its outcome.
func (b *browser) act(node, body string, n int) string {
	b.t.Helper()
	b.say(fmt.Sprintf(`["sync",%d,%s,{"id":[%[1]d,%[3]q,0],"time":%[1]d}]`, n, body, node))
	return b.hears(fmt.Sprintf(" %s 0\"", node))
}

// traceKeys are the attributes that a drawing of a trace shows.
var traceKeys = []string{
	"logux.action.type", "logux.channel", "logux.outcome", "logux.told", "logux.answer", "logux.commands", "http.response.status_code", "error.type",
	"logux.targets.channels", "logux.bus", "logux.receivers",
}

// The whole way of an action: from its author through the back-end, which gets the request's span as its parent, to clients here and
// at another node.
func TestTraceOverTwoNodes(t *testing.T) {
	const canary = "canary-08aa"
	redis := freeAddr(t)
	startRedis(t, redis)
	back, traces := startTracedBackend(t), startCollector(t)
	settings := []string{
		"LOGUX_TRACE", traces.url, "LOGUX_TRACE_RATIO", "1", "LOGUX_CONTROL_SECRET", canary + canary,
		"OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test%20bed,service.name=other", "OTEL_SERVICE_NAME", "edge",
		"OTEL_EXPORTER_OTLP_HEADERS", "api-key=" + canary + "%3D,x-team=web", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "1", "OTEL_TRACES_SAMPLER", "always_off",
	}
	a := startNode(t, back.url, "redis://"+redis, append(settings, "LOGUX_ID", "a")...)
	b := startNode(t, back.url, "redis://"+redis, append(settings, "LOGUX_ID", "b", "LOGUX_JOIN", a.gossip)...)
	whole(t, a, 2)
	whole(t, b, 2)

	author := dial(t, a.listen, "10:uuid:tab", canary)
	author.hears(`"connected"`)
	readers := map[string]*browser{"20:one:tab": dial(t, a.listen, "20:one:tab", ""), "30:two:tab": dial(t, b.listen, "30:two:tab", ""), "30:three:tab": dial(t, b.listen, "30:three:tab", "")}
	for node, reader := range readers {
		reader.hears(`"connected"`)
		reader.act(node, `{"type":"logux/subscribe","channel":"posts"}`, 1)
	}
	author.say(`["headers",{"session":"` + canary + `","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}]`)
	author.act("10:uuid:tab", `{"type":"posts/add","text":"`+canary+`"}`, 2)
	for _, reader := range readers {
		reader.hears("posts/add")
	}

	trace := traces.trace(t, "posts/add", 6)
	want := `logux.action server server:a type=posts/add outcome=processed told=connection
  logux.command internal server:a type=posts/add answer=processed
    POST client server:a commands=1 status_code=200
  logux.publish producer server:a type=posts/add channels=1 bus=true
    logux.deliver consumer server:a type=posts/add receivers=1
    logux.deliver consumer server:b type=posts/add receivers=2
`
	if got := drawn(trace, false, traceKeys...); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	t.Logf("with times:\n%s", drawn(trace, true, traceKeys...))
	if got := back.seen(); !slices.Equal(got, []string{traceparentOf(named(t, trace, "POST"))}) {
		t.Errorf("the back-end saw %q, and the span is %s", got, traceparentOf(named(t, trace, "POST")))
	}
	root := named(t, trace, "logux.action")
	if len(root.ParentSpanId) != 0 || strings.HasPrefix(traceparentOf(root), "00-0af7651916cd43dd8448eb211c80319c") {
		t.Error("a client has chosen the trace")
	}
	values := attributes(root.Attributes)
	if !strings.HasSuffix(values["logux.action.id"], " 10:uuid:tab 0") || values["logux.client.id"] != "10:uuid" || len(root.Events) != 1 {
		t.Errorf("the action's span: %v", root)
	}
	if r := root.resource; r["service.name"] != "edge" || r["deployment.environment.name"] != "test bed" || r["service.version"] == "" {
		t.Errorf("resource %v", r)
	}
	if url := attributes(named(t, trace, "POST").Attributes)["url.full"]; !strings.HasSuffix(url, "/logux") {
		t.Errorf("url.full is %q", url)
	}

	// A subscription, an error, and what the back-end sends of its own accord, in a trace of its own.
	if got := drawn(traces.trace(t, "logux/subscribe", 3), false, "logux.channel"); !strings.HasPrefix(got, "logux.subscribe server server:") || !strings.Contains(got, " channel=posts\n  logux.command internal") {
		t.Errorf("a subscription:\n%s", got)
	}
	author.act("10:uuid:tab", `{"type":"broken"}`, 3)
	broken := traces.trace(t, "broken", 3)
	if got := drawn(broken, false, traceKeys...); !strings.Contains(got, "outcome=error") || !strings.Contains(got, "answer=error type=answer") || named(t, broken, "logux.action").Status.GetCode().String() != "STATUS_CODE_ERROR" {
		t.Errorf("an error:\n%s", got)
	}
	control := strings.Replace(b.listen, "ws://", "http://", 1)
	body := `{"version":4,"secret":"` + canary + canary + `","commands":[{"command":"action","action":{"type":"%s","text":"` + canary + `"},"meta":{"channels":["posts"]}}]}`
	for kind, header := range map[string]string{"kept": "01", "dropped": "00"} {
		if status, text := post(t, control, fmt.Sprintf(body, kind), "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"+header); status != http.StatusOK {
			t.Fatalf("%d %s", status, text)
		}
	}
	kept := traces.trace(t, "kept", 4)
	want = `logux.control server server:b commands=1 status_code=200
  logux.publish producer server:b type=kept channels=1 bus=true
    logux.deliver consumer server:a type=kept receivers=1
    logux.deliver consumer server:b type=kept receivers=2
`
	if got := drawn(kept, false, traceKeys...); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if s := named(t, kept, "logux.control"); hex.EncodeToString(s.ParentSpanId) != "b7ad6b7169203331" || hex.EncodeToString(s.TraceId) != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("the back-end's trace goes on as %s", traceparentOf(s))
	}

	metrics := page(t, a.admin+"metrics")
	logs := a.stop(t) + b.stop(t)
	for _, s := range traces.all() {
		if attributes(s.Attributes)["logux.action.type"] == "dropped" {
			t.Error("the back-end had decided not to trace it")
		}
	}
	traces.mu.Lock()
	defer traces.mu.Unlock()
	for _, r := range traces.requests {
		if r.URL.Path != "/v1/traces" || r.Header.Get("Api-Key") != canary+"=" || r.Header.Get("X-Team") != "web" {
			t.Errorf("%s with %v", r.URL, r.Header)
		}
	}
	for _, text := range traces.bodies {
		if strings.Contains(text, "at line 7") {
			t.Error("what the back-end says of an error is in a span")
		}
	}
	for _, text := range append(traces.bodies, metrics, logs) {
		if at := strings.Index(text, "canary"); at >= 0 {
			t.Errorf("a secret or a body is in %q", text[max(0, at-100):min(len(text), at+50)])
		}
	}
}

// Without LOGUX_TRACE, and with a ratio of 0, there is nothing: no span, no header, no metric where nothing is traced.
func TestTracingOff(t *testing.T) {
	for _, ratio := range []string{"", "0"} {
		back, traces := startTracedBackend(t), startCollector(t)
		env := with("LOGUX_BACKEND", back.url, "LOGUX_PORT", "0", "LOGUX_ADMIN_ADDR", "127.0.0.1:0", "LOGUX_LOGGER", "json",
			"OTEL_EXPORTER_OTLP_ENDPOINT", traces.url, "OTEL_RESOURCE_ATTRIBUTES", "no pair")
		if ratio != "" {
			env["LOGUX_TRACE"], env["LOGUX_TRACE_RATIO"] = traces.url, ratio
			delete(env, "OTEL_RESOURCE_ATTRIBUTES")
		}
		p := start(t, env)
		client := dial(t, p.listen, "10:uuid:tab", "")
		client.hears(`"connected"`)
		client.act("10:uuid:tab", `{"type":"logux/subscribe","channel":"posts"}`, 1)
		client.act("10:uuid:tab", `{"type":"posts/add"}`, 2)
		if got := strings.Contains(page(t, p.admin+"metrics"), "logux_trace_"); got != (ratio != "") {
			t.Errorf("ratio %q: metrics of traces: %v", ratio, got)
		}
		p.stop(t)
		if got := back.seen(); !slices.Equal(got, []string{""}) || len(traces.all()) != 0 || len(traces.bodies) != 0 {
			t.Errorf("ratio %q: the back-end saw %q, the collector %d spans", ratio, got, len(traces.all()))
		}
	}
}

// A collector that is away or refuses costs spans, which are counted, and nothing else. What waits at the end is sent.
func TestCollectorInTrouble(t *testing.T) {
	back, traces := startTracedBackend(t), startCollector(t)
	traces.refuse = http.StatusBadRequest
	for _, url := range []string{traces.url + "/otlp", "http://" + freeAddr(t)} {
		p := start(t, with("LOGUX_BACKEND", back.url, "LOGUX_PORT", "0", "LOGUX_ADMIN_ADDR", "127.0.0.1:0", "LOGUX_LOGGER", "json", "LOGUX_TRACE", url, "LOGUX_TRACE_RATIO", "1"))
		client := dial(t, p.listen, "10:uuid:tab", "")
		client.hears(`"connected"`)
		for n := range 20 {
			if text := client.act("10:uuid:tab", `{"type":"posts/add"}`, n+1); !strings.Contains(text, "logux/processed") {
				t.Fatalf("%s", text)
			}
		}
		refused := strings.HasSuffix(url, "/otlp")
		if refused {
			eventually(t, "all are dropped", func() bool {
				// An action, its command, request, publication and delivery.
				return strings.Contains(page(t, p.admin+"metrics"), "\nlogux_trace_spans_dropped_total{reason=\"collector\"} 100\n")
			})
		}
		if rest := p.stop(t); strings.Count(rest, "Traces do not reach the collector") != 1 || refused && !strings.Contains(rest, "the collector answers 400") {
			t.Errorf("the log: %s", rest)
		}
	}
	traces.mu.Lock()
	traces.refuse = 0
	traces.mu.Unlock()
	p := start(t, with("LOGUX_BACKEND", back.url, "LOGUX_PORT", "0", "LOGUX_ADMIN_ADDR", "off", "LOGUX_LOGGER", "json", "LOGUX_TRACE", traces.url, "LOGUX_TRACE_RATIO", "1"))
	client := dial(t, p.listen, "10:uuid:tab", "")
	client.hears(`"connected"`)
	client.act("10:uuid:tab", `{"type":"posts/add"}`, 1)
	p.stop(t)
	if n := len(traces.all()); n != 5 {
		t.Errorf("%d spans after the end", n)
	}
}

// A node that traces nothing gets what another one traces, and the other way round.
func TestOneNodeTraces(t *testing.T) {
	redis := freeAddr(t)
	startRedis(t, redis)
	back, traces := startTracedBackend(t), startCollector(t)
	a := startNode(t, back.url, "redis://"+redis, "LOGUX_ID", "a", "LOGUX_TRACE", traces.url, "LOGUX_TRACE_RATIO", "1")
	b := startNode(t, back.url, "redis://"+redis, "LOGUX_ID", "b", "LOGUX_JOIN", a.gossip)
	whole(t, a, 2)
	whole(t, b, 2)
	here, there := dial(t, a.listen, "10:uuid:tab", ""), dial(t, b.listen, "20:uuid:tab", "")
	for node, client := range map[string]*browser{"10:uuid:tab": here, "20:uuid:tab": there} {
		client.hears(`"connected"`)
		client.act(node, `{"type":"logux/subscribe","channel":"posts"}`, 1)
	}
	here.act("10:uuid:tab", `{"type":"from/a"}`, 2)
	there.hears("from/a")
	there.act("20:uuid:tab", `{"type":"from/b"}`, 2)
	here.hears("from/b")
	traces.trace(t, "from/a", 5)
	a.stop(t)
	b.stop(t)
	for _, s := range traces.all() {
		if s.node != "server:a" || attributes(s.Attributes)["logux.action.type"] == "from/b" {
			t.Errorf("a span of %s, %v", s.node, s.Attributes)
		}
	}
}
