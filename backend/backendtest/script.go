package backendtest

import (
	"io"
	"net/http"
	"time"
)

// A Step is one thing that a scripted command does.
type Step func(x *Exchange)

// Script makes a Handler that does steps one after another.
func Script(steps ...Step) Handler {
	return func(x *Exchange) {
		for _, step := range steps {
			step(x)
		}
	}
}

// The steps that are one answer each.
var (
	Approved       Step = (*Exchange).Approved
	Forbidden      Step = (*Exchange).Forbidden
	UnknownAction  Step = (*Exchange).UnknownAction
	UnknownChannel Step = (*Exchange).UnknownChannel
	Processed      Step = (*Exchange).Processed
	Denied         Step = (*Exchange).Denied
	Hang           Step = (*Exchange).Hang
	NoEnd          Step = (*Exchange).NoEnd
)

// Resend names receivers.
func Resend(t Targets) Step { return func(x *Exchange) { x.Resend(t) } }

// ResendTo names channels as receivers.
func ResendTo(channels ...string) Step { return Resend(Targets{Channels: channels}) }

// Send gives an action to the receivers of m.
func Send(action string, m Meta) Step {
	return func(x *Exchange) { x.Send([]byte(action), m) }
}

// Fail answers with an error.
func Fail(details string) Step { return func(x *Exchange) { x.Error(details) } }

// Element writes any JSON as an element of the response; Raw bytes as they are.
func Element(raw string) Step { return func(x *Exchange) { x.Element(raw) } }

// Raw writes bytes as they are.
func Raw(s string) Step { return func(x *Exchange) { x.Raw(s) } }

// Until waits for c, or until the proxy gives up.
func Until(c <-chan struct{}) Step {
	return func(x *Exchange) {
		select {
		case <-c:
		case <-x.Ctx.Done():
		}
	}
}

// Delay lets time pass, as a slow back-end does.
func Delay(d time.Duration) Step {
	return func(x *Exchange) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-x.Ctx.Done():
		}
	}
}

// Cut breaks the connection off.
func Cut(*Exchange) { panic(http.ErrAbortHandler) }

// The replies to whole requests.

// Status answers with a status, a body and header fields, given as name and value in turn.
func Status(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// Bytes takes the connection over and writes chunks to it, each by itself, HTTP head included; then it closes.
func Bytes(chunks ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer func() { _ = conn.Close() }()
		for _, chunk := range chunks {
			if _, err := io.WriteString(conn, chunk); err != nil {
				return
			}
		}
	}
}

// HangUp never answers.
func HangUp(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// Abort breaks the connection off without an answer.
func Abort(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
