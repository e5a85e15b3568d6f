package hub

import (
	"hash/maphash"
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
	left := exclusion{author: author, clients: t.ExcludeClients}
	if len(t.Channels)+len(t.Users) > 0 {
		left.hashes = left.appendHashes(room[:0], h.seed)
	}
	r := resolve[P]{dst: dst}
	if len(t.Channels)+len(t.Users)+len(t.Clients)+len(t.Nodes) > 1 {
		r.seen = h.sets.take()
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
		h.resolveUser(&r, &left, user)
	}
	for _, channel := range t.Channels {
		h.resolveChannel(&r, &left, channel)
	}

	h.sets.giveBack(r.seen)
	return r.dst
}

// A resolve is what one call of Resolve has met.
type resolve[P any] struct {
	dst  []Match[P]
	seen map[*Member[P]]int // index in dst; nil for a single target, which cannot give a member twice
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

func (h *Hub[P]) resolveUser(r *resolve[P], left *exclusion, user wire.UserID) {
	s := h.users.shard(h.hash(string(user)))
	s.mu.RLock()
	defer s.mu.RUnlock()
	for m := s.items[user]; m != nil; m = m.nextOfUser {
		if !m.gone.Load() && !left.has(m.client, m.Node) {
			r.match(m, false)
		}
	}
}

func (h *Hub[P]) resolveChannel(r *resolve[P], left *exclusion, name string) {
	s := h.channels.shard(h.hash(name))
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.items[name]
	if c == nil {
		return
	}
	for i := range c.subscribers {
		sub := &c.subscribers[i]
		if m := sub.member; !m.gone.Load() && !left.has(m.client, m.Node) {
			r.match(m, sub.pending)
		}
	}
}

// An exclusion is who is left out of channels and users.
type exclusion struct {
	author  wire.ClientID
	clients []wire.ClientID
	hashes  []uint32 // of all of them, sorted; texts are compared only where hashes are equal
}

// excludeList is how many hashes are looked through one by one, and kept on the stack.
const excludeList = 16

func (x *exclusion) appendHashes(dst []uint32, seed maphash.Seed) []uint32 {
	if x.author != "" {
		dst = append(dst, uint32(maphash.String(seed, string(x.author))))
	}
	for _, client := range x.clients {
		dst = append(dst, uint32(maphash.String(seed, string(client))))
	}
	slices.Sort(dst)
	return dst
}

// has reports whether the client of node, whose hash is given, is left out.
func (x *exclusion) has(hash uint32, node wire.NodeID) bool {
	if len(x.hashes) <= excludeList {
		if !slices.Contains(x.hashes, hash) {
			return false
		}
	} else if _, found := slices.BinarySearch(x.hashes, hash); !found {
		return false
	}
	client := node.Client()
	return client == x.author || slices.Contains(x.clients, client)
}

// sets are empty sets of members, to be used again. A set belongs to one call at a time.
type sets[P any] chan map[*Member[P]]int

const (
	// keptSets is how many sets are kept: about as many as there are cores that resolve at once.
	keptSets = 16
	// keepSet is how many members a set may hold and be kept: a set never shrinks, and emptying it
	// takes time by its largest size.
	keepSet = 1 << 14
)

func (s sets[P]) take() map[*Member[P]]int {
	select {
	case set := <-s:
		return set
	default:
		return make(map[*Member[P]]int)
	}
}

func (s sets[P]) giveBack(set map[*Member[P]]int) {
	if set == nil || len(set) > keepSet {
		return
	}
	clear(set)
	select {
	case s <- set:
	default:
	}
}
