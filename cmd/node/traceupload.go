package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// A spanQueue stands before the SDK's queue of ended spans. It bounds what waits and counts what is dropped, which the SDK
// does not tell.
type spanQueue struct {
	sdktrace.SpanProcessor // the SDK's, which gives batches to a spanExport

	waiting atomic.Int64
	sent    atomic.Int64
	full    atomic.Int64 // dropped because too many waited
	failed  atomic.Int64 // dropped because the collector did not take them
}

func newSpanQueue(export sdktrace.SpanExporter) *spanQueue {
	q := new(spanQueue)
	q.SpanProcessor = sdktrace.NewBatchSpanProcessor(&spanExport{export, q}, sdktrace.WithMaxQueueSize(traceQueue),
		sdktrace.WithMaxExportBatchSize(traceBatch), sdktrace.WithBatchTimeout(traceDelay), sdktrace.WithExportTimeout(tracePatience))
	return q
}

// OnEnd implements sdktrace.SpanProcessor. It never waits: the SDK's queue is as long as ours.
func (q *spanQueue) OnEnd(s sdktrace.ReadOnlySpan) {
	if q.waiting.Add(1) > traceQueue {
		q.waiting.Add(-1)
		q.full.Add(1)
		return
	}
	q.SpanProcessor.OnEnd(s)
}

// A spanExport stands behind the SDK's queue.
type spanExport struct {
	sdktrace.SpanExporter
	queue *spanQueue
}

// ExportSpans implements sdktrace.SpanExporter. Its errors are counted here and logged by traceUpload.
func (x *spanExport) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	q, n := x.queue, int64(len(spans))
	defer q.waiting.Add(-n)
	var part rejectedSpans
	switch err := x.SpanExporter.ExportSpans(ctx, spans); {
	case err == nil:
		q.sent.Add(n)
	case errors.As(err, &part):
		q.sent.Add(n - min(int64(part), n))
		q.failed.Add(min(int64(part), n))
	default:
		q.failed.Add(n)
	}
	return nil
}

// traceStats are for metrics.
type traceStats struct{ Waiting, Sent, Full, Failed int64 }

func (t *tracing) stats() traceStats {
	q := t.queue
	return traceStats{Waiting: q.waiting.Load(), Sent: q.sent.Load(), Full: q.full.Load(), Failed: q.failed.Load()}
}

// A traceUpload posts spans as OTLP over HTTP. It is a client for otlptrace instead of otlptracehttp, which links gRPC for
// one message of the same form as TracesData, adds five megabytes, and reads the environment behind our back.
type traceUpload struct {
	url    string
	header http.Header
	client *http.Client
	log    *zap.Logger
	ctx    context.Context // ends with the node
	cancel context.CancelFunc
	broken bool // what it said last; one goroutine uploads
}

func newTraceUpload(to *url.URL, env traceEnvironment, log *zap.Logger) *traceUpload {
	u := &traceUpload{url: to.String(), header: env.headers.Clone(), log: log.With(zap.String("collector", shownURL(to)))}
	if u.header == nil {
		u.header = make(http.Header)
	}
	u.header.Set("Content-Type", "application/x-protobuf")
	u.header.Set("User-Agent", "logux-proxy/"+releaseName())
	u.client = &http.Client{
		Transport: &http.Transport{TLSClientConfig: env.tls, MaxIdleConns: 1, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: tracePatience, ResponseHeaderTimeout: tracePatience, ForceAttemptHTTP2: true},
		// A collector has one address. Behind a redirect the headers with its key would go elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	u.ctx, u.cancel = context.WithCancel(context.Background())
	return u
}

// shownURL is a URL for a log, without what may be a key.
func shownURL(u *url.URL) string { return u.Scheme + "://" + u.Host + u.Path }

// Start implements otlptrace.Client.
func (u *traceUpload) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (u *traceUpload) Stop(context.Context) error {
	u.cancel()
	u.client.CloseIdleConnections()
	return nil
}

// UploadTraces implements otlptrace.Client. It tries again what the collector may take a little later, until ctx ends.
func (u *traceUpload) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// An ExportTraceServiceRequest has the same one field.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(u.ctx, cancel)()
	for pause := traceRetry; ; pause *= 2 {
		after, err := u.post(ctx, body)
		if err == nil || after < 0 || ctx.Err() != nil {
			u.report(err)
			return err
		}
		u.report(err)
		wait := time.NewTimer(max(pause, after))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return err
		}
	}
}

// traceRetry is the first pause before a batch is sent again; it doubles.
const traceRetry = 500 * time.Millisecond

// report logs the first failure after a success, and the first success after a failure.
func (u *traceUpload) report(err error) {
	var part rejectedSpans
	switch {
	case errors.As(err, &part):
		err = nil
	case u.ctx.Err() != nil:
		return
	}
	switch {
	case err != nil && !u.broken:
		u.broken = true
		u.log.Warn("Traces do not reach the collector; they are dropped while too many wait, and nothing else", zap.String("error", networkReason(err)))
	case err == nil && u.broken:
		u.broken = false
		u.log.Info("Traces reach the collector again")
	}
}

// rejectedSpans is how many spans of a request the collector refused while it took the others.
type rejectedSpans int64

func (r rejectedSpans) Error() string { return strconv.Itoa(int(r)) + " spans were refused" }

// post sends one request. after is how long to wait at least before it is sent again; negative for never.
func (u *traceUpload) post(ctx context.Context, body []byte) (after time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.url, bytes.NewReader(body))
	if err != nil {
		return -1, err
	}
	r.Header = u.header
	response, err := u.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return 0, err
	}
	switch status := response.StatusCode; {
	case status >= 200 && status <= 299:
		if n := rejected(answer); n > 0 {
			return -1, rejectedSpans(n)
		}
		return -1, nil
	case status == http.StatusTooManyRequests, status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
		return min(time.Duration(max(seconds, 0))*time.Second, tracePatience), fmt.Errorf("the collector answers %d", status)
	default:
		return -1, fmt.Errorf("the collector answers %d", status)
	}
}

// rejected reads ExportTraceServiceResponse.partial_success.rejected_spans.
func rejected(answer []byte) (n int64) {
	if partial, ok := protoField(answer, 1, protowire.BytesType); ok {
		if message, size := protowire.ConsumeBytes(partial); size > 0 {
			if count, ok := protoField(message, 1, protowire.VarintType); ok {
				v, _ := protowire.ConsumeVarint(count)
				return int64(v)
			}
		}
	}
	return 0
}

// protoField finds the value of a field in a message.
func protoField(message []byte, field protowire.Number, kind protowire.Type) (value []byte, ok bool) {
	for len(message) > 0 {
		number, t, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil, false
		}
		message = message[n:]
		if number == field && t == kind {
			return message, true
		}
		if n = protowire.ConsumeFieldValue(number, t, message); n < 0 {
			return nil, false
		}
		message = message[n:]
	}
	return nil, false
}
