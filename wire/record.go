package wire

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// What servers tell each other, and leave behind for each other, of one client.

// A Record is what servers know about a client that left them.
type Record struct {
	Client   ClientID
	InFlight []InFlight
	Outcomes []Outcome
}

// Empty reports whether r says nothing.
func (r *Record) Empty() bool { return len(r.InFlight)+len(r.Outcomes) == 0 }

// Mentions reports whether r says anything of an action.
func (r *Record) Mentions(id ActionID) bool {
	return slices.ContainsFunc(r.InFlight, func(f InFlight) bool { return f.ID == id }) ||
		slices.ContainsFunc(r.Outcomes, func(o Outcome) bool { return o.ID == id })
}

// An InFlight is an action of which the outcome is not known yet.
type InFlight struct {
	ID    ActionID
	Owner ServerID // who processes it
}

// An Outcome is the answer to an action.
type Outcome struct {
	ID     ActionID
	Action []byte // the logux/processed or logux/undo, by AppendAction
	// Added is the number of the sync that carried the outcome to the client last, and 0 if none did. A client that connects
	// with at least this number has it.
	Added int64
}

// A Claim is an action that was acknowledged before there was an outcome: all that another server needs to ask
// the back-end.
type Claim struct {
	Owner   ServerID // whose estate it is in; the store sets it
	ID      ActionID
	Client  ClientID
	Action  []byte  // by AppendAction
	Headers RawJSON // of the client
}

// A Note is what an envelope of another kind than KindAction carries.
type Note struct {
	Server ServerID // who speaks
	To     ServerID // of KindRecord and KindKept: whom it is for
	Turn   uint64   // of KindAttach: which of Server's; of KindRecord: which one it answers
	// InFlight and Outcomes are a Record of the client in the envelope's targets; of KindOutcome, one outcome.
	InFlight []InFlight
	Outcomes []Outcome
	Kept     []ActionID // of KindKept
}

// AppendAction writes an action as it travels between servers: fields as in an envelope.
func AppendAction(dst []byte, a *Action) []byte {
	dst = appendField(dst, fieldActionID, a.ID)
	dst = appendIntField(dst, fieldTime, a.Time)
	if len(a.Subprotocol) > 0 {
		dst = appendField(dst, fieldSubprotocol, a.Subprotocol)
	}
	dst = appendField(dst, fieldType, a.Type)
	return appendField(dst, fieldBody, a.Body)
}

// DecodeAction reads what AppendAction wrote. The result aliases data. An error is an ErrEnvelope.
func DecodeAction(data []byte) (*Action, error) {
	d := envelopeDecoder{rest: data}
	if !d.fields(d.actionField) || !d.whole() {
		return nil, fmt.Errorf("%w: it is no action", ErrEnvelope)
	}
	return &d.action, nil
}

// In a note an action in flight is its ID after its length, then its owner; an outcome is its ID after its length,
// the number of its sync, then the action.

func appendNote(dst []byte, n *Note) []byte {
	dst = appendField(dst, fieldServer, n.Server)
	if n.To != "" {
		dst = appendField(dst, fieldTo, n.To)
	}
	dst = appendUintField(dst, fieldTurn, n.Turn)
	var value []byte
	for _, f := range n.InFlight {
		value = binary.AppendUvarint(value[:0], uint64(len(f.ID)))
		value = append(append(value, f.ID...), f.Owner...)
		dst = appendField(dst, fieldInFlight, value)
	}
	for _, o := range n.Outcomes {
		value = binary.AppendUvarint(value[:0], uint64(len(o.ID)))
		value = append(value, o.ID...)
		value = binary.AppendUvarint(value, uint64(o.Added))
		dst = appendField(dst, fieldOutcome, append(value, o.Action...))
	}
	return appendFields(dst, fieldKept, n.Kept)
}

func (d *envelopeDecoder) noteField(field byte, value []byte) {
	n := &d.note
	d.e.Note = n
	switch field {
	case fieldServer:
		n.Server = ServerID(text(value))
		d.wrong = d.wrong || !n.Server.Valid()
	case fieldTo:
		n.To = ServerID(text(value))
	case fieldTurn:
		n.Turn = d.uint(value)
	case fieldInFlight:
		if id, rest, ok := d.entry(value); ok {
			n.InFlight = append(n.InFlight, InFlight{ID: id, Owner: ServerID(text(rest))})
		}
	case fieldOutcome:
		if id, rest, ok := d.entry(value); ok {
			added, size := binary.Uvarint(rest)
			if size <= 0 {
				d.wrong = true
				return
			}
			n.Outcomes = append(n.Outcomes, Outcome{ID: id, Added: int64(added), Action: rest[size:]})
		}
	case fieldKept:
		n.Kept = appendTarget(d, n.Kept, value)
	}
}

// entry reads the ID at the beginning of an entry.
func (d *envelopeDecoder) entry(value []byte) (id ActionID, rest []byte, ok bool) {
	n, size := binary.Uvarint(value)
	d.targets++
	if size <= 0 || n == 0 || n > uint64(len(value)-size) || d.targets > maxTargets {
		d.wrong = true
		return "", nil, false
	}
	return ActionID(text(value[size:][:n])), value[size+int(n):], true
}
