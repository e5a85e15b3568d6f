// Package frame writes and reads WebSocket frames as the test's own fast clients need them: whole, small, without a copy where none is needed.
package frame

import (
	"encoding/binary"

	"github.com/gobwas/ws"
)

// The mask of all frames that clients send. It need not be secret here, but it must not be zero:
// a server may have less to do for that one.
var mask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// Append appends one masked frame of a client.
func Append(dst []byte, op ws.OpCode, payload []byte) []byte {
	dst = append(dst, 0x80|byte(op))
	if len(payload) < 126 {
		dst = append(dst, 0x80|byte(len(payload)))
	} else {
		dst = append(dst, 0x80|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(payload)))
	}
	dst = append(dst, mask[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	ws.Cipher(dst[start:], mask, 0)
	return dst
}

// Next reads the first frame of a server in data and how long it is; size is 0 while the frame
// is not complete. Servers under test are trusted: fragments and masks are not looked for.
func Next(data []byte) (op ws.OpCode, payload []byte, size int) {
	if len(data) < 2 {
		return 0, nil, 0
	}
	head, length := 2, int(data[1]&0x7f)
	switch length {
	case 126:
		head = 4
		if len(data) < head {
			return 0, nil, 0
		}
		length = int(binary.BigEndian.Uint16(data[2:]))
	case 127:
		head = 10
		if len(data) < head {
			return 0, nil, 0
		}
		length = int(binary.BigEndian.Uint64(data[2:]))
	}
	if len(data) < head+length {
		return 0, nil, 0
	}
	return ws.OpCode(data[0] & 0x0f), data[head : head+length], head + length
}
