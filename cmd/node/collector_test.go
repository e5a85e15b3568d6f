package main

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A collector takes traces by OTLP over HTTP, as an OpenTelemetry collector does.
type collector struct {
	url string // without the path

	mu       sync.Mutex
	refuse   int // status instead of 200; 0 takes all
	spans    []span
	requests []*http.Request
	bodies   []string
}

// A span with the node that it is of.
type span struct {
	*tracepb.Span
	node     string
	resource map[string]string
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	c := new(collector)
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// ServeHTTP implements http.Handler.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var data tracepb.TracesData
	if err == nil {
		err = proto.Unmarshal(body, &data)
	}
	if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, "no traces", http.StatusTeapot)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests, c.bodies = append(c.requests, r), append(c.bodies, string(body))
	if c.refuse != 0 {
		http.Error(w, "not now", c.refuse)
		return
	}
	for _, of := range data.ResourceSpans {
		resource := attributes(of.Resource.GetAttributes())
		for _, in := range of.ScopeSpans {
			for _, s := range in.Spans {
				c.spans = append(c.spans, span{s, resource["service.instance.id"], resource})
			}
		}
	}
}

func (c *collector) all() []span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// trace waits until the collector has as many spans of the trace of the action of this type, and returns them.
func (c *collector) trace(t *testing.T, actionType string, spans int) (trace []span) {
	t.Helper()
	eventually(t, fmt.Sprintf("the %d spans of %s are there", spans, actionType), func() bool {
		trace = nil
		all := c.all()
		for _, root := range all {
			if attributes(root.Attributes)["logux.action.type"] != actionType {
				continue
			}
			for _, s := range all {
				if string(s.TraceId) == string(root.TraceId) {
					trace = append(trace, s)
				}
			}
			return len(trace) >= spans
		}
		return false
	})
	return trace
}

func attributes(list []*commonpb.KeyValue) map[string]string {
	values := make(map[string]string)
	for _, a := range list {
		switch v := a.Value.Value.(type) {
		case *commonpb.AnyValue_StringValue:
			values[a.Key] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			values[a.Key] = fmt.Sprint(v.IntValue)
		case *commonpb.AnyValue_BoolValue:
			values[a.Key] = fmt.Sprint(v.BoolValue)
		default:
			values[a.Key] = fmt.Sprint(v)
		}
	}
	return values
}

// drawn shows what only differs from run to run where timed is set: a span a line under the one that it is a part of, with its kind, node and
// some attributes.
func drawn(trace []span, timed bool, keys ...string) string {
	var out strings.Builder
	start := slices.MinFunc(trace, func(a, b span) int { return cmp.Compare(a.StartTimeUnixNano, b.StartTimeUnixNano) }).StartTimeUnixNano
	var under func(parent []byte, indent string)
	under = func(parent []byte, indent string) {
		var parts []span
		for _, s := range trace {
			known := slices.ContainsFunc(trace, func(o span) bool { return string(o.SpanId) == string(s.ParentSpanId) })
			if known && string(s.ParentSpanId) == string(parent) || !known && parent == nil {
				parts = append(parts, s)
			}
		}
		slices.SortFunc(parts, func(a, b span) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.node, b.node)) })
		for _, s := range parts {
			text := fmt.Sprintf("%s%s %s %s", indent, s.Name, strings.ToLower(strings.TrimPrefix(s.Kind.String(), "SPAN_KIND_")), s.node)
			values := attributes(s.Attributes)
			for _, key := range keys {
				if v, found := values[key]; found {
					text += " " + key[strings.LastIndexByte(key, '.')+1:] + "=" + v
				}
			}
			if timed {
				text = fmt.Sprintf("%7.2f ms %7.2f ms  %s", millis(s.StartTimeUnixNano-start), millis(s.EndTimeUnixNano-s.StartTimeUnixNano), text)
			}
			out.WriteString(text + "\n")
			under(s.SpanId, indent+"  ")
		}
	}
	under(nil, "")
	return out.String()
}

func millis(ns uint64) float64 { return float64(ns) / float64(time.Millisecond) }

// traceparentOf is the header that a span's request carries.
func traceparentOf(s span) string {
	return "00-" + hex.EncodeToString(s.TraceId) + "-" + hex.EncodeToString(s.SpanId) + "-01"
}

// named returns the one span of a name.
func named(t *testing.T, trace []span, name string) span {
	t.Helper()
	at := slices.IndexFunc(trace, func(s span) bool { return s.Name == name })
	if at < 0 {
		t.Fatalf("no span %s", name)
	}
	return trace[at]
}
