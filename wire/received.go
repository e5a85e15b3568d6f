package wire

import (
	"strconv"
	"unsafe"
)

// NewAction makes the absolute action of a pair that node sent over a connection with that base
// time. It copies what it keeps of the pair into one piece of memory, so that an action
// costs two allocations whatever its size. Who keeps the ID keeps the body with it: clone what is to
// live longer.
func NewAction(p *Pair, node NodeID, base int64, subprotocol RawJSON) *Action {
	const number = 20 // the longest int64
	buf := make([]byte, 0, 2*number+2+len(node)+len(p.ActionType)+len(p.Body)+len(subprotocol))
	cut := func(from int) []byte { return buf[from:len(buf):len(buf)] }

	buf = strconv.AppendInt(buf, p.IDTime+base, 10)
	buf = append(buf, ' ')
	buf = append(buf, node...)
	buf = append(buf, ' ')
	buf = strconv.AppendInt(buf, p.IDCounter, 10)
	id := text(cut(0))

	from := len(buf)
	buf = append(buf, p.ActionType...)
	actionType := text(cut(from))

	from = len(buf)
	buf = append(buf, p.Body...)
	body := cut(from)

	var sub RawJSON
	if subprotocol != nil {
		from = len(buf)
		buf = append(buf, subprotocol...)
		sub = cut(from)
	}
	return &Action{ID: ActionID(id), Time: p.Time + base, Subprotocol: sub, Type: actionType, Body: body}
}

// text reads bytes that are never written again as a string.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
