package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"time"

	"logux-proxy/wire"
)

const (
	// lingerOpen is how long a request whose commands all have their outcome may go on: cutting it at once could
	// stop what the back-end does after its last answer. It keeps its place among the Concurrency meanwhile.
	lingerOpen = time.Second
	// lingerWhole is how long the end of a response may take after its closing bracket, so that the connection can be used again.
	lingerWhole = 100 * time.Millisecond
	// tailBytes is how much may follow the closing bracket, or be in the body of a failure.
	tailBytes = 64 << 10
	// maxDepth of the JSON in an answer.
	maxDepth = 64
)

// A request is one POST with the commands that share it. Its goroutine owns it.
type request struct {
	calls []*call
	open  int     // calls without outcome
	hint  int     // where the last answer's call was: answers mostly come in order
	round uint64  // of the gate, when it is a probe
	held  []*call // see hold
}

// hold keeps k's processed until what has arrived of the response was read. "An error read after processed in the
// same response still turns it into an undo if nothing was told to the client yet" (PROTOCOL section 3); nobody waits
// longer for that, because all of it is here.
func (r *request) hold(k *call, a *wire.Answer) {
	k.final = *a
	r.held = append(r.held, k)
}

// release ends the calls that were held.
func (r *request) release() {
	for _, k := range r.held {
		k.done(k.final, nil)
	}
	r.held = nil
}

// find returns the call that an answer is for, or nil.
func (r *request) find(id string) *call {
	for i := range r.calls {
		at := r.hint + i
		if at >= len(r.calls) {
			at -= len(r.calls)
		}
		if r.calls[at].id == id {
			r.hint = at
			return r.calls[at]
		}
	}
	return nil
}

// body encodes r.
func (c *Client) body(r *request) []byte {
	size := 128 + len(c.cfg.Secrets[0])*2
	for _, k := range r.calls {
		size += k.size + 1
	}
	b := wire.AppendCommandsStart(make([]byte, 0, size), c.cfg.Version, c.cfg.Secrets[0])
	for i, k := range r.calls {
		if i > 0 {
			b = wire.AppendCommandsNext(b)
		}
		if k.auth != nil {
			b = wire.AppendAuth(b, c.cfg.Version, c.authForBackend(k.auth))
		} else {
			b = wire.AppendCommand(b, c.cfg.Version, c.commandForBackend(k.command))
		}
	}
	return wire.AppendCommandsEnd(b)
}

func (c *Client) authForBackend(a *wire.Auth) *wire.Auth {
	if !c.cfg.SemverSubprotocol || !isNumber(a.Subprotocol) {
		return a
	}
	copied := *a
	copied.Subprotocol = semver(a.Subprotocol)
	return &copied
}

func (c *Client) commandForBackend(cmd *wire.Command) *wire.Command {
	if !c.cfg.SemverSubprotocol || !isNumber(cmd.Action.Subprotocol) {
		return cmd
	}
	action := *cmd.Action
	action.Subprotocol = semver(action.Subprotocol)
	return &wire.Command{Action: &action, Headers: cmd.Headers}
}

// send makes the request and hands the answers out while they arrive. It returns why it failed, or nil for a response that was
// whole; either may leave calls without outcome.
func (c *Client) send(r *request) (f *failure) {
	c.count.requests.Add(1)
	info := RequestInfo{Commands: len(r.calls)}
	start := time.Now()
	steps := c.followed(r)
	if c.cfg.Observe != nil || steps != nil {
		defer func() {
			info.Total = time.Since(start)
			if f != nil {
				info.Err, info.Kind = f.err, f.kind
			}
			if steps != nil {
				steps.End(info)
			}
			if c.cfg.Observe != nil {
				c.cfg.Observe(info)
			}
		}()
	}

	// All commands of a request were sent at one time and have one Timeout, so one timer is the deadline of each.
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	deadline := time.AfterFunc(c.cfg.Timeout, func() { cancel(errTimeout) })
	defer deadline.Stop()

	var trace sentTrace
	req := c.newRequest(httptrace.WithClientTrace(ctx, trace.hooks()), c.body(r))
	if steps != nil {
		req.Header = req.Header.Clone()
		req.Header.Set(wire.Traceparent, steps.Trace().Traceparent())
	}
	res, err := c.transport.RoundTrip(req)
	if err != nil {
		return c.noResponse(ctx, r, err, trace.sent())
	}
	defer func() { _ = res.Body.Close() }()
	info.Status, info.FirstByte = res.StatusCode, time.Since(start)

	if f = statusFailure(res); f != nil {
		if f.class == plain {
			c.reached(r)
		}
		c.logStatus(r, f, c.discard(res, deadline))
		return f
	}
	c.reached(r)
	return c.receive(ctx, cancel, deadline, r, res)
}

func (c *Client) newRequest(ctx context.Context, body []byte) *http.Request {
	req := http.Request{
		Method:        http.MethodPost,
		URL:           c.cfg.URL,
		Host:          c.cfg.URL.Host,
		Header:        c.header,
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		// For a connection that turned out to be closed before it took a byte.
		GetBody: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
	}
	return req.WithContext(ctx)
}

