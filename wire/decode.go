package wire

// A Decoder decodes messages of the WebSocket protocol. It is reused for many messages and
// allocates nothing for the usual ones. It must not be used by two goroutines at once.
type Decoder struct {
	// MaxDepth bounds the nesting of JSON; 0 means 64.
	MaxDepth int
}

// Decode reads one message into m. The error, if any, is to be sent to the peer before its
// connection closes (wrong-format) or goes on (unknown-message); it is an *Error.
func (d *Decoder) Decode(text []byte, m *Message) *Error { panic("wire: decode") }

// ParseSubscription reads channel and filter of a logux/subscribe or logux/unsubscribe body. It
// reports Reason wrongChannel (a missing or non-string channel) through ok == false, and a
// filter, since, or since member of a wrong type through an *Error of type wrong-format.
func ParseSubscription(body RawJSON) (s Subscription, ok bool, e *Error) { panic("wire: subscription") }

// ParseActionID takes a three-part ID apart. ok is false for every other form.
func ParseActionID(id ActionID) (ms int64, node NodeID, counter int64, ok bool) {
	panic("wire: action id")
}

// FormatActionID is the inverse of ParseActionID.
func FormatActionID(ms int64, node NodeID, counter int64) ActionID { panic("wire: action id") }
