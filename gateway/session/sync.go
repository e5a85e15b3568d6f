package session

import (
	"logux-proxy/wire"
)

// sync takes the actions of a client's sync (PROTOCOL section 2, "Action meta on the wire").
func (s *Session) sync(now Time, text []byte, m *wire.Message, out *Ready) {
	client := s.node.Client()
	for i := range m.Pairs {
		r := s.absolute(&m.Pairs[i], client)
		if !r.Denied && (r.Action.Type == wire.TypeSubscribe || r.Action.Type == wire.TypeUnsubscribe) {
			sub, ok, e := wire.ParseSubscription(r.Action.Body)
			if e != nil {
				// Back-ends choke on it, and would fail their other callers' commands with it.
				clear(out.Actions)
				out.Actions = out.Actions[:0]
				s.state = closed
				out.error(wire.WrongFormat(text, e.Cause), CloseError)
				return
			}
			r.Subscription, r.WrongChannel = &sub, !ok
		}
		out.Actions = append(out.Actions, r)
	}
	s.await(now, m.Added, out.Actions)
}

// absolute makes one pair absolute. The bytes of the message are copied here, once.
func (s *Session) absolute(p *wire.Pair, client wire.ClientID) Received {
	node, own := s.node, true
	if p.IDNode != nil && string(p.IDNode) != string(s.node) {
		node, own = wire.NodeID(p.IDNode), false
	}
	subprotocol := p.Subprotocol
	if subprotocol == nil {
		subprotocol = s.subprotocol
	}
	a := wire.NewAction(p, node, s.base, subprotocol)
	return Received{Action: a, Denied: p.ForeignKey || (!own && node.Client() != client)}
}
