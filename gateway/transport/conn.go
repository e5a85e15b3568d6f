package transport

import (
	"net/netip"
	"time"

	"github.com/gobwas/ws"

	"logux-proxy/gateway/transport/poll"
)

// phase is how far a connection has come; it only grows.
type phase uint8

const (
	phaseHead    phase = iota // the request's head is being read
	phaseOpen                 // upgraded
	phaseClosing              // our close frame was sent first; the peer's is awaited
	phaseLinger               // nothing more is said: output drains, then the peer's end of stream is awaited
	phaseDead                 // the socket is gone
)

// A Conn is one upgraded connection. Its methods are for its loop's goroutine only. Conns are not
// reused: a pointer kept too long is harmless.
type Conn struct {
	// Data belongs to the handler.
	Data any

	// Static
	loop *Loop
	pipe *pipe // instead of fd, for connections with goroutines
	fd   int32
	slot int32 // place in the loop's table, -1 once gone

	// Owned by the loop. in and out are nil while the connection rests.
	in    *inbound
	out   *outbox
	next  *Conn // the next woken one
	timer timer

	controlSecond uint32 // of the loop's time; see countControl
	controls      uint16

	phase      phase
	reason     CloseReason // why it ends; the first cause counts
	interest   poll.Interest
	windowBits uint8 // of deflate towards the peer; 0 = no compression

	woken    bool // in the loop's list of visits
	paused   bool // StopReading
	binary   bool // the message in the handler's hands came in binary frames
	known    bool // the handler was told of it and not yet of its end
	blocked  bool // the socket took no more; out waits for it
	finished bool // our end of stream was sent
	broken   bool // the socket failed: to be dropped when the visit ends
}

// inbound is what a connection needs while something from its peer is incomplete.
type inbound struct {
	timer timer
	framer
	// rest is what was read and not yet looked at: the start of a head, or what lay behind the message at
	// which the handler stopped the reading.
	rest    []byte
	scanned int  // how much of an incomplete head was searched for its end
	renewed bool // a message was completed: what is incomplete now has its full time
	// Of the request's head only:
	peer    netip.AddrPort // the socket's, or whom a trusted PROXY header names
	proxied bool           // a PROXY header was looked for
}

// Loop returns the owner; any goroutine may call it.
func (c *Conn) Loop() *Loop { return c.loop }

// Binary reports whether the message that Handler.Message was given came in binary frames.
func (c *Conn) Binary() bool { return c.binary }

// Send queues one text message for the end of this visit (or of the next, outside of one). The
// payload is copied.
func (c *Conn) Send(payload []byte) { c.send(ws.OpText, payload) }

// SendBinary is Send for a binary message.
func (c *Conn) SendBinary(payload []byte) { c.send(ws.OpBinary, payload) }

// Wake asks for a visit of c at the end of this turn, whose Flush is then called unless output waits.
func (c *Conn) Wake() {
	if c.woken || c.phase == phaseDead {
		return
	}
	c.woken = true
	c.loop.wake(c)
}

// Waiting is how many bytes of output wait for the socket.
func (c *Conn) Waiting() int {
	if c.out == nil {
		return 0
	}
	return c.out.size
}

// SetTimer asks for Handler.Timer at about (never before) at; a second call replaces the first; 0
// takes it back. Granularity is 100 ms or finer.
func (c *Conn) SetTimer(at time.Duration) {
	if c.phase == phaseOpen {
		c.loop.wheel.set(&c.timer, at)
	}
}

// Close sends what waits, then a close frame with code and text, and ends the connection when the
// peer answered it or after a second. Handler.Closed follows later with reason. Message is not
// called any more.
func (c *Conn) Close(code uint16, text string, reason CloseReason) {
	if c.phase != phaseOpen {
		return
	}
	c.sendClose(code, text)
	c.phase = phaseClosing
	c.reason = reason
	c.loop.wheel.set(&c.timer, c.loop.now+closeTimeout)
	c.ResumeReading()
	c.Wake()
}

// Closing reports whether Close was called or the peer is closing.
func (c *Conn) Closing() bool { return c.phase > phaseOpen }

