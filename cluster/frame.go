package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"logux-proxy/wire"
)

// Servers tell each other three things about envelopes. A heartbeat goes through Redis, the others over the mesh.
//
// Each is a byte with the version, a byte with its type, the length of its fields as a uvarint, its fields, and what
// follows them (the envelopes of a page). A newer release may add fields at the end of the fields, and types.

const frameVersion = 1

type frameType uint8

const (
	frameHeartbeat frameType = iota + 1
	frameWant
	framePage
)

// A heartbeat goes through each connection that publishes and comes back through each that is subscribed. It is sent
// after what it speaks of was answered by Redis and before anything else is published on that connection.
type heartbeat struct {
	origin wire.NodeID
	epoch  uint64
	// upTo: all envelopes up to this seq were published before, on whichever server of Redis they belong.
	upTo uint64
	// lost: up to this seq some went out of the ring before Redis took them; 0 for none.
	lost uint64
	sent int64 // milliseconds since 1970
}

// A want asks a peer for its envelopes, and confirms those that it sent.
type want struct {
	asker uint64 // the epoch of who asks
	// nonce grows each time that the asker begins anew, or that its connections are whole again.
	nonce uint64
	// follow is how long to go on sending what is published. 0 only confirms.
	follow time.Duration
	epoch  uint64 // of the peer; 0 when the asker does not know it
	after  uint64 // the asker has everything up to this seq, if the peer is still in that epoch
	// age is how long the asker has been there, for when epoch is not the peer's.
	age time.Duration
}

// A page is a part of what a server published, without holes.
type page struct {
	epoch    uint64
	nonce    uint64 // of the last want, 0 when there was none
	from, to uint64 // the envelopes with seqs in (from, to]
	// lost: up to this seq they are no longer there; 0 for none.
	lost      uint64
	last      bool     // nothing after to was published when this was sent
	envelopes [][]byte // encoded; they alias the frame
}

// Bounds of a page: bytes of its envelopes, unless it is just one, and how many they are.
const (
	maxPage      = 512 << 10
	maxPageCount = 8 << 10
)

var errFrame = errors.New("cluster: a frame is malformed")

func (h *heartbeat) append(dst []byte) []byte {
	return appendFrame(dst, frameHeartbeat, func(dst []byte) []byte {
		dst = binary.AppendUvarint(dst, uint64(len(h.origin)))
		dst = append(dst, h.origin...)
		return appendUints(dst, h.epoch, h.upTo, h.lost, uint64(h.sent))
	})
}

func (w *want) append(dst []byte) []byte {
	return appendFrame(dst, frameWant, func(dst []byte) []byte {
		return appendUints(dst, w.asker, w.nonce, uint64(w.follow/time.Millisecond), w.epoch, w.after, uint64(w.age/time.Millisecond))
	})
}

func (p *page) append(dst []byte) []byte {
	dst = appendFrame(dst, framePage, func(dst []byte) []byte {
		last := uint64(0)
		if p.last {
			last = 1
		}
		return appendUints(dst, p.epoch, p.nonce, p.from, p.to, p.lost, last)
	})
	for _, e := range p.envelopes {
		dst = binary.AppendUvarint(dst, uint64(len(e)))
		dst = append(dst, e...)
	}
	return dst
}

func appendFrame(dst []byte, t frameType, fields func([]byte) []byte) []byte {
	var buf [512]byte
	text := fields(buf[:0])
	dst = append(dst, frameVersion, byte(t))
	dst = binary.AppendUvarint(dst, uint64(len(text)))
	return append(dst, text...)
}

func appendUints(dst []byte, values ...uint64) []byte {
	for _, v := range values {
		dst = binary.AppendUvarint(dst, v)
	}
	return dst
}

// decodeFrame returns a *heartbeat, a *want or a *page, or nil for a type of a newer release. Its result
// aliases data.
func decodeFrame(data []byte) (any, error) {
	r := frameReader{rest: data}
	version, t := r.byte(), frameType(r.byte())
	body := frameReader{rest: nil}
	fields := frameReader{rest: r.bytes()}
	body.rest = r.rest
	if r.wrong || version == 0 {
		return nil, errFrame
	}
	var f any
	switch t {
	case frameHeartbeat:
		f = &heartbeat{origin: wire.NodeID(fields.bytes()), epoch: fields.uint(), upTo: fields.uint(), lost: fields.uint(), sent: int64(fields.uint())}
	case frameWant:
		f = &want{
			asker: fields.uint(), nonce: fields.uint(), follow: fields.duration(),
			epoch: fields.uint(), after: fields.uint(), age: fields.duration(),
		}
	case framePage:
		p := &page{epoch: fields.uint(), nonce: fields.uint(), from: fields.uint(), to: fields.uint(), lost: fields.uint(), last: fields.uint() == 1}
		for len(body.rest) > 0 && !body.wrong {
			p.envelopes = append(p.envelopes, body.bytes())
			body.wrong = body.wrong || len(p.envelopes) > maxPageCount
		}
		f = p
	default:
		return nil, nil
	}
	if fields.wrong || body.wrong {
		return nil, fmt.Errorf("%w: type %d of version %d", errFrame, t, version)
	}
	return f, nil
}

// A frameReader takes values from the front of a text.
type frameReader struct {
	rest  []byte
	wrong bool
}

func (r *frameReader) byte() byte {
	if len(r.rest) == 0 {
		r.wrong = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *frameReader) uint() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.wrong, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// duration is in milliseconds, and a day at most.
func (r *frameReader) duration() time.Duration {
	return time.Duration(min(r.uint(), 86_400_000)) * time.Millisecond
}

func (r *frameReader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.rest)) {
		r.wrong, r.rest = true, nil
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}
