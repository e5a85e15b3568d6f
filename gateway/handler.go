package gateway

import (
	"sync/atomic"

	"go.uber.org/zap"

	"logux-proxy/gateway/session"
	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// A handler serves the connections of one loop. Its memory is shared by all of them, one at a time.
type handler struct {
	// Static
	g    *Gateway
	loop *transport.Loop

	// Owned by the loop
	decoder wire.Decoder
	message wire.Message
	ready   session.Ready
	acks    session.Ready // of acknowledge, which runs while ready is in use
	jobs    []*job
	scratch []byte
	free    [][]delivery // memory for peer.pending
	// released is the place among the loop's connections after which more may be told to go.
	released int

	stats loopStats
}

// loopStats are written by the loop and read by anybody.
type loopStats struct {
	in, out    [wire.MessageTypes]atomic.Int64
	deliveries atomic.Int64
	malformed  atomic.Int64
}

var _ transport.Handler = (*handler)(nil)

func (h *handler) now() session.Time {
	return session.Time{Mono: h.loop.Now(), Wall: h.loop.Wall()}
}

// Open implements transport.Handler.
func (h *handler) Open(c *transport.Conn, req *transport.Request) {
	p := &peer{conn: c, h: h, addr: req.RemoteAddr, request: req}
	c.Data = p
	p.session.Init(&h.g.cfg.Session, h.now())
	p.rearm()
	h.g.log.Debug("Client was connected", zap.Stringer("ipAddress", p.addr))
}

// Message implements transport.Handler.
func (h *handler) Message(c *transport.Conn, text []byte) {
	p := c.Data.(*peer)
	if err := h.decoder.Decode(text, &h.message); err != nil {
		h.malformed(p, err)
		return
	}
	h.stats.in[h.message.Type].Add(1)
	h.receive(p, text)
}

// replay handles a message that came before the authentication, and was counted then.
func (h *handler) replay(p *peer, text []byte) {
	if err := h.decoder.Decode(text, &h.message); err != nil {
		h.malformed(p, err)
		return
	}
	h.receive(p, text)
}

// receive gives the session the message that was decoded.
func (h *handler) receive(p *peer, text []byte) {
	h.ready.Reset()
	p.session.Receive(h.now(), text, &h.message, &h.ready)
	h.drain(p)
}

// malformed answers a message that could not be decoded.
func (h *handler) malformed(p *peer, err *wire.Error) {
	h.stats.malformed.Add(1)
	h.sendError(p, err)
	h.g.log.Warn("Client sent a wrong message", p.who(), zap.String("error", string(err.Type)), zap.String("cause", err.Cause))
	if err.Type == wire.ErrUnknownMessage {
		return // the document says "continue communication"
	}
	p.close(closePolicy, string(err.Type), transport.CloseLoguxError)
}

// Timer implements transport.Handler.
func (h *handler) Timer(c *transport.Conn) {
	p := c.Data.(*peer)
	p.timer = 0
	if p.hasty && h.loop.Now() >= p.rateStart+rateWindow {
		p.hasty = false
		p.limitReading()
	}
	if w := p.passage; w != nil {
		h.arrived(p)
		if w.leaveAt != 0 && h.loop.Now() >= w.leaveAt {
			w.leaveAt = 0
			h.g.gapCloses.Add(1)
			p.close(closeRestart, "actions may be missing", transport.CloseGap)
		}
	}
	h.ready.Reset()
	p.session.Advance(h.now(), &h.ready)
	h.drain(p)
	p.rearm()
}

// Flush implements transport.Handler.
func (h *handler) Flush(c *transport.Conn) { c.Data.(*peer).flush() }

// Closed implements transport.Handler.
func (h *handler) Closed(c *transport.Conn, reason transport.CloseReason) {
	p := c.Data.(*peer)
	p.closed = true
	if p.pending != nil {
		h.giveDeliveries(p.pending)
		p.pending = nil
	}
	p.asking = nil
	p.giveAwayPrivates()
	p.passage = nil
	if p.joined {
		h.g.hub.Remove(&p.member, func(channel string) { h.g.cfg.Bus.Leave(wire.ChannelTopic(channel)) })
		left, stays := h.g.ledger.detach(p, h.loop.Now())
		if !stays {
			h.g.leaveMember(p.member.Node.Client())
		}
		if !left.Empty() {
			h.g.store(left, func() {})
		}
	}
	h.g.log.Info("Client was disconnected", p.who(), zap.Stringer("reason", reason))
}

// drain does what the session wants done. The session's output is used up when it returns.
func (h *handler) drain(p *peer) {
	r := &h.ready
	h.sendReady(p, r)
	if r.Auth != nil {
		h.authenticate(p, r.Auth)
		return // nothing else comes of a connect
	}
	if r.Confirmed != 0 {
		p.confirmPrivates(r.Confirmed)
	}
	if r.Confirmed != 0 && p.owed {
		p.owed = h.g.ledger.confirm(p, r.Confirmed)
	}
	if len(r.Actions) > 0 {
		h.receiveActions(p, r.Actions)
	}
	if len(r.Overdue) > 0 {
		h.claim(p, r.Overdue)
	}
	if r.Close != session.CloseNone {
		h.closeFor(p, r.Close, r.Cause)
	}
}

// sendReady sends what the session says, and tells the ledger what is acknowledged by it.
func (h *handler) sendReady(p *peer, r *session.Ready) {
	r.Messages(func(kind wire.MessageType, text []byte) {
		p.conn.Send(text)
		h.sent(kind)
	})
	if len(r.Acknowledged) == 0 {
		return
	}
	p.owed = true
	l := h.g.ledger.acknowledged(p, r.Acknowledged, p.session.Added()+1)
	if l.jobs > unconfirmedFactor*h.g.cfg.MaxQueue || l.bytes > unconfirmedFactor*h.g.cfg.MaxQueueBytes {
		p.close(closePolicy, "outcomes are not confirmed", transport.CloseFlood)
	}
}

// unconfirmedFactor is how many times as much as may be without an outcome may be unconfirmed. It is large:
// the confirmations of a client that sends a lot at once stand behind all of that.
const unconfirmedFactor = 100

func (h *handler) closeFor(p *peer, how session.Close, cause string) {
	code, reason := uint16(closePolicy), transport.CloseLoguxError
	switch how {
	case session.CloseTimeout:
		reason = transport.CloseTimeout
	case session.CloseNoConnect:
		reason = transport.CloseNoConnect
	case session.CloseDenied:
		reason = transport.CloseDenied
	case session.CloseBruteforce:
		reason = transport.CloseBruteforce
	case session.CloseUnavailable:
		code, reason = closeTryLater, transport.CloseBackendAway
	}
	if how == session.CloseError {
		h.stats.malformed.Add(1)
		h.g.log.Warn("Client broke the protocol", p.who(), zap.String("error", cause))
	}
	p.close(code, "", reason)
}

func (h *handler) sendError(p *peer, e *wire.Error) {
	h.scratch = wire.AppendError(h.scratch[:0], e)
	p.conn.Send(h.scratch)
	h.sent(wire.MessageError)
}

// debug tells the developer of the client's application something, in development only.
func (h *handler) debug(p *peer, text string) {
	if !h.g.cfg.Session.Development || p.closed {
		return
	}
	h.scratch = wire.AppendDebug(h.scratch[:0], text)
	p.conn.Send(h.scratch)
	h.sent(wire.MessageDebug)
}

func (h *handler) sent(kind wire.MessageType) { h.stats.out[kind].Add(1) }

// takeDeliveries returns empty memory for pending deliveries.
func (h *handler) takeDeliveries() []delivery {
	if n := len(h.free); n > 0 {
		d := h.free[n-1]
		h.free = h.free[:n-1]
		return d
	}
	return make([]delivery, 0, 4)
}

// giveDeliveries keeps memory of the usual size for the next connection.
func (h *handler) giveDeliveries(d []delivery) {
	const usual, most = 16, 16 << 10
	if cap(d) <= usual && len(h.free) < most {
		clear(d)
		h.free = append(h.free, d[:0])
	}
}

// who names the client in a log line.
func (p *peer) who() zap.Field {
	if p.session.Node() == "" {
		return zap.Stringer("ipAddress", p.addr)
	}
	return zap.String("nodeId", string(p.session.Node()))
}
