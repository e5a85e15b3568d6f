package transport

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// A violation is why a connection must fail (RFC 6455, section 7.1.7): the close code for the peer
// and the reason for us.
type violation struct {
	code   uint16
	reason CloseReason
	text   string
}

// Error makes a violation usable where errors are compared; it is never logged as one.
func (v *violation) Error() string { return v.text }

// What a frame can do wrong. Codes are those of RFC 6455, section 7.4.1.
var (
	errReservedOpcode  = &violation{1002, CloseProtocol, "reserved opcode"}
	errReservedBits    = &violation{1002, CloseProtocol, "reserved bits"}
	errLongControl     = &violation{1002, CloseProtocol, "control frame too long"}
	errSplitControl    = &violation{1002, CloseProtocol, "fragmented control frame"}
	errNotMasked       = &violation{1002, CloseProtocol, "frame not masked"}
	errLength          = &violation{1002, CloseProtocol, "length not in its shortest form"}
	errNoMessage       = &violation{1002, CloseProtocol, "continuation of nothing"}
	errUnfinished      = &violation{1002, CloseProtocol, "message within a message"}
	errClosePayload    = &violation{1002, CloseProtocol, "malformed close frame"}
	errCloseCode       = &violation{1002, CloseProtocol, "close code not allowed"}
	errText            = &violation{1007, CloseProtocol, "text is not UTF-8"}
	errDeflate         = &violation{1007, CloseProtocol, "not a deflate stream"}
	errMessageTooBig   = &violation{1009, CloseTooBig, "message too big"}
	errTooFragmented   = &violation{1008, CloseTooBig, "too many fragments"}
	errTooManyControls = &violation{1008, CloseFlood, "too many control frames"}
)

// maxHeader is the longest header of a masked frame: two bytes, eight of length, four of mask.
const maxHeader = 14

// A header is what a frame says of itself (RFC 6455, section 5.2).
type header struct {
	mask   [4]byte
	length int64
	op     ws.OpCode
	fin    bool
	rsv1   bool
}

// parseHeader reads the header that p begins with. size is 0 when p is too short to tell. It finds
// whatever is wrong in a header by itself; what depends on the frames before is framer.begin's.
func parseHeader(p []byte) (h header, size int, v *violation) {
	if len(p) < 2 {
		return h, 0, nil
	}
	h.fin = p[0]&0x80 != 0
	h.rsv1 = p[0]&0x40 != 0
	h.op = ws.OpCode(p[0] & 0x0f)
	switch {
	case p[0]&0x30 != 0:
		return h, 0, errReservedBits
	case h.op.IsReserved():
		return h, 0, errReservedOpcode
	case p[1]&0x80 == 0:
		// "The server MUST close the connection upon receiving a frame that is not masked" (5.1).
		return h, 0, errNotMasked
	}
	n := int(p[1] & 0x7f)
	if h.op.IsControl() {
		switch {
		case n > ws.MaxControlFramePayloadSize:
			return h, 0, errLongControl
		case !h.fin:
			return h, 0, errSplitControl
		case h.rsv1:
			return h, 0, errReservedBits
		}
	}
	size = 2
	switch n {
	case 126:
		if size = 4; len(p) < size {
			return h, 0, nil
		}
		if h.length = int64(binary.BigEndian.Uint16(p[2:])); h.length < 126 {
			return h, 0, errLength
		}
	case 127:
		if size = 10; len(p) < size {
			return h, 0, nil
		}
		// The first bit MUST be 0, the minimal number of bytes MUST be used (5.2).
		if h.length = int64(binary.BigEndian.Uint64(p[2:])); h.length <= 0xffff {
			return h, 0, errLength
		}
	default:
		h.length = int64(n)
	}
	if len(p) < size+4 {
		return h, 0, nil
	}
	copy(h.mask[:], p[size:])
	return h, size + 4, nil
}

// eventKind says what framer.next found.
type eventKind uint8

const (
	eventNone    eventKind = iota // nothing whole: more bytes are needed
	eventMessage                  // a message, of one frame or all its fragments
	eventPing
	eventPong
	eventClose
)

