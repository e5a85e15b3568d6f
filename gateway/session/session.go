package session

import (
	"strconv"
	"time"

	"logux-proxy/wire"
)

type state uint8

const (
	waiting        state = iota // for connect
	authenticating              // for the back-end's answer
	ready
	closed
)

// A Session is one connection's side of the protocol. The zero value is not usable; see Init.
type Session struct {
	cfg *Config

	node        wire.NodeID
	subprotocol wire.RawJSON // the client's
	headers     wire.RawJSON // the client's; nil for none

	pre  *preAuth // nil once ready
	acks []ack    // syncs of the client that are not acknowledged; nil at rest

	base  int64 // base time of the connection, milliseconds since 1970
	added int64 // the last number given to a sync of ours
	has   int64 // the last of them that the client confirmed
	mark  int64 // the last of them when unacked began: to be confirmed in time

	traffic time.Duration // last message in either direction
	pinged  time.Duration // when the unanswered ping left; 0 for none
	unacked time.Duration // since when the client is to confirm the sync of number mark; 0 when it has all

	state    state
	protocol uint8
	paused   bool
}

// preAuth is what is only needed until the connection is ready.
type preAuth struct {
	opened time.Duration
	start  int64 // wall time of connect
	synced int64
	kept   [][]byte
	size   int
}

// Init starts a session at now.
func (s *Session) Init(cfg *Config, now Time) {
	*s = Session{cfg: cfg, traffic: now.Mono, pre: &preAuth{opened: now.Mono}}
}

// Node is the client's node ID; "" before connect.
func (s *Session) Node() wire.NodeID { return s.node }

// Subprotocol is the client's own, a JSON string or number; nil before connect.
func (s *Session) Subprotocol() wire.RawJSON { return s.subprotocol }

// Headers are what the client said last; nil for none. Not to be changed.
func (s *Session) Headers() wire.RawJSON { return s.headers }

// Protocol is the number the connection speaks.
func (s *Session) Protocol() int { return int(s.protocol) }

// Ready reports whether the client is authenticated and connected.
func (s *Session) Ready() bool { return s.state == ready }

// Base is the base time that relative numbers count from.
func (s *Session) Base() int64 { return s.base }

// Synced is the last number of ours that the client had when it connected.
func (s *Session) Synced() int64 {
	if s.pre == nil {
		return 0
	}
	return s.pre.synced
}

// Receive takes one decoded message and its text.
func (s *Session) Receive(now Time, text []byte, m *wire.Message, out *Ready) {
	if s.state == closed {
		return
	}
	s.traffic, s.pinged = now.Mono, 0
	switch m.Type {
	case wire.MessageConnect:
		s.connect(now, text, m, out)
		return
	case wire.MessageHeaders:
		s.setHeaders(m.Headers, out)
		return
	case wire.MessageError, wire.MessageDebug:
		return
	case wire.MessageConnected:
		s.state = closed
		out.error(wire.WrongFormat(text, "a client does not send connected"), CloseError)
		return
	}
	if s.state != ready {
		s.keep(text, out)
		return
	}
	switch m.Type {
	case wire.MessagePing:
		out.end(wire.MessagePong, wire.AppendPong(out.buf, s.added))
	case wire.MessageSynced:
		s.confirmed(now, m.Added, out)
	case wire.MessageSync:
		s.sync(now, text, m, out)
	}
}

// keep holds a message back until the client is authenticated (PROTOCOL section 2, "Before authentication").
func (s *Session) keep(text []byte, out *Ready) {
	// Each kept message also costs its slice header and its share of the allocator.
	const overhead = 64
	s.pre.size += len(text) + overhead
	if s.pre.size > s.cfg.MaxPreAuth {
		s.state = closed
		out.error(&wire.Error{Type: wire.ErrMissedAuth, Options: quote("too much was sent before authentication")}, CloseError)
		return
	}
	s.pre.kept = append(s.pre.kept, append([]byte(nil), text...))
}

func (s *Session) setHeaders(h wire.RawJSON, out *Ready) {
	if len(h) > s.cfg.MaxHeaders {
		s.state = closed
		out.error(&wire.Error{Type: wire.ErrWrongFormat, Options: quote("headers are longer than " +
			strconv.Itoa(s.cfg.MaxHeaders) + " bytes")}, CloseError)
		return
	}
	s.headers = append(wire.RawJSON(nil), h...)
}

// confirmed notes how far the client has our syncs. A number that it gave before, or that we never
// gave it, is no progress.
func (s *Session) confirmed(now Time, added int64, out *Ready) {
	if added <= s.has || added > s.added {
		return
	}
	s.has = added
	out.Confirmed = added
	switch {
	case s.unacked == 0 || added < s.mark:
	case added == s.added:
		s.unacked = 0
	default:
		s.unacked, s.mark = now.Mono, s.added
	}
}

// Added is the last number given to a sync of ours.
func (s *Session) Added() int64 { return s.added }

// NextAdded gives the number for a sync of n actions that is written now.
func (s *Session) NextAdded(now Time, n int) int64 {
	s.added += int64(n)
	s.traffic = now.Mono
	if s.unacked == 0 {
		s.unacked, s.mark = now.Mono, s.added
	}
	return s.added
}

// quote writes a text of our own, which needs no escaping, as JSON.
func quote(text string) wire.RawJSON { return wire.RawJSON(strconv.Quote(text)) }
