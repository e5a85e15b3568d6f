package backend

import (
	"time"

	"logux-proxy/wire"
)

// A call is one command on its way: from Authenticate or Process until done was called. It
// belongs to the line (under Client.mu) while it waits and to the goroutine of its request while it is sent.
type call struct {
	// Static.

	id      string        // authId or the action's ID
	auth    *wire.Auth    // one of auth and command is set
	command *wire.Command //
	answer  func(wire.Answer)
	done    func(wire.Answer, error)
	size    int          // about how many bytes it takes in a request
	trace   CommandTrace // nil when its action is not traced
	// changes is set for actions: to act on one twice may count twice. auth and subscriptions change nothing.
	changes bool

	// Owned by whoever has the call.

	exchange exchange
	final    wire.Answer // while request.hold has it
	queued   time.Time   // since when it waits for a request
	first    time.Time   // since when it is tried: when it was sent first, or would have been; zero before
	tries    int         // requests it was part of
	// alone is set when a request that it was part of failed as a whole: it shares none again, so that the one command
	// that a back-end chokes on is told from its neighbours.
	alone     bool
	notBefore time.Time // with a retry that has to wait
	failed    *failure  // why it was not answered last time; nil before
}

func newAuthCall(a *wire.Auth, done func(wire.Answer, error)) *call {
	size := len(a.Token) + len(a.Headers) + callOverhead
	for name, value := range a.Cookies {
		size += len(name) + len(value) + 6
	}
	return &call{
		id:       a.AuthID,
		auth:     a,
		answer:   func(wire.Answer) {},
		done:     done,
		size:     size,
		exchange: exchange{auth: true},
	}
}

func newCommandCall(cmd *wire.Command, answer func(wire.Answer), done func(wire.Answer, error)) *call {
	subscription := cmd.Action.Type == wire.TypeSubscribe
	return &call{
		id:       string(cmd.Action.ID),
		command:  cmd,
		answer:   answer,
		done:     done,
		size:     len(cmd.Action.Body) + len(cmd.Headers) + len(cmd.Action.ID) + callOverhead,
		changes:  !subscription,
		exchange: exchange{subscription: subscription},
	}
}

// callOverhead is about what a command's keys, braces, time, subprotocol and node ID take.
const callOverhead = 160

// subprotocol is the client's own.
func (k *call) subprotocol() wire.RawJSON {
	if k.auth != nil {
		return k.auth.Subprotocol
	}
	return k.command.Action.Subprotocol
}

// fail ends k without a final answer. Nobody may hold Client.mu.
func (k *call) fail(kind Kind, status int, err error) {
	k.exchange.over = true
	k.done(wire.Answer{}, &Error{Kind: kind, ID: k.id, Status: status, Err: err})
}