// An event is a whole message or control frame. Its payload lies in the bytes given to next or in the framer, and is
// valid until the next call of next or reclaim.
type event struct {
	kind    eventKind
	binary  bool
	deflate bool // the payload is still compressed and, if text, not validated
	payload []byte
}

// frameRules bound what a framer accepts.
type frameRules struct {
	message   int // bytes of a message
	fragments int // frames of a message
	pool      *buffers
}

// A framer cuts a client's byte stream into messages and control frames, whatever the pieces are
// in which the bytes arrive. A connection between two frames needs none; whole frames are
// unmasked and handed on where they lie; only what is incomplete is kept here.
type framer struct {
	text textCheck // of the message under way

	head  [maxHeader]byte // a header of which not all has arrived
	nhead uint8

	inFrame bool
	frame   header
	left    int64 // bytes of the frame's payload not yet seen

	inMessage bool // a data frame without FIN was seen
	binary    bool
	deflate   bool
	fragments int
	size      int    // bytes of the message, declared by the frames so far
	buf       []byte // its payload so far

	control  [ws.MaxControlFramePayloadSize]byte
	ncontrol uint8
}

// idle reports whether nothing is kept: the stream stands between two messages.
func (f *framer) idle() bool { return f.nhead == 0 && !f.inFrame && !f.inMessage }

// reclaim gives the memory of the last message back.
func (f *framer) reclaim(pool *buffers) {
	if f.buf != nil && !f.inMessage && !f.inFrame {
		pool.put(f.buf)
		f.buf = nil
	}
}

// reset forgets everything.
func (f *framer) reset(pool *buffers) {
	if f.buf != nil {
		pool.put(f.buf)
	}
	*f = framer{}
}

// next takes bytes from data, at most up to the end of the first whole message or control frame,
// and says how many it took. Data frames' payloads are unmasked in place. deflate says whether permessage-deflate was
// negotiated. After a violation the framer must not be used again.
func (f *framer) next(data []byte, rules *frameRules, deflate bool) (ev event, n int, v *violation) {
	f.reclaim(rules.pool)
	for {
		if !f.inFrame {
			size, v := f.header(data[n:], rules, deflate)
			n += size
			if v != nil || !f.inFrame {
				return ev, n, v
			}
		}
		chunk := data[n:]
		if int64(len(chunk)) > f.left {
			chunk = chunk[:f.left]
		}
		n += len(chunk)
		ev, v = f.payload(chunk, rules)
		if ev.kind != eventNone || v != nil || f.inFrame {
			return ev, n, v
		}
	}
}

// header takes a header, or the part of it that is there, and says how many bytes it took.
func (f *framer) header(data []byte, rules *frameRules, deflate bool) (int, *violation) {
	if f.nhead == 0 {
		h, size, v := parseHeader(data)
		if v != nil {
			return 0, v
		}
		if size == 0 {
			f.nhead = uint8(copy(f.head[:], data))
			return len(data), nil
		}
		return size, f.begin(h, rules, deflate)
	}
	had := int(f.nhead)
	have := had + copy(f.head[had:], data)
	h, size, v := parseHeader(f.head[:have])
	if v != nil {
		return 0, v
	}
	if size == 0 {
		f.nhead = uint8(have)
		return have - had, nil
	}
	f.nhead = 0
	return size - had, f.begin(h, rules, deflate)
}

// begin starts the frame that h announces.
func (f *framer) begin(h header, rules *frameRules, deflate bool) *violation {
	if !h.op.IsControl() {
		switch {
		case h.op == ws.OpContinuation && !f.inMessage:
			return errNoMessage
		case h.op != ws.OpContinuation && f.inMessage:
			return errUnfinished
		case h.rsv1 && (!deflate || h.op == ws.OpContinuation):
			// Only the first fragment bears the bit (RFC 7692, section 6).
			return errReservedBits
		}
		if !f.inMessage {
			f.binary = h.op == ws.OpBinary
			f.deflate = h.rsv1
			f.fragments, f.size = 0, 0
			f.text = textCheck{}
		}
		if h.length > int64(rules.message-f.size) {
			return errMessageTooBig
		}
		f.size += int(h.length)
		if f.fragments++; f.fragments > rules.fragments {
			return errTooFragmented
		}
	}
	f.frame, f.left, f.inFrame = h, h.length, true
	return nil
}

