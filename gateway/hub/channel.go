package hub

import (
	"slices"
	"strings"
)

// A channel is what one channel's subscribers are kept in.
type channel[P any] struct {
	name string // static
	// Guarded by the lock of the channel's shard. Each member is there once; a subscription knows
	// its place, so that it can leave without a search: the last one moves into the gap.
	subscribers []subscriber[P]
}

// A subscriber is a member's place in a channel.
type subscriber[P any] struct {
	member  *Member[P]
	sub     *subscription[P]
	pending bool // all its subscriptions on the channel are
}

// shrinkAbove is the capacity below which a channel's slice is not made smaller.
const shrinkAbove = 32

// joinChannel makes sub's member a subscriber of the channel.
func (h *Hub[P]) joinChannel(name string, sub *subscription[P], pending bool) {
	s := h.channels.shard(h.hash(name))
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.items[name]
	if c == nil {
		// A copy, because the caller's may be a piece of a larger text.
		c = &channel[P]{name: strings.Clone(name)}
		s.items[c.name] = c
	}
	sub.channel = c
	sub.place = uint32(len(c.subscribers))
	c.subscribers = append(c.subscribers, subscriber[P]{member: sub.member, sub: sub, pending: pending})
}

// markChannel says whether all of the member's subscriptions on the channel are pending.
func (h *Hub[P]) markChannel(sub *subscription[P], pending bool) {
	s := h.channels.shard(h.hash(sub.channel.name))
	s.mu.Lock()
	defer s.mu.Unlock()
	sub.channel.subscribers[sub.place].pending = pending
}

// leaveChannel undoes joinChannel.
func (h *Hub[P]) leaveChannel(sub *subscription[P]) {
	c := sub.channel
	s := h.channels.shard(h.hash(c.name))
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(c.subscribers) - 1
	moved := c.subscribers[last]
	moved.sub.place = sub.place
	c.subscribers[sub.place] = moved
	c.subscribers[last] = subscriber[P]{}
	c.subscribers = c.subscribers[:last]
	switch {
	case last == 0:
		delete(s.items, c.name)
	case cap(c.subscribers) > shrinkAbove && last < cap(c.subscribers)/4:
		c.subscribers = append(slices.Grow([]subscriber[P](nil), cap(c.subscribers)/2), c.subscribers...)
	}
}
