package hub

import "logux-proxy/wire"

// State returns what m has of the subscription with that channel and filter: Pending, Active or 0.
func (h *Hub[P]) State(m *Member[P], s wire.Subscription) State {
	if sub := m.subs.find(s.Channel); sub != nil {
		return sub.state(s.Filter)
	}
	return 0
}

// Listens returns the best that m has on channel, whatever the filter: Active, Pending or 0.
func (h *Hub[P]) Listens(m *Member[P], channel string) State {
	switch sub := m.subs.find(channel); {
	case sub == nil:
		return 0
	case sub.pending():
		return Pending
	default:
		return Active
	}
}
