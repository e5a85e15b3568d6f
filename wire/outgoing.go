package wire

import (
	"errors"
	"fmt"
	"strconv"
)

// An Outgoing is an action made ready for many receivers: everything that is the same for all
// of them is encoded once. Only two relative numbers differ from one connection to the next. It
// is immutable and shared.
type Outgoing struct {
	Action *Action

	ms   int64  // of the action ID, since 1970
	head string // from the end of the body to the ID's relative number
	mid  []byte // from there to the relative time
	tail []byte // from there to the end of the meta
}

var errNoBody = errors.New("it has no body")

// NewOutgoing prepares a for sending by server (whose own node ID is left out of action IDs:
// PROTOCOL section 2, "Action meta on the wire"). It fails for an action without a body and for
// an action ID that is not in the three-part form.
func NewOutgoing(a *Action, server NodeID) (*Outgoing, error) {
	ms, node, counter, ok := ParseActionID(a.ID)
	if !ok {
		return nil, fmt.Errorf("wire: preparing action %q: its ID has not the three-part form", a.ID)
	}
	if len(a.Body) == 0 {
		return nil, fmt.Errorf("wire: preparing action %q: %w", a.ID, errNoBody)
	}
	o := &Outgoing{Action: a, ms: ms, head: `,{"id":[`}
	const frame = len(`,"",-123456789012345678],"time":,"subprotocol":}`)
	buf := make([]byte, 0, frame+len(node)+len(a.Subprotocol)) // more only for a node ID with escapes
	switch {
	case node != server:
		buf = append(buf, ',')
		buf = appendString(buf, node)
		buf = append(buf, ',')
		buf = strconv.AppendInt(buf, counter, 10)
		buf = append(buf, ']')
	case counter != 0:
		buf = append(buf, ',')
		buf = strconv.AppendInt(buf, counter, 10)
		buf = append(buf, ']')
	default:
		o.head = `,{"id":`
	}
	buf = append(buf, `,"time":`...)
	mid := len(buf)
	if len(a.Subprotocol) > 0 {
		buf = append(buf, `,"subprotocol":`...)
		buf = append(buf, a.Subprotocol...)
	}
	buf = append(buf, '}')
	o.mid, o.tail = buf[:mid:mid], buf[mid:]
	return o, nil
}

// Size is about how many bytes o takes in a sync message.
func (o *Outgoing) Size() int {
	const relative = 11 // digits of some years in milliseconds
	return 1 + len(o.Action.Body) + len(o.head) + relative + len(o.mid) + relative + len(o.tail)
}

// AppendSyncStart writes the head of a sync message; then come one AppendSyncPair each and
// AppendSyncEnd.
func AppendSyncStart(dst []byte, added int64) []byte {
	dst = append(dst, `["sync",`...)
	return strconv.AppendInt(dst, added, 10)
}

// AppendSyncPair writes one action and its meta relative to the connection's base time (ms since 1970).
func AppendSyncPair(dst []byte, base int64, o *Outgoing) []byte {
	dst = append(dst, ',')
	dst = append(dst, o.Action.Body...)
	dst = append(dst, o.head...)
	dst = strconv.AppendInt(dst, o.ms-base, 10)
	dst = append(dst, o.mid...)
	dst = strconv.AppendInt(dst, o.Action.Time-base, 10)
	return append(dst, o.tail...)
}

// AppendSyncEnd closes a sync message.
func AppendSyncEnd(dst []byte) []byte { return append(dst, ']') }
