// Package hub is the index of who is connected to this server and what they listen to. It knows
// no socket and no protocol: it maps the targets of an action to members.
//
// There are three indexes: by client ID, by user ID and by channel. Each is cut into shards with a
// lock of their own. All locks are leaves: none is taken while another is held, and nothing is
// called while one is held. What that means for a Resolve beside a change: it sees the change in
// all of an index or not at all, but may see it in one index and not yet in another.
package hub

import (
	"hash/maphash"
	"sync/atomic"

	"logux-proxy/wire"
)

// A Hub indexes members by client, user and channel. Any goroutine may call Resolve, Client and
// Counts; the calls that change one member must not overlap each other. P is the caller's handle
// of a connection.
type Hub[P any] struct {
	// Static.
	seed maphash.Seed
	sets sets[P]

	clients  index[wire.ClientID, *Member[P]]
	users    index[wire.UserID, *Member[P]] // the first of a list, linked by its members
	channels index[string, *channel[P]]

	subscriptions atomic.Int64
}

// New returns an empty hub.
func New[P any]() *Hub[P] {
	h := &Hub[P]{seed: maphash.MakeSeed(), sets: make(sets[P], keptSets)}
	h.clients.init()
	h.users.init()
	h.channels.init()
	return h
}

// A Member is one authenticated connection. Peer and Node are set by the caller and not changed
// after Add.
type Member[P any] struct {
	Peer P
	Node wire.NodeID

	// gone is set when the member was replaced or removed: it is to be found no more, although some
	// index may hold it for a moment longer.
	gone atomic.Bool

	// Owned by whoever may change this member. Others read client after they found the member
	// in an index.
	added  bool
	client uint32 // hash of the client ID
	subs   subscriptions[P]

	// Guarded by the lock of the user's shard.
	nextOfUser, prevOfUser *Member[P]
	ofUser                 bool // in the list
}

// Add makes m known under its client ID and its user ID. It returns the member that had the same
// client ID before, which is then known no more (the caller closes its connection and calls Remove
// for it), or nil.
func (h *Hub[P]) Add(m *Member[P]) (replaced *Member[P]) {
	id := m.Node.Client()
	hash := h.hash(string(id))
	m.client = uint32(hash)
	m.added = true
	m.gone.Store(false)

	// The user has the new connection before the client has lost the old one: an action to the
	// user that is resolved meanwhile may meet both of them, but never neither.
	user := m.Node.User()
	h.joinUser(user, m)

	s := h.clients.shard(hash)
	s.mu.Lock()
	if old := s.items[id]; old != m {
		replaced = old
	}
	s.items[id] = m
	if replaced != nil {
		replaced.gone.Store(true)
	}
	s.mu.Unlock()

	if replaced != nil {
		h.leaveUser(user, replaced)
	}
	return replaced
}

// Remove takes m out with all its subscriptions, and calls left for each channel that lost its last
// subscription of m. A member that was replaced or never added is no error; its subscriptions, if it
// has any, are taken back like those of any other.
func (h *Hub[P]) Remove(m *Member[P], left func(channel string)) {
	if !m.added {
		return
	}
	m.added = false
	m.gone.Store(true)

	id := m.Node.Client()
	s := h.clients.shard(h.hash(string(id)))
	s.mu.Lock()
	if s.items[id] == m {
		delete(s.items, id)
	}
	s.mu.Unlock()
	h.leaveUser(m.Node.User(), m)

	for sub := range m.subs.all() {
		h.subscriptions.Add(-int64(sub.count()))
		h.leaveChannel(sub)
		left(sub.channel.name)
	}
	m.subs = subscriptions[P]{}
}

// Client returns the member of a client ID, or nil.
func (h *Hub[P]) Client(id wire.ClientID) *Member[P] {
	s := h.clients.shard(h.hash(string(id)))
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.items[id]
}

// Counts are gauges of the hub.
type Counts struct {
	Members, Users, Channels, Subscriptions int64
}

// Counts returns how much is in the hub. Subscriptions of a replaced member count until Remove.
func (h *Hub[P]) Counts() Counts {
	return Counts{
		Members:       h.clients.len(),
		Users:         h.users.len(),
		Channels:      h.channels.len(),
		Subscriptions: h.subscriptions.Load(),
	}
}

func (h *Hub[P]) hash(s string) uint64 { return maphash.String(h.seed, s) }
