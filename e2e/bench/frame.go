package main

import (
	"bytes"
	"encoding/binary"

	"github.com/gobwas/ws"
)

// The mask of all frames that clients send. It need not be secret here, but it must not be zero:
// a server may have less to do for that one.
var mask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// appendFrame appends one masked frame of a client.
func appendFrame(dst []byte, op ws.OpCode, payload []byte) []byte {
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

// nextFrame reads the first frame of a server in data and how long it is; size is 0 while the frame
// is not complete. Servers under test are trusted: fragments and masks are not looked for.
func nextFrame(data []byte) (op ws.OpCode, payload []byte, size int) {
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

// number reads the decimal number that text begins with, and returns what follows it.
func number(text []byte) (n int64, rest []byte) {
	for len(text) > 0 && text[0] >= '0' && text[0] <= '9' {
		n = n*10 + int64(text[0]-'0')
		text = text[1:]
	}
	return n, text
}

// A mark is what a published action carries so that its deliveries can be counted:
// "m":"<channel>.<sequence in the channel>.<publication>".
type mark struct {
	channel, seq, publication int64
}

var markStart = []byte(`"m":"`)

// nextMark finds the first mark in text and returns what follows it.
func nextMark(text []byte) (m mark, rest []byte, ok bool) {
	i := bytes.Index(text, markStart)
	if i < 0 {
		return m, nil, false
	}
	rest = text[i+len(markStart):]
	m.channel, rest = number(rest)
	m.seq, rest = number(after(rest, '.'))
	m.publication, rest = number(after(rest, '.'))
	return m, rest, true
}

func after(text []byte, c byte) []byte {
	if len(text) > 0 && text[0] == c {
		return text[1:]
	}
	return nil
}