// noResponse judges an error in place of a response.
func (c *Client) noResponse(ctx context.Context, r *request, err error, sent bool) *failure {
	cause := context.Cause(ctx)
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(cause, errClosed):
		return &failure{class: ours, kind: KindClosed, err: errClosed}
	case !sent:
		if errors.Is(cause, errTimeout) {
			err = errors.New("no connection in time")
		}
		return &failure{class: unseen, kind: KindUnreachable, err: fmt.Errorf("connecting: %w", err)}
	case errors.Is(cause, errTimeout), errors.As(err, &timeout) && timeout.Timeout():
		return &failure{class: unsure, kind: KindTimeout, err: errTimeout, written: true}
	default:
		return &failure{class: unsure, kind: KindMalformed, err: fmt.Errorf("no response: %w", c.printable(r, err)), written: true}
	}
}

// discard reads what a failed response holds, for a short while, and returns its beginning.
func (c *Client) discard(res *http.Response, deadline *time.Timer) []byte {
	deadline.Reset(lingerWhole)
	var s stream
	s.body = res.Body
	_, _ = io.CopyN(io.Discard, &s, tailBytes)
	return s.excerpt()
}

// receive reads the answers of a response with a good status.
func (c *Client) receive(ctx context.Context, cancel context.CancelCauseFunc, deadline *time.Timer, r *request, res *http.Response) *failure {
	if e := res.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		f := malformed(errors.New("the response is compressed, which was not asked for"))
		c.logMalformed(r, f, nil)
		return f
	}
	s := stream{body: res.Body}
	if c.cfg.IdleTimeout < c.cfg.Timeout {
		s.idle, s.every = time.AfterFunc(c.cfg.IdleTimeout, func() { cancel(errStalled) }), c.cfg.IdleTimeout
		defer s.idle.Stop()
	}
	reader := wire.NewAnswerReader(&s, c.cfg.Version, wire.AnswerLimits{
		Element: c.cfg.ElementBytes,
		Total:   c.cfg.ResponseBytes,
		Depth:   maxDepth,
	})
	defer r.release()
	for {
		a, err := reader.Next()
		if errors.Is(err, io.EOF) {
			r.release()
			deadline.Reset(lingerWhole)
			if res.ContentLength >= 0 || len(res.TransferEncoding) > 0 || res.ProtoMajor > 1 {
				_, _ = io.CopyN(io.Discard, res.Body, tailBytes)
			} // else nothing but the end of the connection would end it
			return nil
		}
		if err != nil {
			f := c.brokenResponse(ctx, &s, err)
			if f.class == plain {
				c.logMalformed(r, f, s.excerpt())
			}
			return f
		}
		open := r.open
		if f := c.hand(r, &a, reader); f != nil {
			c.logMalformed(r, f, s.excerpt())
			return f
		}
		if r.open == 0 && open > 0 {
			deadline.Reset(lingerOpen)
		}
	}
}

// brokenResponse judges why the reading of a response stopped before its closing bracket.
func (c *Client) brokenResponse(ctx context.Context, s *stream, err error) *failure {
	cause := context.Cause(ctx)
	switch {
	case s.err == nil:
		return malformed(err)
	case errors.Is(cause, errClosed):
		return &failure{class: ours, kind: KindClosed, err: errClosed}
	case errors.Is(cause, errTimeout), errors.Is(cause, errStalled):
		return &failure{class: unsure, kind: KindTimeout, err: cause, written: true}
	default:
		return &failure{class: unsure, kind: KindMalformed, err: fmt.Errorf("the response broke off: %w", s.err), written: true}
	}
}

func malformed(err error) *failure {
	return &failure{class: plain, kind: KindMalformed, err: fmt.Errorf("reading the response: %w", err), written: true}
}

// errNameless ends a shared request: version 2's ["error", stack] is about all of it.
var errNameless = errors.New("an error that names no command")

// hand gives an answer to the command that it is for. from is where the answer was read.
func (c *Client) hand(r *request, a *wire.Answer, from *wire.AnswerReader) *failure {
	k := r.find(a.ID)
	if a.ID == "" {
		switch {
		case len(r.calls) == 1: // it can be about no other
			k = r.calls[0]
		case a.Kind == wire.AnswerError && c.cfg.Version == wire.MinBackendVersion:
			c.logDetails(r, "", a.Details)
			return malformed(errNameless)
		default:
			k = nil
		}
	}
	if k != nil && a.Kind == wire.AnswerError && slices.Contains(r.held, k) {
		c.logDetails(r, k.id, a.Details)
		k.final = *a
		return nil
	}
	if k == nil || k.exchange.over {
		c.count.ignored.Add(1)
		return nil
	}
	verdict, err := k.exchange.next(a)
	switch verdict {
	case skip:
		c.count.ignored.Add(1)
	case pass:
		c.answerForClient(k, a)
		k.answer(*a)
	case finish:
		r.open--
		if a.Kind == wire.AnswerError {
			c.logDetails(r, k.id, a.Details)
		}
		c.answerForClient(k, a)
		if a.Kind == wire.AnswerProcessed && from.Arrived() {
			r.hold(k, a)
		} else {
			k.done(*a, nil)
		}
	case broken:
		r.open--
		k.fail(KindOrder, 0, err)
	}
	return nil
}

// answerForClient undoes the conversion of subprotocols for a client that uses numbers.
func (c *Client) answerForClient(k *call, a *wire.Answer) {
	if !c.cfg.SemverSubprotocol || !isNumber(k.subprotocol()) {
		return
	}
	a.Subprotocol = major(a.Subprotocol)
	if a.Action != nil && len(a.Action.Subprotocol) > 0 {
		action := *a.Action
		action.Subprotocol = major(action.Subprotocol)
		a.Action = &action
	}
}
