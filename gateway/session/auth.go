package session

import (
	"strconv"

	"logux-proxy/wire"
)

// connect handles the first message that counts (PROTOCOL section 2). What it wants to know of the
// back-end stands in out.Auth; cookies and authId are the caller's to fill in.
func (s *Session) connect(now Time, text []byte, m *wire.Message, out *Ready) {
	if s.state != waiting {
		s.state = closed
		out.error(wire.WrongFormat(text, "a second connect"), CloseError)
		return
	}
	if m.Protocol < wire.MinProtocol {
		s.state = closed
		out.error(&wire.Error{Type: wire.ErrWrongProtocol, Options: wire.RawJSON(`{"supported":` +
			strconv.Itoa(wire.MinProtocol) + `,"used":` + strconv.Itoa(m.Protocol) + `}`)}, CloseError)
		return
	}
	s.protocol = uint8(min(m.Protocol, wire.MaxProtocol))
	if m.HasToken && len(m.Token) > s.cfg.MaxToken {
		s.state = closed
		out.error(&wire.Error{Type: wire.ErrWrongFormat, Options: quote("the token is longer than " +
			strconv.Itoa(s.cfg.MaxToken) + " bytes")}, CloseError)
		return
	}
	s.node = wire.NodeID(m.NodeID)
	s.subprotocol = defaultSubprotocol(m, s.protocol)
	// Numbers of ours start above what the client has, so that they only ever grow for it.
	s.added = max(m.Added, 0)
	s.has = s.added
	s.pre.start, s.pre.synced = now.Wall, s.added

	if s.cfg.Supports != nil {
		if supported, ok := s.cfg.Supports(s.subprotocol); !ok {
			s.wrongSubprotocol(supported, out)
			return
		}
	}
	if s.node.User() == wire.ServerUser || wire.UserID(s.node) == wire.ServerUser {
		s.state = closed
		out.error(&wire.Error{Type: wire.ErrWrongCredentials, Cause: "the user server is reserved"}, CloseDenied)
		return
	}
	s.state = authenticating
	out.Auth = &wire.Auth{
		NodeID:      s.node,
		Token:       string(m.Token),
		HasToken:    m.HasToken,
		Subprotocol: s.subprotocol,
		Headers:     s.headers,
	}
}

// Shared by every connection that does not name its subprotocol.
var (
	noSemver = wire.RawJSON(`"0.0.0"`)
	noNumber = wire.RawJSON(`0`)
)

func defaultSubprotocol(m *wire.Message, protocol uint8) wire.RawJSON {
	switch {
	case m.Subprotocol != nil:
		return append(wire.RawJSON(nil), m.Subprotocol...)
	case protocol < 5:
		return noSemver
	default:
		return noNumber
	}
}

// Authenticated takes the back-end's answer to out.Auth. An answer of kind Unknown means that the
// back-end could not be asked (PROTOCOL section 5, "A back-end in trouble is not a wrong password").
func (s *Session) Authenticated(now Time, a *wire.Answer, out *Ready) {
	if s.state != authenticating {
		return
	}
	switch a.Kind {
	case wire.AnswerAuthenticated:
		s.connected(now, a.Subprotocol, out)
	case wire.AnswerDenied:
		s.state = closed
		out.error(&wire.Error{Type: wire.ErrWrongCredentials}, CloseDenied)
	case wire.AnswerError:
		s.state = closed
		out.error(&wire.Error{Type: wire.ErrWrongCredentials}, CloseDenied)
	case wire.AnswerWrongSubprotocol:
		s.wrongSubprotocol(a.Supported, out)
	default:
		s.state = closed
		out.Close, out.Cause = CloseUnavailable, "the back-end could not be asked"
	}
}

// Refuse ends a session whose address has too many wrong attempts. It is not fatal for real clients.
func (s *Session) Refuse(out *Ready) {
	s.state = closed
	out.error(&wire.Error{Type: wire.ErrBruteforce}, CloseBruteforce)
}

func (s *Session) connected(now Time, subprotocol wire.RawJSON, out *Ready) {
	if subprotocol == nil {
		subprotocol = s.cfg.Subprotocol
	}
	s.base = now.Wall
	if s.cfg.Development {
		// Real clients refuse plain ws:// without it.
		out.end(wire.MessageHeaders, wire.AppendHeaders(out.buf, wire.RawJSON(`{"env":"development"}`)))
	}
	out.end(wire.MessageConnected, wire.AppendConnected(out.buf, int(s.protocol), s.cfg.Server, s.pre.start, s.base, subprotocol))
	out.Replay = s.pre.kept
	s.pre = nil
	s.state = ready
	s.traffic, s.pinged = now.Mono, 0
}

func (s *Session) wrongSubprotocol(supported wire.RawJSON, out *Ready) {
	s.state = closed
	options := wire.RawJSON(`{"supported":`)
	if supported == nil {
		options = append(options, "null"...)
	}
	options = append(options, supported...)
	options = append(options, `,"used":`...)
	options = append(append(options, s.subprotocol...), '}')
	out.error(&wire.Error{Type: wire.ErrWrongSubprotocol, Options: options}, CloseDenied)
}
