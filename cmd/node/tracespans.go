package main

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"logux-proxy/backend"
	"logux-proxy/gateway"
	"logux-proxy/wire"
)

// Names of spans, of which there must be few. docs/tracing.md says what each is.
const (
	spanAction      = "logux.action"
	spanSubscribe   = "logux.subscribe"
	spanUnsubscribe = "logux.unsubscribe"
	spanCommand     = "logux.command"
	spanRequest     = http.MethodPost // as the conventions of HTTP want it
	spanControl     = "logux.control"
	spanPublish     = "logux.publish"
	spanDeliver     = "logux.deliver"
)

// Attributes of our own. Nothing of an action's body, no token, cookie, header or secret is ever among them.
const (
	attrActionID   = attribute.Key("logux.action.id")
	attrActionType = attribute.Key("logux.action.type")
	attrClientID   = attribute.Key("logux.client.id")
	attrChannel    = attribute.Key("logux.channel")
	attrOutcome    = attribute.Key("logux.outcome")
	attrTold       = attribute.Key("logux.told")
	attrAnswer     = attribute.Key("logux.answer")
	attrCommands   = attribute.Key("logux.commands")
	attrReceivers  = attribute.Key("logux.receivers")
	attrBus        = attribute.Key("logux.bus")
	attrChannels   = attribute.Key("logux.targets.channels")
	attrUsers      = attribute.Key("logux.targets.users")
	attrClients    = attribute.Key("logux.targets.clients")
	attrSystem     = "logux" // of messaging.system
)

// Action implements gateway.Tracer.
func (t *tracing) Action(a gateway.ActionStart) gateway.ActionTrace {
	if !t.chosen() {
		return nil
	}
	name := spanAction
	switch a.Action.Type {
	case wire.TypeSubscribe:
		name = spanSubscribe
	case wire.TypeUnsubscribe:
		name = spanUnsubscribe
	}
	attributes := []attribute.KeyValue{
		attrActionID.String(string(a.Action.ID)), attrActionType.String(a.Action.Type), attrClientID.String(string(a.Action.ID.Client())),
	}
	if a.Channel != "" {
		attributes = append(attributes, attrChannel.String(a.Channel))
	}
	s := &actionSpan{t.begin(nil, false, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(a.Came), trace.WithAttributes(attributes...))}
	s.span.AddEvent("turn") // the client's earlier actions have their outcomes
	return s
}

type actionSpan struct{ traceStep }

// End implements gateway.ActionTrace.
func (s *actionSpan) End(outcome, told string) {
	s.span.SetAttributes(attrOutcome.String(outcome), attrTold.String(told))
	if outcome == string(wire.ReasonError) {
		s.span.SetStatus(codes.Error, "")
	}
	s.span.End()
}

// Publish implements gateway.Tracer.
func (t *tracing) Publish(of *wire.Trace, a *wire.Action, to *wire.Targets) gateway.PublishTrace {
	return &publishSpan{t.begin(of, false, spanPublish, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		semconv.MessagingSystemKey.String(attrSystem), semconv.MessagingOperationName("publish"), semconv.MessagingOperationTypeSend,
		attrActionID.String(string(a.ID)), attrActionType.String(a.Type),
		attrChannels.Int(len(to.Channels)), attrUsers.Int(len(to.Users)), attrClients.Int(len(to.Clients)+len(to.Nodes)),
	))}
}

type publishSpan struct{ traceStep }

// End implements gateway.PublishTrace.
func (s *publishSpan) End(bus bool, err error) {
	s.span.SetAttributes(attrBus.Bool(bus))
	if err != nil {
		s.span.SetStatus(codes.Error, "")
	}
	s.span.End()
}

// Deliver implements gateway.Tracer.
func (t *tracing) Deliver(of *wire.Trace, a *wire.Action, receivers int) (end func()) {
	s := t.begin(of, true, spanDeliver, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		semconv.MessagingSystemKey.String(attrSystem), semconv.MessagingOperationName("deliver"), semconv.MessagingOperationTypeProcess,
		attrActionID.String(string(a.ID)), attrActionType.String(a.Type), attrReceivers.Int(receivers),
	))
	return func() { s.span.End() }
}

