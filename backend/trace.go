package backend

import (
	"net/netip"
	"time"

	"logux-proxy/wire"
)

// A Tracer follows the commands of traced actions, and some control requests; nil follows nothing. No method blocks; any
// goroutine may call them. What they return, where it is not nil, is ended once.
type Tracer interface {
	// Command begins with the arrival of a command at Process, as a part of of.
	Command(of *wire.Trace, a *wire.Action) CommandTrace
	// Request begins a request with commands that are followed: all of them are named.
	Request(commands []CommandTrace, r RequestStart) RequestTrace
	// Control decides whether a control request that was let in is followed, and returns nil if not.
	Control(r ControlStart) ControlTrace
}

// A CommandTrace is a command that is followed, through all requests that it was part of.
type CommandTrace interface {
	// End says what Process's done is told.
	End(a wire.Answer, err error)
}

// A RequestStart says which request begins.
type RequestStart struct {
	Commands int // all of them
	Resend   int // how often the first one of those that are followed was sent before
}

// A RequestTrace is a request that is followed.
type RequestTrace interface {
	// Trace goes to the back-end.
	Trace() *wire.Trace
	End(r RequestInfo)
}

// A ControlStart says which control request begins. Nothing in it is of anybody who does not know the secret.
type ControlStart struct {
	Came        time.Time
	Addr        netip.Addr
	Traceparent string // the header; "" for none
	Commands    int
}

// A ControlTrace is a control request that is followed.
type ControlTrace interface {
	// Trace is for the publications of its actions.
	Trace() *wire.Trace
	// End says with which status.
	End(status int)
}

// follow makes k a part of the trace of its action.
func (c *Client) follow(k *call) {
	of := k.command.Trace
	if of == nil || c.cfg.Tracer == nil {
		return
	}
	trace, done := c.cfg.Tracer.Command(of, k.command.Action), k.done
	k.trace = trace
	k.done = func(a wire.Answer, err error) {
		trace.End(a, err)
		done(a, err)
	}
}

// followed begins the trace of r; nil when none of its commands has one.
func (c *Client) followed(r *request) RequestTrace {
	if c.cfg.Tracer == nil {
		return nil
	}
	var commands []CommandTrace
	start := RequestStart{Commands: len(r.calls)}
	for _, k := range r.calls {
		if k.trace == nil {
			continue
		}
		if commands == nil {
			start.Resend = k.tries - 1
		}
		commands = append(commands, k.trace)
	}
	if commands == nil {
		return nil
	}
	return c.cfg.Tracer.Request(commands, start)
}
