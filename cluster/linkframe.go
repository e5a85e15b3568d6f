package cluster

import (
	"encoding/binary"
	"errors"

	"logux-proxy/wire"
)

// A message between two servers is a header and pieces of frames. Each link has one message under way in
// each direction: the next one is sent when the other side has acknowledged the one before, so that messages come in
// order, a receiver that is behind holds its sender back, and a message that was lost is sent again.
//
//	version byte, then as unsigned varints with the texts after their length:
//	from, to       who sends it to whom: addresses are reused, server IDs are not
//	stream, seq    the sender's stream (greater for each new one) and the number in it; seq 0 carries no pieces
//	acked, ack     the receiver's stream as the sender knows it, and the last number of it that was dealt with
//
// and each piece is: kind byte, flags byte, length, bytes.
const linkVersion = 1

// Flags of a piece.
const (
	pieceFirst = 1 << iota // begins a frame
	pieceLast              // ends a frame
)

type linkHeader struct {
	from, to    wire.ServerID
	stream, seq uint64
	acked, ack  uint64
}

func (h *linkHeader) append(b []byte) []byte {
	b = append(b, linkVersion)
	for _, id := range []wire.ServerID{h.from, h.to} {
		b = binary.AppendUvarint(b, uint64(len(id)))
		b = append(b, id...)
	}
	for _, n := range []uint64{h.stream, h.seq, h.acked, h.ack} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

var (
	errLinkVersion = errors.New("cluster: the message is of an unknown version")
	errLinkCut     = errors.New("cluster: the message is cut")
)

// parseLinkHeader returns the header and the pieces, which alias msg.
func parseLinkHeader(msg []byte) (h linkHeader, pieces []byte, err error) {
	if len(msg) == 0 {
		return h, nil, errLinkCut
	}
	if msg[0] != linkVersion {
		return h, nil, errLinkVersion
	}
	msg = msg[1:]
	for _, id := range []*wire.ServerID{&h.from, &h.to} {
		text, rest, ok := cutBytes(msg)
		if !ok || len(text) > wire.MaxServerID {
			return h, nil, errLinkCut
		}
		*id, msg = wire.ServerID(text), rest
	}
	for _, n := range []*uint64{&h.stream, &h.seq, &h.acked, &h.ack} {
		v, size := binary.Uvarint(msg)
		if size <= 0 {
			return h, nil, errLinkCut
		}
		*n, msg = v, msg[size:]
	}
	return h, msg, nil
}

// cutBytes takes a length and as many bytes off b.
func cutBytes(b []byte) (text, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	return b[size : size+int(n)], b[size+int(n):], true
}

// appendPiece adds a piece; overhead is what it adds at most beside data.
func appendPiece(b []byte, kind Kind, flags byte, data []byte) []byte {
	b = append(b, byte(kind), flags)
	b = binary.AppendUvarint(b, uint64(len(data)))
	return append(b, data...)
}

// cutPiece takes one piece off pieces.
func cutPiece(pieces []byte) (kind Kind, flags byte, data, rest []byte, ok bool) {
	if len(pieces) < 2 {
		return 0, 0, nil, nil, false
	}
	data, rest, ok = cutBytes(pieces[2:])
	return Kind(pieces[0]), pieces[1], data, rest, ok
}

// An assembler puts the pieces of one stream together to frames.
type assembler struct {
	kind  Kind
	frame []byte
	open  bool // a frame has begun and not ended
}

// add takes the next piece. done says that frame is whole; it is the caller's then. lost says that something had to be
// thrown away: pieces of a frame whose beginning was on a stream that this server has not seen, or a frame over the limit.
func (a *assembler) add(kind Kind, flags byte, data []byte, limit int) (frame []byte, done, lost bool) {
	if flags&pieceFirst != 0 {
		lost = a.open
		a.kind, a.frame, a.open = kind, nil, true
	}
	if !a.open || a.kind != kind || len(a.frame)+len(data) > limit {
		lost = lost || a.open || flags&pieceFirst == 0
		a.frame, a.open = nil, false
		return nil, false, lost
	}
	a.frame = append(a.frame, data...)
	if flags&pieceLast == 0 {
		return nil, false, lost
	}
	frame = a.frame
	a.frame, a.open = nil, false
	return frame, true, lost
}