// Command implements backend.Tracer.
func (t *tracing) Command(of *wire.Trace, a *wire.Action) backend.CommandTrace {
	return &commandSpan{t.begin(of, false, spanCommand, trace.WithAttributes(attrActionType.String(a.Type)))}
}

type commandSpan struct{ traceStep }

// End implements backend.CommandTrace.
func (s *commandSpan) End(a wire.Answer, err error) {
	kind := ""
	if failed := (*backend.Error)(nil); errors.As(err, &failed) {
		kind = failed.Kind.String()
	} else if err == nil {
		s.span.SetAttributes(attrAnswer.String(a.Name))
		if a.Kind == wire.AnswerError {
			kind = "answer"
		}
	}
	failSpan(s.span, kind)
	s.span.End()
}

// failSpan says that a span ended in an error of this kind; "" for none. The text of the error may hold what is nobody's
// business here; it is in the log.
func failSpan(span trace.Span, kind string) {
	if kind != "" {
		span.SetAttributes(semconv.ErrorTypeKey.String(kind))
		span.SetStatus(codes.Error, "")
	}
}

// Request implements backend.Tracer. A request with several commands that are followed is a part of the first one's
// trace, and is linked with the others and they with it, as the conventions want it for a batch.
func (t *tracing) Request(commands []backend.CommandTrace, r backend.RequestStart) backend.RequestTrace {
	attributes := append([]attribute.KeyValue{semconv.HTTPRequestMethodPost, attrCommands.Int(r.Commands)}, t.server...)
	if r.Resend > 0 {
		attributes = append(attributes, semconv.HTTPRequestResendCount(r.Resend))
	}
	var links []trace.Link
	for _, c := range commands[1:] {
		links = append(links, trace.Link{SpanContext: spanContext(c.(*commandSpan).Trace(), false)})
	}
	first := commands[0].(*commandSpan)
	s := &requestSpan{t.begin(first.Trace(), false, spanRequest,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...), trace.WithLinks(links...))}
	for _, c := range commands[1:] {
		c.(*commandSpan).span.AddLink(trace.Link{SpanContext: s.span.SpanContext()})
	}
	return s
}

// backendServer describes the back-end without what may be a key in its URL.
func backendServer(u *url.URL) []attribute.KeyValue {
	port := u.Port()
	if port == "" {
		port = schemePort(u.Scheme)
	}
	n, _ := strconv.Atoi(port) // parseURL has checked it
	return []attribute.KeyValue{
		semconv.ServerAddress(u.Hostname()), semconv.ServerPort(n), semconv.URLFull(u.Scheme + "://" + u.Host + u.Path),
	}
}

type requestSpan struct{ traceStep }

// End implements backend.RequestTrace.
func (s *requestSpan) End(r backend.RequestInfo) {
	if r.Status != 0 {
		s.span.SetAttributes(semconv.HTTPResponseStatusCode(r.Status))
	}
	switch {
	case r.Err != nil && (r.Kind == backend.KindStatus || r.Kind == backend.KindRefused):
		failSpan(s.span, strconv.Itoa(r.Status))
	case r.Err != nil:
		failSpan(s.span, r.Kind.String())
	}
	s.span.End()
}

// Control implements backend.Tracer. Who calls knows the secret, so its decision about its own trace holds here too.
func (t *tracing) Control(r backend.ControlStart) backend.ControlTrace {
	var of *wire.Trace
	if parent, sampled, ok := wire.ParseTraceparent(r.Traceparent); ok && !sampled {
		return nil
	} else if ok {
		of = &parent
	} else if !t.chosen() {
		return nil
	}
	return &controlSpan{t.begin(of, true, spanControl, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(r.Came), trace.WithAttributes(
		semconv.HTTPRequestMethodPost, semconv.ClientAddress(r.Addr.String()), attrCommands.Int(r.Commands),
	))}
}

type controlSpan struct{ traceStep }

// End implements backend.ControlTrace.
func (s *controlSpan) End(status int) {
	s.span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	if status >= http.StatusInternalServerError {
		failSpan(s.span, strconv.Itoa(status))
	}
	s.span.End()
}
