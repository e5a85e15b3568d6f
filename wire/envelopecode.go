package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"
)

// An envelope on the bus is a byte with the version, then fields: a byte that names the field, its
// length as a uvarint, its value. Integers are uvarints, lists are repeated fields, and what has its zero value is
// left out. Servers of two releases read each other: a field that a server does not know is skipped, in a newer
// version too, so a new version is only for what an older release must not overlook.

// EnvelopeVersion is the first byte of what AppendEnvelope writes.
const EnvelopeVersion = 1

// MaxEnvelope bounds an encoded envelope in bytes. It has room for the largest element of a back-end's response.
const MaxEnvelope = 16 << 20

// maxTargets bounds the targets of a decoded envelope, whose slices take more memory than their names.
const maxTargets = 1 << 18

const (
	fieldOrigin byte = iota + 1
	fieldEpoch
	fieldSeq
	fieldPublished
	fieldKind
	fieldActionID
	fieldTime
	fieldSubprotocol
	fieldType
	fieldBody
	fieldChannel
	fieldUser
	fieldClient
	fieldNode
	fieldExcludeClient
	fieldAuthor
	fieldServer
	fieldTo
	fieldTurn
	fieldInFlight
	fieldOutcome
	fieldTrace
	fieldKept
)

// ErrEnvelope is a text that is no envelope, or one that this release cannot read.
var ErrEnvelope = errors.New("wire: not an envelope that can be read")

// AppendEnvelope writes e. The origin comes first, so that AppendEnvelopeStart recognises a server's own envelopes.
func AppendEnvelope(dst []byte, e *Envelope) []byte {
	dst = AppendEnvelopeStart(dst, e.Origin)
	dst = appendUintField(dst, fieldEpoch, e.Epoch)
	dst = appendUintField(dst, fieldSeq, e.Seq)
	dst = appendIntField(dst, fieldPublished, e.Published)
	dst = appendUintField(dst, fieldKind, uint64(e.Kind))
	if e.Action != nil {
		dst = AppendAction(dst, e.Action)
	}
	if e.Note != nil {
		dst = appendNote(dst, e.Note)
	}
	dst = appendFields(dst, fieldChannel, e.Targets.Channels)
	dst = appendFields(dst, fieldUser, e.Targets.Users)
	dst = appendFields(dst, fieldClient, e.Targets.Clients)
	dst = appendFields(dst, fieldNode, e.Targets.Nodes)
	dst = appendFields(dst, fieldExcludeClient, e.Targets.ExcludeClients)
	if e.Author != "" {
		dst = appendField(dst, fieldAuthor, e.Author)
	}
	if e.Trace != nil {
		dst = appendTraceField(dst, fieldTrace, e.Trace)
	}
	return dst
}

// AppendEnvelopeStart writes how every envelope of origin begins.
func AppendEnvelopeStart(dst []byte, origin NodeID) []byte {
	return appendField(append(dst, EnvelopeVersion), fieldOrigin, origin)
}

func appendField[T ~string | ~[]byte](dst []byte, field byte, value T) []byte {
	dst = append(dst, field)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

func appendFields[T ~string](dst []byte, field byte, values []T) []byte {
	for _, v := range values {
		dst = appendField(dst, field, v)
	}
	return dst
}

func appendUintField(dst []byte, field byte, n uint64) []byte {
	if n == 0 {
		return dst
	}
	var value [binary.MaxVarintLen64]byte
	return appendField(dst, field, binary.AppendUvarint(value[:0], n))
}

// appendIntField writes what may be negative: a meta's time before 1970.
func appendIntField(dst []byte, field byte, n int64) []byte {
	return appendUintField(dst, field, uint64(n)<<1^uint64(n>>63))
}

// DecodeEnvelope reads an envelope of this version, and of a newer one whatever this release knows of it. The result
// aliases data, which must not change any more. An error is an ErrEnvelope. Memory is taken for
// what is there, never for what a length promises.
func DecodeEnvelope(data []byte) (*Envelope, error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrEnvelope)
	}
	if len(data) > MaxEnvelope {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrEnvelope, len(data))
	}
	version := data[0]
	d := envelopeDecoder{rest: data[1:]}
	if version == 0 || !d.decode() {
		if version > EnvelopeVersion {
			return nil, fmt.Errorf("%w: it is of version %d, and this release knows up to %d", ErrEnvelope, version, EnvelopeVersion)
		}
		return nil, fmt.Errorf("%w: it is malformed", ErrEnvelope)
	}
	return &d.e, nil
}

