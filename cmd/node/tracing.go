package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"logux-proxy/backend"
	"logux-proxy/gateway"
	"logux-proxy/wire"
)

// tracing records what happens to a part of the actions and sends it to an OpenTelemetry collector. Only this file and its
// neighbours know OpenTelemetry: gateway and backend tell their Tracer, and there is none while LOGUX_TRACE is not set.
type tracing struct {
	ratio    float64
	server   []attribute.KeyValue // of spans of requests to the back-end
	tracer   trace.Tracer
	provider *sdktrace.TracerProvider
	queue    *spanQueue
	upload   *traceUpload
}

var (
	_ gateway.Tracer = (*tracing)(nil)
	_ backend.Tracer = (*tracing)(nil)
)

const (
	// traceQueue is how many ended spans wait for the collector; more are dropped.
	traceQueue = 4096
	traceBatch = 512
	// traceDelay is how long spans are collected for one request.
	traceDelay = time.Second
	// tracePatience is how long one request may take with all its tries; meanwhile spans wait.
	tracePatience = 10 * time.Second
	// traceGoodbye is how long the end of the process waits for the collector to take the last spans.
	traceGoodbye = 500 * time.Millisecond
)

// traceLimits bound one span. They are ours, and not those of the environment: a node must not grow by a variable that was
// meant for the program next to it.
var traceLimits = sdktrace.SpanLimits{
	AttributeValueLengthLimit: 256, AttributeValueDepthLimit: 4, AttributeCountLimit: 32, EventCountLimit: 8, LinkCountLimit: 64,
	AttributePerEventCountLimit: 8, AttributePerLinkCountLimit: 8,
}

// newTracing starts to wait for spans. It returns nil when nothing is to be traced.
func newTracing(c *Config, log *zap.Logger) *tracing {
	if c.Trace == nil {
		return nil
	}
	// Nothing is expected to come here; without it the library would write to stderr.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("Tracing is in trouble", zap.Error(err)) }))
	t := &tracing{ratio: float64(c.TraceRatio), server: backendServer(c.Backend)}
	t.upload = newTraceUpload(c.traceURL(), c.traceEnv, log)
	t.queue = newSpanQueue(otlptrace.NewUnstarted(t.upload)) // there is nothing to start
	t.provider = sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.AlwaysSample()), // who asks for a span has decided already
		sdktrace.WithRawSpanLimits(traceLimits),
		sdktrace.WithResource(traceResource(c)),
		sdktrace.WithSpanProcessor(t.queue),
	)
	t.tracer = t.provider.Tracer("logux-proxy", trace.WithInstrumentationVersion(releaseName()), trace.WithSchemaURL(semconv.SchemaURL))
	return t
}

// traceResource says who traces. What the environment says of it wins.
func traceResource(c *Config) *resource.Resource {
	own := []attribute.KeyValue{
		semconv.ServiceName("logux-proxy"), semconv.ServiceVersion(releaseName()), semconv.ServiceInstanceID("server:" + c.ID),
	}
	return resource.NewWithAttributes(semconv.SchemaURL, append(own, c.traceEnv.resource...)...)
}

// stop sends the last spans. It may be called on nil.
func (t *tracing) stop() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), traceGoodbye)
	defer cancel()
	// A collector that does not take them in time loses them.
	if err := t.provider.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.upload.log.Warn("Tracing did not end well", zap.Error(err))
	}
	t.upload.cancel()
}

// A traceStep is a span and what its parts have to know of it.
type traceStep struct {
	span trace.Span
	at   wire.Trace
}

// Trace implements the ...Trace interfaces of gateway and backend.
func (s *traceStep) Trace() *wire.Trace { return &s.at }

// begin starts a span: as a part of a step of this process or, if remote, of another one, and as a trace of its own where
// of is nil.
func (t *tracing) begin(of *wire.Trace, remote bool, name string, options ...trace.SpanStartOption) traceStep {
	ctx := context.Background()
	if of != nil {
		ctx = trace.ContextWithSpanContext(ctx, spanContext(of, remote))
	}
	_, span := t.tracer.Start(ctx, name, options...)
	at := span.SpanContext()
	return traceStep{span, wire.Trace{ID: at.TraceID(), Span: at.SpanID()}}
}

func spanContext(of *wire.Trace, remote bool) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: of.ID, SpanID: of.Span, TraceFlags: trace.FlagsSampled, Remote: remote})
}

// chosen decides by chance. It takes a few nanoseconds.
func (t *tracing) chosen() bool { return rand.Float64() < t.ratio }
