package hub

import (
	"slices"

	"logux-proxy/wire"
)

// A Match is one receiver of an action.
type Match[P any] struct {
	Peer P
	// Pending: the member is addressed only through channels whose subscriptions are all pending.
	Pending bool
}

// Resolve appends each member that t addresses to dst, once (PROTOCOL section 3, rule 4): those
// named in Nodes and Clients in any case, those of Users and Channels without author and
// t.ExcludeClients. It allocates nothing when dst has room. Members are not repeated even when
// several targets match. An author of "" excludes nobody.
func (h *Hub[P]) Resolve(dst []Match[P], t *wire.Targets, author wire.ClientID) []Match[P] {
	if t.Empty() {
		return dst
	}
	var room [excludeList]uint32
	r := resolve[P]{dst: dst, targets: t, author: author}
	r.excluded = h.hashes(room[:0], t, author)
	// One target cannot give a member twice. For several there is a set of those that were met;
	// such sets are used again, and none is ever shared by two calls.
	if len(t.Channels)+len(t.Users)+len(t.Clients)+len(t.Nodes) > 1 {
		if seen, ok := h.seen.Get().(map[*Member[P]]int); ok {
			r.seen = seen
		} else {
			r.seen = make(map[*Member[P]]int)
		}
	}

	for _, node := range t.Nodes {
		if m := h.Client(node.Client()); m != nil && m.Node == node {
			r.match(m, false)
		}
	}
	for _, client := range t.Clients {
		if m := h.Client(client); m != nil {
			r.match(m, false)
		}
	}
	for _, user := range t.Users {
		h.resolveUser(&r, user)
	}
	for _, channel := range t.Channels {
		h.resolveChannel(&r, channel)
	}

	// Clearing a set costs time by its largest size ever, so that very large ones are left behind.
	if r.seen != nil && len(r.seen) <= keepSeen {
		clear(r.seen)
		h.seen.Put(r.seen)
	}
	return r.dst
}

const (
	// keepSeen is how many members a set may have met and be used again.
	keepSeen = 1 << 16
	// excludeList is how many excluded clients are searched one by one, and kept on the stack.
	excludeList = 16
)

// A resolve is one call of Resolve.
type resolve[P any] struct {
	dst      []Match[P]
	seen     map[*Member[P]]int // index in dst; nil for a single target
	targets  *wire.Targets
	author   wire.ClientID
	excluded []uint32 // hashes of the clients left out of channels and users, sorted
}

func (h *Hub[P]) resolveUser(r *resolve[P], user wire.UserID) {
	s := h.users.shard(h.hash(string(user)))
	s.mu.RLock()
	defer s.mu.RUnlock()
	for m := s.items[user]; m != nil; m = m.nextOfUser {
		if !m.gone.Load() && !r.excludes(m) {
			r.match(m, false)
		}
	}
}

func (h *Hub[P]) resolveChannel(r *resolve[P], name string) {
	s := h.channels.shard(h.hash(name))
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.items[name]
	if c == nil {
		return
	}
	for i := range c.subscribers {
		sub := &c.subscribers[i]
		if !sub.member.gone.Load() && !r.excludes(sub.member) {
			r.match(sub.member, sub.pending)
		}
	}
}

func (r *resolve[P]) match(m *Member[P], pending bool) {
	if r.seen != nil {
		if i, ok := r.seen[m]; ok {
			if !pending {
				r.dst[i].Pending = false
			}
			return
		}
		r.seen[m] = len(r.dst)
	}
	r.dst = append(r.dst, Match[P]{Peer: m.Peer, Pending: pending})
}

// hashes appends the hashes of the clients that channels and users are to leave out to dst, which
// is empty, in order.
func (h *Hub[P]) hashes(dst []uint32, t *wire.Targets, author wire.ClientID) []uint32 {
	if len(t.Channels)+len(t.Users) == 0 {
		return dst
	}
	if author != "" {
		dst = append(dst, uint32(h.hash(string(author))))
	}
	for _, client := range t.ExcludeClients {
		dst = append(dst, uint32(h.hash(string(client))))
	}
	slices.Sort(dst)
	return dst
}

// excludes reports whether m is left out of channels and users. The texts are compared only where
// the hashes are equal.
func (r *resolve[P]) excludes(m *Member[P]) bool {
	if len(r.excluded) <= excludeList {
		if !slices.Contains(r.excluded, m.client) {
			return false
		}
	} else if _, found := slices.BinarySearch(r.excluded, m.client); !found {
		return false
	}
	client := m.Node.Client()
	return client == r.author || slices.Contains(r.targets.ExcludeClients, client)
}
