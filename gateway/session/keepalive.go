package session

import (
	"strconv"
	"time"

	"logux-proxy/wire"
)

// Pause says that nothing is read from the client for now: its silence is our doing.
func (s *Session) Pause(now Time, paused bool) {
	s.paused = paused
	s.traffic, s.pinged = now.Mono, 0
	if s.unacked != 0 {
		s.unacked = now.Mono
	}
}

// Deadline is when Advance is to be called next; 0 means never. A message may move it to a later
// time without notice: calling Advance early is harmless.
func (s *Session) Deadline() time.Duration {
	var d time.Duration
	earlier := func(at time.Duration) {
		if d == 0 || at < d {
			d = at
		}
	}
	switch s.state {
	case waiting:
		earlier(s.pre.opened + s.cfg.ConnectTimeout)
	case ready:
		if !s.paused {
			if s.pinged != 0 {
				earlier(s.pinged + s.cfg.Timeout)
			} else {
				earlier(s.traffic + s.cfg.Ping)
			}
			if s.unacked != 0 {
				earlier(s.unacked + s.cfg.Timeout)
			}
		}
		if len(s.acks) > 0 {
			earlier(s.acks[0].since + s.cfg.AckLimit)
		}
	}
	return d
}

// Advance does what is due at now.
func (s *Session) Advance(now Time, out *Ready) {
	switch s.state {
	case waiting:
		if now.Mono >= s.pre.opened+s.cfg.ConnectTimeout {
			s.timeout(s.cfg.ConnectTimeout, CloseNoConnect, out)
		}
	case ready:
		s.release(now, out)
		s.overdue(now, out)
		if s.paused {
			return
		}
		switch {
		case s.pinged != 0 && now.Mono >= s.pinged+s.cfg.Timeout,
			s.unacked != 0 && now.Mono >= s.unacked+s.cfg.Timeout:
			s.timeout(s.cfg.Timeout, CloseTimeout, out)
		case s.pinged == 0 && now.Mono >= s.traffic+s.cfg.Ping:
			s.pinged, s.traffic = now.Mono, now.Mono
			out.end(wire.MessagePing, wire.AppendPing(out.buf, s.added))
		}
	}
}

func (s *Session) timeout(after time.Duration, how Close, out *Ready) {
	s.state = closed
	out.error(&wire.Error{
		Type:    wire.ErrTimeout,
		Options: wire.RawJSON(strconv.FormatInt(after.Milliseconds(), 10)),
	}, how)
}
