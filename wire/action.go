package wire

// An Action is one Logux action with its meta, complete and absolute: the ID is expanded and
// the time is in milliseconds since 1970. An Action is immutable once it left its maker, so it
// may be shared by goroutines and by every receiver.
type Action struct {
	ID   ActionID
	Time int64 // milliseconds since 1970
	// Subprotocol is the raw JSON (a string or a number) of meta.subprotocol; nil when unknown.
	Subprotocol RawJSON
	Type        string
	// Body is the action object exactly as its author wrote it.
	Body RawJSON
}

// RawJSON is one valid JSON value, as text. It is passed on byte for byte.
type RawJSON []byte

// Targets say who receives an action: the keys of a resend answer and of a server action's
// meta. The singular forms (channel, user, client, node) are folded in by the decoder.
type Targets struct {
	Channels []string
	Users    []UserID
	Clients  []ClientID
	Nodes    []NodeID
	// ExcludeClients are left out of Channels and Users; a client named in Clients or Nodes gets
	// the action in any case (PROTOCOL section 3, rule 4).
	ExcludeClients []ClientID
}

// Empty reports whether t names nobody.
func (t *Targets) Empty() bool {
	return t == nil || len(t.Channels)+len(t.Users)+len(t.Clients)+len(t.Nodes) == 0
}

// Types of actions with a meaning for the proxy.
const (
	TypeSubscribe   = "logux/subscribe"
	TypeUnsubscribe = "logux/unsubscribe"
	TypeProcessed   = "logux/processed"
	TypeUndo        = "logux/undo"
)

// A Reason stands in a logux/undo: why an action failed (PROTOCOL section 3, rule 6).
type Reason string

// The reasons that the proxy itself gives.
const (
	ReasonDenied       Reason = "denied"
	ReasonUnknownType  Reason = "unknownType"
	ReasonWrongChannel Reason = "wrongChannel"
	ReasonError        Reason = "error"
)