// payload takes the next bytes of the frame under way; they may be none.
func (f *framer) payload(chunk []byte, rules *frameRules) (ev event, v *violation) {
	ws.Cipher(chunk, f.frame.mask, int((f.frame.length-f.left)&3))
	f.left -= int64(len(chunk))
	if f.frame.op.IsControl() {
		return f.controlPayload(chunk), nil
	}
	whole := f.left == 0 && f.frame.fin
	if whole && int64(len(chunk)) == f.frame.length && f.fragments == 1 {
		f.inFrame = false
		if !f.binary && !f.deflate && !utf8.Valid(chunk) {
			return ev, errText
		}
		return event{kind: eventMessage, binary: f.binary, deflate: f.deflate, payload: chunk}, nil
	}
	check := !f.binary && !f.deflate
	if check && !f.text.write(chunk) {
		return ev, errText
	}
	if len(chunk) > 0 {
		if f.buf == nil {
			f.buf = rules.pool.get(len(chunk))
		}
		most := rules.message // of a message of which more fragments may come
		if f.frame.fin {
			most = f.size
		}
		f.buf = append(rules.pool.grow(f.buf, len(chunk), most), chunk...)
	}
	if f.left > 0 {
		return ev, nil
	}
	f.inFrame = false
	f.inMessage = !f.frame.fin
	if f.inMessage {
		return ev, nil
	}
	if check && !f.text.whole() {
		return ev, errText
	}
	return event{kind: eventMessage, binary: f.binary, deflate: f.deflate, payload: f.buf}, nil
}

func (f *framer) controlPayload(chunk []byte) event {
	if f.left > 0 || f.ncontrol > 0 {
		f.ncontrol += uint8(copy(f.control[f.ncontrol:], chunk))
		if f.left > 0 {
			return event{}
		}
		chunk = f.control[:f.ncontrol]
		f.ncontrol = 0
	}
	f.inFrame = false
	kind := eventPing
	switch f.frame.op {
	case ws.OpPong:
		kind = eventPong
	case ws.OpClose:
		kind = eventClose
	}
	return event{kind: kind, payload: chunk}
}

// checkClose returns the code of a close frame's payload, 0 when there is none (RFC 6455, section 5.5.1).
func checkClose(p []byte) (uint16, *violation) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(p) == 1 {
		return 0, errClosePayload
	}
	code := binary.BigEndian.Uint16(p)
	switch {
	case code >= 3000 && code <= 4999: // libraries', applications'
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014: // registered; 1004 to 1006 and 1015 never travel
	default:
		return 0, errCloseCode
	}
	if !utf8.Valid(p[2:]) {
		return 0, errText
	}
	return code, nil
}

// appendHeader appends the header of an unmasked frame (a server's) with FIN.
func appendHeader(dst []byte, op ws.OpCode, rsv1 bool, length int) []byte {
	first := 0x80 | byte(op)
	if rsv1 {
		first |= 0x40
	}
	switch {
	case length < 126:
		return append(dst, first, byte(length))
	case length <= 0xffff:
		return append(dst, first, 126, byte(length>>8), byte(length))
	default:
		return binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(length))
	}
}

// maxCloseText is how much of a close frame's payload is left beside the code.
const maxCloseText = ws.MaxControlFramePayloadSize - 2

// appendClose appends a close frame; code 0 stands for a frame without payload.
func appendClose(dst []byte, code uint16, text string) []byte {
	if code == 0 {
		return appendHeader(dst, ws.OpClose, false, 0)
	}
	if len(text) > maxCloseText {
		n := maxCloseText
		for n > 0 && !utf8.RuneStart(text[n]) {
			n--
		}
		text = text[:n]
	}
	dst = appendHeader(dst, ws.OpClose, false, 2+len(text))
	return append(binary.BigEndian.AppendUint16(dst, code), text...)
}
