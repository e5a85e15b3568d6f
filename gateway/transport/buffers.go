package transport

import "math/bits"

// Sizes of pooled buffers: powers of two from minBuffer to maxBuffer. Larger ones come from the heap and go back to it.
const (
	minBufferBits = 9  // 512 bytes
	maxBufferBits = 16 // 64 KiB
	bufferClasses = maxBufferBits - minBufferBits + 1
	// keptPerClass bounds what a loop holds for nobody to about twice keptPerClass * 64 KiB.
	keptPerClass = 32
)

// buffers is the pool of one loop. Its buffers hold what cannot be handed on yet: parts of messages
// and output that a socket did not take.
type buffers struct {
	free [bufferClasses][][]byte
}

func bufferClass(n int) int {
	if n <= 1<<minBufferBits {
		return 0
	}
	return bits.Len(uint(n-1)) - minBufferBits
}

// get returns an empty buffer with room for n bytes at least.
func (p *buffers) get(n int) []byte {
	class := bufferClass(n)
	if class >= bufferClasses {
		return make([]byte, 0, n)
	}
	free := p.free[class]
	if len(free) == 0 {
		return make([]byte, 0, 1<<(class+minBufferBits))
	}
	b := free[len(free)-1]
	free[len(free)-1] = nil
	p.free[class] = free[:len(free)-1]
	return b[:0]
}

// put takes b back; nobody may use it any more. Buffers that did not come from get are dropped.
func (p *buffers) put(b []byte) {
	class := bufferClass(cap(b))
	if class >= bufferClasses || cap(b) != 1<<(class+minBufferBits) || len(p.free[class]) >= keptPerClass {
		return
	}
	p.free[class] = append(p.free[class], b)
}

// grow returns b with room for n more bytes, in another buffer if need be. The room grows with
// what is there, by doubling up to 256 KiB and by a quarter from then on, but not beyond limit bytes in all,
// which the caller knows to be enough.
func (p *buffers) grow(b []byte, n, limit int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	room := len(b) + n
	if next := 2 * cap(b); next <= 256<<10 {
		room = max(room, next)
	} else {
		room = max(room, cap(b)+cap(b)/4)
	}
	if room > limit {
		room = max(limit, len(b)+n)
	}
	g := p.get(room)
	g = append(g, b...)
	p.put(b)
	return g
}

func (l *Loop) getInbound(c *Conn) *inbound {
	var in *inbound
	if n := len(l.inbounds); n > 0 {
		in = l.inbounds[n-1]
		l.inbounds = l.inbounds[:n-1]
	} else {
		in = new(inbound)
		in.timer.kind = timerInput
	}
	in.timer.conn = c
	return in
}

func (l *Loop) putInbound(in *inbound) {
	l.wheel.clear(&in.timer)
	in.timer.conn = nil
	in.reset(&l.pool)
	if in.rest != nil {
		l.pool.put(in.rest)
		in.rest = nil
	}
	in.scanned, in.renewed, in.proxied = 0, false, false
	if len(l.inbounds) < keptStructs {
		l.inbounds = append(l.inbounds, in)
	}
}

func (l *Loop) getOutbox(c *Conn) *outbox {
	var o *outbox
	if n := len(l.outboxes); n > 0 {
		o = l.outboxes[n-1]
		l.outboxes = l.outboxes[:n-1]
	} else {
		o = new(outbox)
		o.timer.kind = timerOutput
	}
	o.timer.conn = c
	o.pongs, o.npong = 0, -1
	return o
}

func (l *Loop) putOutbox(o *outbox) {
	l.wheel.clear(&o.timer)
	o.timer.conn = nil
	for _, chunk := range o.chunks[o.first:] {
		l.pool.put(chunk)
	}
	clear(o.chunks)
	o.chunks = o.chunks[:0]
	o.first, o.offset, o.size = 0, 0, 0
	if cap(o.chunks) <= keptScratch/maxChunk*4 && len(l.outboxes) < keptStructs {
		l.outboxes = append(l.outboxes, o)
	}
}
