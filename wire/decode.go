package wire

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// A Decoder decodes messages of the WebSocket protocol. It is reused for many messages and
// allocates nothing for the usual ones. It must not be used by two goroutines at once.
type Decoder struct {
	// MaxDepth bounds the nesting of JSON; 0 means 64.
	MaxDepth int

	scan scanner
}

// Decode reads one message into m (PROTOCOL section 2, "Validation"). The error, if any, is to
// be sent to the peer before its connection closes (wrong-format) or goes on (unknown-message); it
// is an *Error, and m is then empty.
func (d *Decoder) Decode(text []byte, m *Message) *Error {
	*m = Message{Size: len(text), Pairs: m.Pairs[:0]}
	if decodeTiny(text, m) {
		return nil
	}
	err := d.decode(text, m)
	if err != nil {
		*m = Message{Size: len(text), Pairs: m.Pairs[:0]}
	}
	return err
}

// decodeTiny reads the messages that come most often, written as every client writes them. It
// takes nothing that decode would not read the same way.
func decodeTiny(text []byte, m *Message) bool {
	number, ok := bytes.CutSuffix(text, []byte("]"))
	if !ok {
		return false
	}
	if rest, ok := bytes.CutPrefix(number, []byte(`["synced",`)); ok {
		number, m.Type = rest, MessageSynced
	} else if rest, ok := bytes.CutPrefix(number, []byte(`["ping",`)); ok {
		number, m.Type = rest, MessagePing
	} else if rest, ok := bytes.CutPrefix(number, []byte(`["pong",`)); ok {
		number, m.Type = rest, MessagePong
	} else {
		return false
	}
	m.Added, ok = parseDigits(number)
	if !ok {
		m.Type = MessageUnknown
	}
	return ok
}

func (d *Decoder) decode(text []byte, m *Message) *Error {
	if tooDeep(text, d.MaxDepth) {
		return wrongText(text, "nested too deep")
	}
	s := &d.scan
	s.start(text)
	s.enter(jsontext.KindBeginArray)
	name := s.string()
	switch string(name) {
	case "ping":
		m.Type = MessagePing
		m.Added = s.integer()
	case "pong":
		m.Type = MessagePong
		m.Added = s.integer()
	case "synced":
		m.Type = MessageSynced
		m.Added = s.integer()
	case "sync":
		m.Type = MessageSync
		s.sync(m)
	case "connect":
		m.Type = MessageConnect
		s.connect(m)
	case "connected":
		m.Type = MessageConnected
		s.connected(m)
	case "headers":
		m.Type = MessageHeaders
		m.Headers = s.typed(jsontext.KindBeginObject)
	case "error":
		m.Type = MessageError
		m.ErrorType = s.string()
		if s.more() {
			m.ErrorOptions = s.value()
		}
	case "debug":
		m.Type = MessageDebug
		if string(s.string()) != "error" {
			s.fail("a debug message is of another kind than error")
		}
		m.Debug = s.string()
	default:
		for s.more() {
			s.value()
		}
	}
	s.leave()
	s.finish()
	if s.fault == "" {
		s.fail(s.unportable(text))
	}
	switch {
	case s.fault != "":
		return WrongFormat(text, s.fault)
	case m.Type == MessageUnknown:
		return unknownMessage(name)
	}
	return nil
}

// connect reads protocol, node ID, synced and, if there, the options.
func (s *scanner) connect(m *Message) {
	m.Protocol = clampInt32(s.integer())
	m.NodeID = s.nodeID()
	m.Added = s.integer()
	if s.more() {
		s.options(m)
	}
}

// connected reads protocol, node ID, the two times and, if there, the options.
func (s *scanner) connected(m *Message) {
	m.Protocol = clampInt32(s.integer())
	m.NodeID = s.nodeID()
	s.enter(jsontext.KindBeginArray)
	m.Start = s.floor()
	m.End = s.floor()
	s.leave()
	if s.more() {
		s.options(m)
	}
}

// options reads the last element of connect and connected. Options that we do not know are
// ignored.
func (s *scanner) options(m *Message) {
	s.enter(jsontext.KindBeginObject)
	for s.more() {
		switch string(s.string()) {
		case "subprotocol":
			m.Subprotocol = s.subprotocol()
		case "token":
			m.Token = s.string()
			m.HasToken = true
		default:
			s.value()
		}
	}
	s.leave()
}

// sync reads added and the pairs; there is at least one.
func (s *scanner) sync(m *Message) {
	m.Added = s.integer()
	for s.more() || len(m.Pairs) == 0 && s.fault == "" {
		m.Pairs = append(m.Pairs, Pair{})
		p := &m.Pairs[len(m.Pairs)-1]
		s.action(p)
		s.meta(p)
	}
}

// action reads an action object; its bytes stay as they are.
func (s *scanner) action(p *Pair) {
	s.enter(jsontext.KindBeginObject)
	start := s.offset() - 1
	typed := false
	for s.more() {
		switch key := s.string(); {
		case string(key) == "type":
			p.ActionType = s.string()
			typed = true
		case bytes.EqualFold(key, []byte("type")): // the same key to encoding/json
			s.fail("an action has a key that is type but for its case")
		default:
			s.value()
		}
	}
	s.leave()
	if s.fault == "" && !typed {
		s.fail("an action has no type")
	}
	if s.fault == "" {
		p.Body = RawJSON(s.text[start:s.offset():s.offset()])
	}
}

// meta reads an action's meta. Keys that a client may not send are noted, not refused.
func (s *scanner) meta(p *Pair) {
	var id, time bool
	s.enter(jsontext.KindBeginObject)
	for s.more() {
		switch string(s.string()) {
		case "id":
			s.relativeID(p)
			id = true
		case "time":
			p.Time = s.floor()
			time = true
		case "subprotocol":
			p.Subprotocol = s.subprotocol()
		default:
			s.value()
			p.ForeignKey = true
		}
	}
	s.leave()
	if s.fault == "" && (!id || !time) {
		s.fail("a meta has no id or no time")
	}
}

// relativeID reads the ID of an action in one of its three forms: [ms, node ID, counter],
// [ms, counter] and ms.
func (s *scanner) relativeID(p *Pair) {
	if s.kind() == jsontext.KindNumber {
		p.IDTime = s.integer()
		return
	}
	s.enter(jsontext.KindBeginArray)
	p.IDTime = s.integer()
	if s.kind() == jsontext.KindString {
		p.IDNode = s.nodeID()
	}
	p.IDCounter = s.integer()
	s.leave()
}
