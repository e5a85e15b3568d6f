package transport

import (
	"errors"
	"slices"

	"github.com/gobwas/ws"

	"logux-proxy/gateway/transport/poll"
)

const (
	// minChunk and maxChunk are the sizes of an outbox's pieces.
	minChunk = 4 << 10
	maxChunk = 1 << maxBufferBits
	// spillOutput is how much a visit may gather before it is written ahead of the visit's end.
	spillOutput = 64 << 10
	// keptScratch is how large a loop's scratch buffers may stay after an exceptional message.
	keptScratch = 256 << 10
	// looks is how often in Limits.WriteTimeout a peer that output waits for is looked at.
	looks = 8
	// maxPongs is how many answers to pings may wait with other output.
	maxPongs = 16
	// minDeflate is the shortest message worth compressing.
	minDeflate = 512
)

// errSlow is no frame's fault, but ends a connection the same way.
var errSlow = &violation{1013, CloseSlow, "output not read in time"}

// outbox is the output that a connection's socket did not take.
type outbox struct {
	timer  timer
	chunks [][]byte // pooled; those before first are written
	first  int
	offset int   // how much of the first chunk was written
	size   int   // bytes waiting in all
	unsent int   // bytes in the kernel at the last look
	stale  uint8 // looks since the peer was last seen to take some
	// Answers to pings that came while output waited: how many are part of it, and the last ping
	// beyond these (RFC 6455, section 5.5.3, lets us answer only that).
	pongs uint8
	pong  [ws.MaxControlFramePayloadSize]byte
	npong int8 // -1 = none
}

// send queues a data frame.
func (c *Conn) send(op ws.OpCode, payload []byte) {
	if c.phase != phaseOpen {
		return
	}
	l := c.loop
	l.stats.MessagesOut++
	rsv1 := false
	if c.windowBits != 0 && len(payload) >= minDeflate {
		payload, rsv1 = l.deflater().compress(payload, c.windowBits)
	}
	if l.visiting == c {
		l.out = appendHeader(l.out, op, rsv1, len(payload))
		l.out = append(l.out, payload...)
		if len(l.out) >= spillOutput {
			c.spill()
		}
		return
	}
	l.frame = appendHeader(l.frame[:0], op, rsv1, len(payload))
	l.frame = append(l.frame, payload...)
	c.queue(l.frame)
	l.frame = shrink(l.frame)
}

// sendClose queues a close frame.
func (c *Conn) sendClose(code uint16, text string) {
	l := c.loop
	if l.visiting == c {
		l.out = appendClose(l.out, code, text)
		return
	}
	c.queue(appendClose(l.frame[:0], code, text))
}

// sendPong answers a ping. While output waits, a few answers join it; of the pings beyond them only the
// last is answered, when the output has left.
func (c *Conn) sendPong(payload []byte) {
	l := c.loop
	if o := c.out; o != nil {
		if o.pongs >= maxPongs {
			o.npong = int8(copy(o.pong[:], payload))
			return
		}
		o.pongs++
	}
	l.out = appendHeader(l.out, ws.OpPong, false, len(payload))
	l.out = append(l.out, payload...)
}

// queue keeps p for c's next visit.
func (c *Conn) queue(p []byte) {
	c.enqueue(p)
	c.Wake()
}

// spill writes what the visit has gathered so far.
func (c *Conn) spill() {
	l := c.loop
	// Two buffers, because what becomes of the first may add to the output: a close frame.
	p := l.out
	l.out = l.spare[:0]
	c.transmit(p)
	l.spare = shrink(p)
}

// shrink empties b, and lets its memory go when it is exceptionally large.
func shrink(b []byte) []byte {
	if cap(b) > keptScratch {
		return nil
	}
	return b[:0]
}

// transmit writes p to the socket, behind what waits, and keeps what does not fit.
func (c *Conn) transmit(p []byte) {
	if c.broken {
		return
	}
	if c.out == nil {
		n, ok := c.write(p)
		if !ok {
			return
		}
		if p = p[n:]; len(p) == 0 {
			return
		}
		c.blocked = true
	}
	c.enqueue(p)
	if c.blocked && c.out != nil && c.out.timer.at == 0 {
		c.progress()
	}
}