// StopReading keeps the loop from reading c until ResumeReading: the brake on a peer that sends
// more than it may. Message is not called meanwhile.
func (c *Conn) StopReading() {
	if c.phase == phaseOpen {
		c.paused = true
		c.Wake()
	}
}

// ResumeReading ends StopReading. Message is not called before the next visit.
func (c *Conn) ResumeReading() {
	if c.paused {
		c.paused = false
		c.Wake()
	}
}

// fail ends the connection because of what the peer did. The close frame is the last thing sent.
func (c *Conn) fail(v *violation) {
	open := c.phase == phaseOpen
	c.linger(v.reason)
	if open {
		c.sendClose(v.code, v.text)
	}
}

// linger begins the last phase: whatever was queued is written, our end of stream follows, and what
// the peer still sends is thrown away until its own end. Closing at once would let the kernel
// answer bytes on their way with a reset, which can destroy our last words before they are read.
func (c *Conn) linger(reason CloseReason) {
	if c.phase >= phaseLinger {
		return
	}
	if c.phase != phaseClosing {
		c.reason = reason
		c.loop.wheel.set(&c.timer, c.loop.now+closeTimeout)
	}
	c.phase = phaseLinger
	c.paused = false
	c.Wake()
}

// doom marks the socket as unusable; the end of the visit drops it.
func (c *Conn) doom(reason CloseReason) {
	if c.broken {
		return
	}
	c.broken = true
	if c.reason == CloseNone {
		c.reason = reason
	}
	c.Wake()
}

// retire tells the handler.
func (c *Conn) retire() {
	if !c.known {
		return
	}
	c.known = false
	l := c.loop
	l.stats.Connections--
	l.stats.Closed[c.reason]++
	l.handler.Closed(c, c.reason)
	c.Data = nil
}

// drop ends the connection now.
func (c *Conn) drop() {
	if c.phase == phaseDead {
		return
	}
	l := c.loop
	c.phase = max(c.phase, phaseLinger) // nothing the handler does in Closed has an effect
	c.retire()
	c.detach()
	if c.pipe != nil {
		c.pipe.close()
	} else {
		poll.Close(int(c.fd))
	}
	l.server.sockets.Add(-1)
}

// detach takes c out of the loop and leaves its socket alone.
func (c *Conn) detach() {
	l := c.loop
	c.phase = phaseDead
	l.wheel.clear(&c.timer)
	c.releaseInbound()
	c.releaseOutbox()
	l.slots.free(c)
}

// releaseInbound gives back what c.in holds.
func (c *Conn) releaseInbound() {
	if c.in == nil {
		return
	}
	c.loop.putInbound(c.in)
	c.in = nil
}

// settle ends a visit: what the visit decided about the socket is done.
func (c *Conn) settle() {
	if c.phase == phaseDead {
		return
	}
	if c.broken {
		c.drop()
		return
	}
	if c.phase == phaseLinger {
		c.retire()
		c.releaseInbound()
		if c.out == nil && !c.finished {
			c.finished = true
			if c.pipe != nil {
				c.pipe.finishWrites()
			} else {
				poll.FinishWrites(int(c.fd))
			}
		}
	}
	c.watch()
}

// watch tells the poller what c waits for.
func (c *Conn) watch() {
	if c.pipe != nil {
		c.pipe.watch()
		return
	}
	var want poll.Interest
	if !c.paused {
		want |= poll.In
	}
	if c.blocked {
		want |= poll.Out
	}
	if want == c.interest {
		return
	}
	c.interest = want
	if err := c.loop.poller.Change(int(c.fd), c.loop.slots.token(c), want); err != nil {
		c.doom(CloseNetwork)
		c.drop()
	}
}

// timeout is called when one of c's timers has come.
func (c *Conn) timeout(kind timerKind) {
	l := c.loop
	switch kind {
	case timerOutput:
		c.outputTimeout()
	case timerInput:
		l.enter(c)
		if c.phase == phaseHead {
			c.headTimeout()
		} else {
			c.fail(errStalled)
		}
		l.leave(c)
	case timerConn:
		if c.phase != phaseOpen {
			c.drop()
			return
		}
		l.enter(c)
		l.handler.Timer(c)
		l.leave(c)
	}
}
