package wire

// The Append functions write one message to dst and return the longer slice; they allocate
// nothing when dst has room.

// AppendConnected writes ["connected", protocol, server, [start, end], {subprotocol}?].
func AppendConnected(dst []byte, protocol int, server NodeID, start, end int64, subprotocol RawJSON) []byte {
	panic("wire")
}

// AppendPing writes ["ping", added].
func AppendPing(dst []byte, added int64) []byte { panic("wire") }

// AppendPong writes ["pong", added].
func AppendPong(dst []byte, added int64) []byte { panic("wire") }

// AppendSynced writes ["synced", added].
func AppendSynced(dst []byte, added int64) []byte { panic("wire") }

// AppendHeaders writes ["headers", headers].
func AppendHeaders(dst []byte, headers RawJSON) []byte { panic("wire") }

// AppendError writes ["error", type, options?].
func AppendError(dst []byte, e *Error) []byte { panic("wire") }

// AppendDebug writes ["debug", "error", text].
func AppendDebug(dst []byte, text string) []byte { panic("wire") }

// An Outgoing is an action made ready for many receivers: everything that is the same for all
// of them is encoded once. Only two relative numbers differ from one connection to the next. It
// is immutable and shared.
type Outgoing struct {
	Action *Action
}

// NewOutgoing prepares a for sending by server (whose own node ID is left out of action IDs).
// It fails for an action ID that is not in the three-part form.
func NewOutgoing(a *Action, server NodeID) (*Outgoing, error) { panic("wire") }

// Size is about how many bytes o takes in a sync message.
func (o *Outgoing) Size() int { panic("wire") }

// AppendSyncStart writes the head of a sync message; then come one AppendSyncPair each and
// AppendSyncEnd.
func AppendSyncStart(dst []byte, added int64) []byte { panic("wire") }

// AppendSyncPair writes one action and its meta relative to the connection's base time (ms since 1970).
func AppendSyncPair(dst []byte, base int64, o *Outgoing) []byte { panic("wire") }

// AppendSyncEnd closes a sync message.
func AppendSyncEnd(dst []byte) []byte { panic("wire") }

// ProcessedBody is the body of logux/processed for id.
func ProcessedBody(id ActionID) RawJSON { panic("wire") }

// UndoBody is the body of logux/undo for an action: {"type","id","reason","action"}.
func UndoBody(id ActionID, reason Reason, original RawJSON) RawJSON { panic("wire") }