// progress gives the waiting output its full time again.
func (c *Conn) progress() {
	c.out.stale = 0
	c.lookAgain()
}

func (c *Conn) lookAgain() {
	c.out.unsent = c.unsent()
	c.loop.wheel.set(&c.out.timer, c.loop.now+c.loop.limits.WriteTimeout/looks)
}

// unsent is how much of what was written the peer has not acknowledged.
func (c *Conn) unsent() int {
	if c.pipe != nil {
		return 0
	}
	return poll.Unsent(int(c.fd))
}

// outputTimeout looks whether the peer reads. A slow one may have taken some from the kernel without
// making room for more: as long as it reads, it is not stuck. What was on its way when the output began to
// wait counts once, which is why the last look comes one short of the full time.
func (c *Conn) outputTimeout() {
	if c.unsent() < c.out.unsent {
		c.out.stale = 0
	} else {
		c.out.stale++
	}
	if c.out.stale < looks-1 {
		c.lookAgain()
		return
	}
	c.doom(CloseSlow)
	c.settle()
}

// write gives p to the socket. It returns how much was taken, and false when the socket failed.
func (c *Conn) write(p []byte) (int, bool) {
	stats := &c.loop.stats
	stats.Writes++
	var n int
	var err error
	if c.pipe != nil {
		n, err = c.pipe.write(p)
	} else {
		n, err = poll.Write(int(c.fd), p)
	}
	stats.BytesOut += int64(n)
	if err != nil && !errors.Is(err, poll.ErrAgain) {
		c.doom(CloseNetwork)
		return 0, false
	}
	return n, true
}

// enqueue appends p to the outbox. A peer that lets too much wait fails; but one message may wait however large it
// is, or a peer that is to have it could never get it.
func (c *Conn) enqueue(p []byte) {
	l := c.loop
	alone := c.out == nil || c.out.size == 0
	if c.out == nil {
		c.out = l.getOutbox(c)
	}
	o := c.out
	o.size += len(p)
	l.stats.OutputWaiting += int64(len(p))
	for len(p) > 0 {
		if n := len(o.chunks); n > o.first {
			last := o.chunks[n-1]
			if room := cap(last) - len(last); room > 0 {
				take := min(room, len(p))
				o.chunks[n-1] = append(last, p[:take]...)
				p = p[take:]
				continue
			}
		}
		if o.first > 16 && 2*o.first > len(o.chunks) {
			o.chunks = slices.Delete(o.chunks, 0, o.first)
			o.first = 0
		}
		o.chunks = append(o.chunks, l.pool.get(min(max(len(p), minChunk), maxChunk)))
	}
	if o.size > l.limits.Output && !alone && c.phase == phaseOpen {
		c.fail(errSlow)
	}
}

// drain writes what waits until the socket is full or nothing is left.
func (c *Conn) drain() {
	l := c.loop
	o := c.out
	for o.first < len(o.chunks) {
		p := o.chunks[o.first][o.offset:]
		n, ok := c.write(p)
		if !ok {
			return
		}
		o.size -= n
		l.stats.OutputWaiting -= int64(n)
		if n < len(p) {
			o.offset += n
			c.blocked = true
			if n > 0 || o.timer.at == 0 {
				c.progress()
			}
			return
		}
		l.pool.put(o.chunks[o.first])
		o.chunks[o.first] = nil
		o.first++
		o.offset = 0
	}
	pong, npong := o.pong, o.npong
	c.releaseOutbox()
	if npong >= 0 && c.phase == phaseOpen {
		c.sendPong(pong[:npong])
	}
}

// releaseOutbox throws away what waits.
func (c *Conn) releaseOutbox() {
	c.blocked = false
	if c.out == nil {
		return
	}
	c.loop.stats.OutputWaiting -= int64(c.out.size)
	c.loop.putOutbox(c.out)
	c.out = nil
}
