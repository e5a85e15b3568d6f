package transport

import (
	"net/netip"

	"go.uber.org/zap"

	"logux-proxy/gateway/transport/poll"
)

// An arrival is an accepted socket on its way to its loop.
type arrival struct {
	fd    int
	pipe  *pipe
	peer  netip.AddrPort
	full  bool   // there are too many: to be refused
	early []byte // a head that was read elsewhere; peer is then final
}

// adopt makes a connection of a socket.
func (l *Loop) adopt(a *arrival) {
	c := &Conn{loop: l, fd: int32(a.fd), pipe: a.pipe, slot: -1, interest: poll.In}
	c.timer.conn, c.timer.kind = c, timerConn
	if l.stopping {
		l.reject(c)
		return
	}
	l.slots.add(c)
	if a.pipe == nil {
		if err := l.poller.Add(a.fd, l.slots.token(c), poll.In); err != nil {
			l.log.Error("connection dropped: it cannot be watched", zap.Error(err))
			l.slots.free(c)
			l.reject(c)
			return
		}
	}
	c.in = l.getInbound(c)
	c.in.peer = a.peer
	l.wheel.set(&c.in.timer, l.now+l.limits.HandshakeTimeout)
	if a.pipe != nil {
		a.pipe.c = c
	}
	switch {
	case a.full:
		l.enter(c)
		c.refuse(tooBusy, RefusedLimit)
		l.leave(c)
	case a.early != nil:
		c.in.proxied = true
		l.received(c, a.early)
	}
}

// reject closes the socket of a connection that no place was given to.
func (l *Loop) reject(c *Conn) {
	c.phase = phaseDead
	if c.pipe != nil {
		c.pipe.close()
	} else {
		poll.Close(int(c.fd))
	}
	l.server.sockets.Add(-1)
}
