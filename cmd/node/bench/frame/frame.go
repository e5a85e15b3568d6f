// Package frame writes and reads WebSocket frames as a client does that has many connections in one process: small, without
// a buffer of its own, and without a copy where none is needed. The load test and the clients of the end-to-end tests share it.
package frame

import (
	"encoding/binary"
	"errors"

	"github.com/gobwas/ws"
)

// MaxPayload bounds one frame of a server, in bytes.
const MaxPayload = 64 << 20

// Why a server's bytes are no frame that a client may take (RFC 6455, section 5).
var (
	ErrTooLong  = errors.New("a frame is longer than 64 MiB")
	ErrMasked   = errors.New("a frame of the server is masked")
	ErrReserved = errors.New("a frame has a reserved bit, though no extension was agreed on")
)

// The mask of all frames that clients send. It need not be secret here, but it must not be zero:
// a server may have less to do for that one.
var mask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// Append appends one masked frame of a client.
func Append(dst []byte, op ws.OpCode, payload []byte) []byte {
	dst = append(dst, 0x80|byte(op))
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n <= 0xffff:
		dst = append(dst, 0x80|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	default:
		dst = append(dst, 0x80|127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	dst = append(dst, mask[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	ws.Cipher(dst[start:], mask, 0)
	return dst
}

// A Frame is one of a server.
type Frame struct {
	Op      ws.OpCode
	Fin     bool   // the last one of its message
	Payload []byte // aliases what was read
}

// Next reads the first frame of a server in data and how long it is; size is 0 while the frame is not complete. After an
// error, which is one of those above, the connection is of no more use.
func Next(data []byte) (f Frame, size int, err error) {
	if len(data) < 2 {
		return Frame{}, 0, nil
	}
	if data[0]&0x70 != 0 {
		return Frame{}, 0, ErrReserved
	}
	if data[1]&0x80 != 0 {
		return Frame{}, 0, ErrMasked
	}
	head, length := 2, uint64(data[1])
	switch length {
	case 126:
		head = 4
		if len(data) < head {
			return Frame{}, 0, nil
		}
		length = uint64(binary.BigEndian.Uint16(data[2:]))
	case 127:
		head = 10
		if len(data) < head {
			return Frame{}, 0, nil
		}
		length = binary.BigEndian.Uint64(data[2:])
	}
	if length > MaxPayload {
		return Frame{}, 0, ErrTooLong
	}
	size = head + int(length)
	if len(data) < size {
		return Frame{}, 0, nil
	}
	return Frame{Op: ws.OpCode(data[0] & 0x0f), Fin: data[0]&0x80 != 0, Payload: data[head:size]}, size, nil
}
