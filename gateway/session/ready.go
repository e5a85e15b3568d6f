package session

import (
	"logux-proxy/wire"
)

// A Ready is what a session wants done, in the order of its fields. The caller owns it and reuses
// it; Reset empties it.
type Ready struct {
	buf  []byte
	sent []sent

	// Auth asks the back-end about the client; the answer goes to Authenticated.
	Auth *wire.Auth
	// Replay are messages that waited for the authentication; they are to be decoded and
	// received again, in order.
	Replay [][]byte
	// Actions came with a sync, in order; each is to be Settled once.
	Actions []Received
	// Overdue are the client's actions that would have to be acknowledged now, and that have to be claimed before
	// (Config.Claims); each that is, is to be Settled like one with an outcome.
	Overdue []wire.ActionID
	// Acknowledged are the client's actions in the syncs that what is to be sent acknowledges.
	Acknowledged []wire.ActionID
	// Confirmed is the number of a synced from the client: it has everything that was sent with
	// this or a smaller number. 0 for none.
	Confirmed int64
	// Close, when not CloseNone, ends the connection after what is to be sent.
	Close Close
	// Cause says in words what led to Close, or what was wrong with a message, for the log.
	Cause string
}

// A Close is how a session ends its connection.
type Close uint8

// The ways to end.
const (
	CloseNone Close = iota
	CloseError
	CloseTimeout
	CloseNoConnect
	CloseDenied
	CloseBruteforce
	CloseUnavailable // the back-end could not be asked: no error message, the client comes back
)

// A Received is one action of a client, complete and absolute.
type Received struct {
	Action *wire.Action
	// Denied: the ID names another client or the meta has a key that clients may not send. The
	// action is not to be processed.
	Denied bool
	// Subscription is set for logux/subscribe and logux/unsubscribe; WrongChannel says that there
	// is no usable channel.
	Subscription *wire.Subscription
	WrongChannel bool
}

// Reset empties r and keeps its memory.
func (r *Ready) Reset() {
	r.buf, r.sent = r.buf[:0], r.sent[:0]
	r.Auth, r.Replay = nil, nil
	clear(r.Actions)
	r.Actions = r.Actions[:0]
	clear(r.Overdue)
	r.Overdue = r.Overdue[:0]
	clear(r.Acknowledged)
	r.Acknowledged = r.Acknowledged[:0]
	r.Confirmed, r.Close, r.Cause = 0, CloseNone, ""
}

// sent is one message in buf.
type sent struct {
	kind wire.MessageType
	end  int
}

// Messages calls f for each message to send, in order; text is valid during the call.
func (r *Ready) Messages(f func(kind wire.MessageType, text []byte)) {
	start := 0
	for _, s := range r.sent {
		f(s.kind, r.buf[start:s.end])
		start = s.end
	}
}

func (r *Ready) end(kind wire.MessageType, buf []byte) {
	r.buf = buf
	r.sent = append(r.sent, sent{kind: kind, end: len(buf)})
}

func (r *Ready) error(e *wire.Error, how Close) {
	r.end(wire.MessageError, wire.AppendError(r.buf, e))
	r.Close, r.Cause = how, e.Error()
}
