// Package hub is the index of who is connected to this server and what they listen to. It knows
// no socket and no protocol: it maps the targets of an action to members.
package hub

import "logux-proxy/wire"

// A Hub indexes members by client, user and channel. Any goroutine may call Resolve and Counts; the
// calls that change one member must not overlap each other. P is the caller's handle of a connection.
type Hub[P any] struct{}

// New returns an empty hub.
func New[P any]() *Hub[P] { panic("hub") }

// A Member is one authenticated connection.
type Member[P any] struct {
	Peer P
	Node wire.NodeID
}

// Add makes m known under its client ID and its user ID. It returns the member that had the same
// client ID before, which is then known no more (the caller closes its connection), or nil.
func (h *Hub[P]) Add(m *Member[P]) (replaced *Member[P]) { panic("hub") }

// Remove takes m out with all its subscriptions, and calls left for each channel that lost its last subscription of m.
// A member that was replaced or never added is no error.
func (h *Hub[P]) Remove(m *Member[P], left func(channel string)) { panic("hub") }

// State is what becomes of an action on a channel for one subscriber.
type State uint8

const (
	// Pending: the back-end is still asked. What is resolved meanwhile is to be kept (DESIGN section 5).
	Pending State = iota + 1
	// Active: the subscription was approved.
	Active
)

// Subscribe adds or changes a subscription of m. Subscriptions differ by channel and filter; they
// are not counted: a second Subscribe with the same filter changes the state of the first, but Pending never
// replaces Active. first reports whether it is m's first on channel.
func (h *Hub[P]) Subscribe(m *Member[P], s wire.Subscription, state State) (first bool) { panic("hub") }

// Unsubscribe takes back the subscription with that channel and filter. last reports whether m
// had it and has no other left on the channel.
func (h *Hub[P]) Unsubscribe(m *Member[P], s wire.Subscription) (last bool) { panic("hub") }

// Subscriptions is how many subscriptions m has, pending ones included.
func (h *Hub[P]) Subscriptions(m *Member[P]) int { panic("hub") }

// A Match is one receiver of an action.
type Match[P any] struct {
	Peer P
	// Pending: the member is addressed only through channels whose subscriptions are all pending.
	Pending bool
}

// Resolve appends each member that t addresses to dst, once (PROTOCOL section 3, rule 4): those
// named in Nodes and Clients in any case, those of Users and Channels without author and
// t.ExcludeClients. It allocates nothing when dst has room. Members are not repeated even when
// several targets match.
func (h *Hub[P]) Resolve(dst []Match[P], t *wire.Targets, author wire.ClientID) []Match[P] {
	panic("hub")
}

// Client returns the member of a client ID, or nil.
func (h *Hub[P]) Client(id wire.ClientID) *Member[P] { panic("hub") }

// Counts are gauges of the hub.
type Counts struct {
	Members, Users, Channels, Subscriptions int64
}

// Counts returns how much is in the hub.
func (h *Hub[P]) Counts() Counts { panic("hub") }
