package transport

import (
	"errors"

	"logux-proxy/gateway/transport/poll"
)

// errStalled is a message that did not become whole in time.
var errStalled = &violation{1008, CloseStalled, "message not complete in time"}

// readable reads once: a socket with more is reported again, after the others had their turn.
func (l *Loop) readable(c *Conn) {
	n, err := poll.Read(int(c.fd), l.buf)
	switch {
	case errors.Is(err, poll.ErrAgain):
	case err != nil:
		c.failed(CloseNetwork)
	case n == 0:
		c.failed(ClosePeer)
	default:
		l.received(c, l.buf[:n])
	}
}

// failed ends a connection whose stream has ended.
func (c *Conn) failed(reason CloseReason) {
	c.doom(reason)
	c.settle()
}

// received hands data to c. It is a visit. data may be changed, and is not kept.
func (l *Loop) received(c *Conn, data []byte) {
	l.stats.BytesIn += int64(len(data))
	if c.phase >= phaseLinger {
		return
	}
	l.enter(c)
	switch {
	case c.phase == phaseHead:
		c.readHead(data)
	case c.paused:
		// Asked for before the handler put the brake on; it keeps for later.
		in := c.input()
		in.rest = append(l.pool.grow(in.rest, len(data), len(in.rest)+len(data)), data...)
	default:
		c.readFrames(data)
	}
	l.leave(c)
}

// input returns c.in, after making it if need be.
func (c *Conn) input() *inbound {
	if c.in == nil {
		c.in = c.loop.getInbound(c)
	}
	return c.in
}

// readRest goes on with what was kept when the handler stopped the reading.
func (c *Conn) readRest() {
	in := c.in
	if in == nil || len(in.rest) == 0 {
		return
	}
	data := in.rest
	in.rest = nil
	c.readFrames(data)
	c.loop.pool.put(data) // what was not looked at was copied
}

// readFrames looks at data, hands messages to the handler and answers control frames.
func (c *Conn) readFrames(data []byte) {
	l := c.loop
	in := c.input()
	for len(data) > 0 && c.phase < phaseLinger {
		if c.paused {
			in.rest = append(l.pool.grow(in.rest, len(data), len(data)), data...)
			break
		}
		ev, n, v := in.next(data, &l.rules, c.windowBits != 0)
		data = data[n:]
		if v != nil {
			c.fail(v)
			break
		}
		switch ev.kind {
		case eventMessage:
			in.renewed = true
			c.message(&ev)
		case eventPing, eventPong, eventClose:
			in.renewed = in.renewed || in.idle()
			c.control(&ev)
		}
	}
	if c.phase >= phaseLinger {
		return // settle gives c.in back
	}
	in.reclaim(&l.pool)
	switch {
	case c.paused:
		l.wheel.clear(&in.timer)
	case in.idle():
		c.releaseInbound()
	case in.renewed || in.timer.at == 0:
		in.renewed = false
		l.wheel.clear(&in.timer)
		l.wheel.set(&in.timer, l.now+l.limits.FrameTimeout)
	}
}

// message hands a whole message to the handler.
func (c *Conn) message(ev *event) {
	l := c.loop
	if c.phase != phaseOpen {
		return
	}
	payload := ev.payload
	if ev.deflate {
		var v *violation
		if payload, v = l.deflater().expand(payload, l.limits.Message, !ev.binary); v != nil {
			c.fail(v)
			return
		}
	}
	l.stats.MessagesIn++
	c.binary = ev.binary
	l.handler.Message(c, payload)
}

// control deals with a control frame (RFC 6455, section 5.5).
func (c *Conn) control(ev *event) {
	if ev.kind == eventClose {
		c.peerClosed(ev.payload)
		return
	}
	if !c.countControl() {
		c.fail(errTooManyControls)
		return
	}
	if ev.kind == eventPing && c.phase == phaseOpen {
		c.sendPong(ev.payload)
	}
}

// countControl counts a control frame and reports whether the peer may send it: pings cost their
// sender little and are of no use by the thousand.
func (c *Conn) countControl() bool {
	second := uint32(c.loop.now / 1e9)
	if second != c.controlSecond {
		c.controlSecond, c.controls = second, 0
	}
	c.controls++
	return c.controls <= maxControls
}

// peerClosed answers a close frame with its own code, or takes it as the answer to ours.
func (c *Conn) peerClosed(payload []byte) {
	code, v := checkClose(payload)
	if v != nil {
		c.fail(v)
		return
	}
	open := c.phase == phaseOpen
	c.linger(ClosePeer)
	if open {
		c.sendClose(code, "")
	}
}
