package main

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/encoding/protowire"

	"logux-proxy/gateway"
	"logux-proxy/wire"
)

// answers is a collector that answers one request after another.
func answers(t *testing.T, answer ...http.HandlerFunc) (*traceUpload, *observer.ObservedLogs) {
	t.Helper()
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		answer[min(n, len(answer))-1](w, r)
	}))
	t.Cleanup(server.Close)
	to, err := url.Parse(server.URL + "/v1/traces?key=canary")
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.DebugLevel)
	u := newTraceUpload(to, traceEnvironment{headers: http.Header{"Api-Key": {"canary"}}}, zap.New(core))
	t.Cleanup(func() { _ = u.Stop(context.Background()) })
	return u, logs
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// A collector with a certificate of a private authority is reached with that authority, and with no other.
func TestUploadOverTLS(t *testing.T) {
	server := httptest.NewTLSServer(status(200))
	defer server.Close()
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		env  []string
		want bool
	}{
		{nil, false}, {[]string{"OTEL_EXPORTER_OTLP_CERTIFICATE", path}, true},
		{[]string{"OTEL_EXPORTER_OTLP_CERTIFICATE", "nowhere", "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", path}, true},
	} {
		config := mustLoad(t, with(append([]string{"LOGUX_TRACE", server.URL}, c.env...)...))
		u := newTraceUpload(config.traceURL(), config.traceEnv, zap.NewNop())
		if _, err := u.post(t.Context(), nil); (err == nil) != c.want {
			t.Errorf("%v: %v", c.env, err)
		}
		_ = u.Stop(t.Context())
	}
}

// "A client SHOULD retry on 429, 502, 503 and 504 and on a broken connection; all other 4xx and 5xx MUST NOT be retried."
func TestUploadTriesAgain(t *testing.T) {
	cut := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	one := []*tracepb.ResourceSpans{{}}
	u, logs := answers(t, status(503), cut, status(200))
	if err := u.UploadTraces(t.Context(), one); err != nil {
		t.Error(err)
	}
	var said []string
	for _, e := range logs.TakeAll() {
		said = append(said, e.Message)
		if strings.Contains(e.Message+strings.TrimSpace(e.ContextMap()["collector"].(string)), "canary") {
			t.Errorf("a key is in %v", e)
		}
	}
	if len(said) != 2 || !strings.HasPrefix(said[0], "Traces do not reach") || said[1] != "Traces reach the collector again" {
		t.Errorf("%q", said)
	}
	for _, code := range []int{301, 307, 400, 401, 404, 413, 500} {
		u, _ := answers(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere") // where the headers would go along
			w.WriteHeader(code)
		})
		if err := u.UploadTraces(t.Context(), one); err == nil {
			t.Errorf("%d is a success", code)
		}
	}
	u, _ = answers(t, status(503))
	u.cancel() // the node stops
	if err := u.UploadTraces(t.Context(), one); err == nil {
		t.Error("success after the end")
	}
}

// A collector may take some spans of a request and not others.
func TestUploadOfPart(t *testing.T) {
	partial := protowire.AppendTag(nil, 1, protowire.VarintType)
	partial = protowire.AppendVarint(partial, 3)
	partial = protowire.AppendTag(partial, 2, protowire.BytesType)
	partial = protowire.AppendString(partial, "canary")
	answer := protowire.AppendTag(nil, 9, protowire.Fixed64Type)
	answer = protowire.AppendFixed64(answer, 1)
	answer = protowire.AppendTag(answer, 1, protowire.BytesType)
	answer = protowire.AppendBytes(answer, partial)
	u, logs := answers(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(answer) })
	var part rejectedSpans
	if err := u.UploadTraces(t.Context(), nil); !errors.As(err, &part) || part != 3 {
		t.Errorf("%v", err)
	}
	if logs.Len() != 0 {
		t.Errorf("%v", logs.All())
	}
	for n := range answer {
		rejected(answer[:n]) // no panic
	}
	if n := rejected([]byte("<html>")); n != 0 {
		t.Errorf("%d of a page", n)
	}
}

// A slow exporter holds up nobody: what waits is bounded, and what is dropped is counted.
type slowExport struct {
	sdktrace.SpanExporter
	release chan struct{}
	err     error
}

func (x *slowExport) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	<-x.release
	return x.err
}

func (*slowExport) Shutdown(context.Context) error { return nil }

func TestSpanQueue(t *testing.T) {
	const more = 1000
	for _, fault := range []error{nil, errors.New("away"), rejectedSpans(1)} {
		x := &slowExport{release: make(chan struct{}), err: fault}
		q := newSpanQueue(x)
		provider := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.AlwaysSample()), sdktrace.WithSpanProcessor(q))
		for range traceQueue + more {
			_, s := provider.Tracer("test").Start(context.Background(), "x", trace.WithTimestamp(time.Now()))
			s.End()
		}
		if n, dropped := q.waiting.Load(), q.full.Load(); n != traceQueue || dropped != more {
			t.Errorf("%d wait, %d were dropped", n, dropped)
		}
		close(x.release)
		if err := provider.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		batches := int64(traceQueue / traceBatch)
		sent, failed := int64(traceQueue), int64(0)
		switch {
		case errors.As(fault, new(rejectedSpans)):
			sent, failed = sent-batches, batches
		case fault != nil:
			sent, failed = 0, sent
		}
		if q.waiting.Load() != 0 || q.sent.Load() != sent || q.failed.Load() != failed {
			t.Errorf("%v: %d wait, %d sent, %d failed", fault, q.waiting.Load(), q.sent.Load(), q.failed.Load())
		}
	}
}

// An action that is not sampled costs a random number.
func TestUnsampledAllocatesNothing(t *testing.T) {
	x := &tracing{ratio: 0}
	a := gateway.ActionStart{Action: &wire.Action{ID: "1 10:a:tab 0", Type: "x"}, Came: time.Now()}
	if n := testing.AllocsPerRun(1000, func() {
		if x.Action(a) != nil {
			t.Error("it is sampled")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTraceRatio(t *testing.T) {
	for _, c := range []struct {
		ratio     float64
		low, high int
	}{{0, 0, 0}, {1, 10_000, 10_000}, {0.5, 4_000, 6_000}, {0.01, 1, 1000}} {
		x, n := &tracing{ratio: c.ratio}, 0
		for range 10_000 {
			if x.chosen() {
				n++
			}
		}
		if n < c.low || n > c.high {
			t.Errorf("%d of 10,000 with a ratio of %v", n, c.ratio)
		}
	}
}

func BenchmarkUnsampled(b *testing.B) {
	x := &tracing{ratio: 0.01}
	for b.Loop() {
		x.chosen()
	}
}
