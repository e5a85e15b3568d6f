package hub

import "logux-proxy/wire"

// The members of one user are a doubly linked list through the members themselves: most users
// have one, so that a list costs no memory of its own, and leaving is as cheap for the one among a
// million.

// joinUser puts m into its user's list. The empty user ID means that there is none.
func (h *Hub[P]) joinUser(user wire.UserID, m *Member[P]) {
	if user == "" {
		return
	}
	s := h.users.shard(h.hash(string(user)))
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.ofUser {
		return
	}
	m.ofUser = true
	first := s.items[user]
	if first != nil {
		first.prevOfUser = m
	}
	m.nextOfUser = first
	s.items[user] = m
}

// leaveUser takes m out of its user's list, if it is there.
func (h *Hub[P]) leaveUser(user wire.UserID, m *Member[P]) {
	if user == "" {
		return
	}
	s := h.users.shard(h.hash(string(user)))
	s.mu.Lock()
	defer s.mu.Unlock()
	if !m.ofUser {
		return
	}
	m.ofUser = false
	next, prev := m.nextOfUser, m.prevOfUser
	m.nextOfUser, m.prevOfUser = nil, nil
	if next != nil {
		next.prevOfUser = prev
	}
	switch {
	case prev != nil:
		prev.nextOfUser = next
	case next != nil:
		s.items[user] = next
	default:
		delete(s.items, user)
	}
}