// An envelopeDecoder reads the fields of one envelope.
type envelopeDecoder struct {
	rest    []byte
	e       Envelope
	action  Action
	note    Note
	targets int
	wrong   bool
}

// decode reports whether all fields could be read and none that every envelope has is missing.
func (d *envelopeDecoder) decode() bool {
	e := &d.e
	if !d.fields(d.field) || e.Origin == "" || e.Seq == 0 {
		return false
	}
	switch e.Kind {
	case KindAction:
		return e.Action != nil && d.whole()
	case KindAttach, KindRecord, KindOutcome, KindKept:
		return e.Note != nil && e.Note.Server != "" && len(e.Targets.Clients) == 1
	default:
		return true
	}
}

// fields gives each field to take, and reports whether all could be read.
func (d *envelopeDecoder) fields(take func(field byte, value []byte)) bool {
	for len(d.rest) > 0 && !d.wrong {
		field := d.rest[0]
		n, size := binary.Uvarint(d.rest[1:])
		if size <= 0 || n > uint64(len(d.rest)-1-size) {
			return false
		}
		value := d.rest[1+size:][:n:n]
		d.rest = d.rest[1+size+int(n):]
		take(field, value)
	}
	return !d.wrong
}

// whole reports whether the action has what every action has.
func (d *envelopeDecoder) whole() bool { return d.action.ID != "" && len(d.action.Body) > 0 }

func (d *envelopeDecoder) field(field byte, value []byte) {
	e := &d.e
	switch field {
	case fieldOrigin:
		e.Origin = NodeID(text(value))
		d.wrong = d.wrong || !validNodeID(value)
	case fieldEpoch:
		e.Epoch = d.uint(value)
	case fieldSeq:
		e.Seq = d.uint(value)
	case fieldPublished:
		e.Published = d.int(value)
	case fieldKind:
		n := d.uint(value)
		e.Kind = EnvelopeKind(n)
		d.wrong = d.wrong || uint64(e.Kind) != n
	case fieldActionID, fieldTime, fieldSubprotocol, fieldType, fieldBody:
		d.e.Action = &d.action
		d.actionField(field, value)
	case fieldServer, fieldTo, fieldTurn, fieldInFlight, fieldOutcome, fieldKept:
		d.noteField(field, value)
	case fieldChannel:
		e.Targets.Channels = appendTarget(d, e.Targets.Channels, value)
	case fieldUser:
		e.Targets.Users = appendTarget(d, e.Targets.Users, value)
	case fieldClient:
		e.Targets.Clients = appendTarget(d, e.Targets.Clients, value)
	case fieldNode:
		e.Targets.Nodes = appendTarget(d, e.Targets.Nodes, value)
	case fieldExcludeClient:
		e.Targets.ExcludeClients = appendTarget(d, e.Targets.ExcludeClients, value)
	case fieldAuthor:
		e.Author = ClientID(text(value))
	case fieldTrace:
		e.Trace = decodeTrace(value)
	}
}

func (d *envelopeDecoder) actionField(field byte, value []byte) {
	switch a := &d.action; field {
	case fieldActionID:
		a.ID = ActionID(text(value))
	case fieldTime:
		a.Time = d.int(value)
	case fieldSubprotocol:
		a.Subprotocol = value
	case fieldType:
		a.Type = text(value)
	case fieldBody:
		a.Body = value
	}
}

func appendTarget[T ~string](d *envelopeDecoder, list []T, value []byte) []T {
	if d.targets++; d.targets > maxTargets {
		d.wrong = true
		return list
	}
	return append(list, T(text(value)))
}

func (d *envelopeDecoder) uint(value []byte) uint64 {
	n, size := binary.Uvarint(value)
	if size <= 0 || size != len(value) {
		d.wrong = true
		return 0
	}
	return n
}

func (d *envelopeDecoder) int(value []byte) int64 {
	n := d.uint(value)
	return int64(n>>1) ^ -int64(n&1)
}

// EnvelopeBytes are the bytes of a text from the bus, for DecodeEnvelope. They must not be written to.
func EnvelopeBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
