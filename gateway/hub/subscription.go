package hub

import (
	"iter"
	"strings"

	"logux-proxy/wire"
)

// State is what becomes of an action on a channel for one subscriber.
type State uint8

const (
	// Pending means that the back-end is still asked. What is resolved meanwhile is to be kept for
	// the case that it approves.
	Pending State = iota + 1
	// Active means that the subscription was approved.
	Active
)

// A subscription is everything that one member has on one channel.
type subscription[P any] struct {
	// Static once the channel was joined.
	member  *Member[P]
	channel *channel[P]

	// Owned by whoever may change the member.
	filtered map[string]State // by filter; nil for most
	plain    State            // without a filter; 0 when there is no such subscription

	place uint32 // in channel.subscribers; guarded by the lock of the channel's shard
}

func (sub *subscription[P]) count() int {
	if sub.plain != 0 {
		return len(sub.filtered) + 1
	}
	return len(sub.filtered)
}

func (sub *subscription[P]) state(filter string) State {
	if filter == "" {
		return sub.plain
	}
	return sub.filtered[filter]
}

func (sub *subscription[P]) set(filter string, state State) {
	if filter == "" {
		sub.plain = state
		return
	}
	if sub.filtered == nil {
		sub.filtered = make(map[string]State, 1)
	}
	sub.filtered[strings.Clone(filter)] = state
}

func (sub *subscription[P]) unset(filter string) {
	if filter == "" {
		sub.plain = 0
		return
	}
	delete(sub.filtered, filter)
	if len(sub.filtered) == 0 {
		sub.filtered = nil
	}
}

// pending reports whether none of the subscriptions is active.
func (sub *subscription[P]) pending() bool {
	if sub.plain == Active {
		return false
	}
	for _, state := range sub.filtered {
		if state == Active {
			return false
		}
	}
	return true
}

// Subscribe adds or changes a subscription of m. Subscriptions differ by channel and filter; they
// are not counted: a second Subscribe with the same filter changes the state of the first, but Pending never
// replaces Active. first reports whether it is m's first on channel. For a member that was not added or
// is removed it does nothing.
func (h *Hub[P]) Subscribe(m *Member[P], s wire.Subscription, state State) (first bool) {
	if !m.added {
		return false
	}
	sub := m.subs.find(s.Channel)
	if sub == nil {
		sub = &subscription[P]{member: m}
		sub.set(s.Filter, state)
		h.joinChannel(s.Channel, sub, state == Pending)
		m.subs.put(sub)
		h.subscriptions.Add(1)
		return true
	}
	before := sub.state(s.Filter)
	if before >= state {
		return false
	}
	wasPending := sub.pending()
	sub.set(s.Filter, state)
	if before == 0 {
		h.subscriptions.Add(1)
	}
	if now := sub.pending(); now != wasPending {
		h.markChannel(sub, now)
	}
	return false
}

// Unsubscribe takes back the subscription with that channel and filter. last reports whether m
// had it and has no other left on the channel.
func (h *Hub[P]) Unsubscribe(m *Member[P], s wire.Subscription) (last bool) {
	sub := m.subs.find(s.Channel)
	if sub == nil || sub.state(s.Filter) == 0 {
		return false
	}
	wasPending := sub.pending()
	sub.unset(s.Filter)
	h.subscriptions.Add(-1)
	if sub.count() == 0 {
		m.subs.remove(sub)
		h.leaveChannel(sub)
		return true
	}
	if now := sub.pending(); now != wasPending {
		h.markChannel(sub, now)
	}
	return false
}

// Subscriptions is how many subscriptions m has, pending ones included.
func (h *Hub[P]) Subscriptions(m *Member[P]) int {
	n := 0
	for sub := range m.subs.all() {
		n += sub.count()
	}
	return n
}

// subscriptions is the set of one member's, by channel: a short list for the many who have few,
// a map for those who have more.
type subscriptions[P any] struct {
	few  []*subscription[P]
	many map[string]*subscription[P] // instead of few
}

// few is the longest list that is searched through.
const few = 12

func (s *subscriptions[P]) find(channel string) *subscription[P] {
	if s.many != nil {
		return s.many[channel]
	}
	for _, sub := range s.few {
		if sub.channel.name == channel {
			return sub
		}
	}
	return nil
}

// put adds sub, whose channel is not there yet.
func (s *subscriptions[P]) put(sub *subscription[P]) {
	if s.many == nil && len(s.few) < few {
		s.few = append(s.few, sub)
		return
	}
	if s.many == nil {
		s.many = make(map[string]*subscription[P], 2*few)
		for _, old := range s.few {
			s.many[old.channel.name] = old
		}
		s.few = nil
	}
	s.many[sub.channel.name] = sub
}

func (s *subscriptions[P]) remove(sub *subscription[P]) {
	if s.many != nil {
		delete(s.many, sub.channel.name)
		if len(s.many) == 0 {
			s.many = nil
		}
		return
	}
	for i, other := range s.few {
		if other == sub {
			last := len(s.few) - 1
			s.few[i] = s.few[last]
			s.few[last] = nil
			s.few = s.few[:last]
			return
		}
	}
}

// all yields every one of the set, in no order.
func (s *subscriptions[P]) all() iter.Seq[*subscription[P]] {
	return func(yield func(*subscription[P]) bool) {
		for _, sub := range s.few {
			if !yield(sub) {
				return
			}
		}
		for _, sub := range s.many {
			if !yield(sub) {
				return
			}
		}
	}
}
