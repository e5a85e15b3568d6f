package cluster

// Topics whose partition goes to another server of Redis, or whose subscription there ended.

// unsubscribed says that n has no connection any more. Whoever waits need not: origins know of the gap.
func (t *topics) unsubscribed(n *redisNode) {
	for p := range t.stripes {
		if n.owns(uint8(p)) {
			t.reset(uint8(p), nil, nil)
		}
	}
}

// move says that a partition is n's now, no longer from's, and its topics are to be subscribed there.
func (t *topics) move(p uint8, from, n *redisNode) { t.reset(p, from, n.current.Load()) }

// reset forgets what was subscribed in a partition, and begins anew on a connection if there is one. from is the server
// whose connection goes on without the partition, nil if there is none.
func (t *topics) reset(p uint8, from *redisNode, to *subscriber) {
	s := &t.stripes[p]
	var waiting []func(error)
	var again []placed
	s.mu.Lock()
	var before *subscriber
	if from != nil {
		before = from.current.Load()
	}
	if s.left != nil {
		s.left.partitionLeft(-1)
		s.left = nil
	}
	for topic, sub := range s.topics {
		if before != nil && (sub.state == held || sub.state == leaving) {
			before.present.Add(-1)
		}
		if from != nil {
			sub.confirmation = 0
		}
		sub.state, sub.owed = absent, false
		switch {
		case !sub.wanted():
			t.forgetLocked(s, topic)
		case to != nil:
			sub.owed = true
			again = append(again, placed{topic, p})
		}
		if to == nil {
			waiting = append(waiting, sub.waiting...)
			sub.waiting = nil
		}
	}
	if to != nil {
		to.owe(len(again))
	}
	s.mu.Unlock()
	for _, done := range waiting {
		done(nil)
	}
	if len(again) > 0 {
		to.change(again...)
	}
}

// maxLooks is how often a layout must be the same before a partition that left its server is taken to be back on it.
const maxLooks = 4

// stays reports whether a partition is to be subscribed anew although the layout says what it said before.
func (t *topics) stays(p uint8) bool {
	s := &t.stripes[p]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	return s.left != nil && s.looks >= maxLooks
}

// anyMoving reports whether a partition left its server and has not arrived anywhere.
func (t *topics) anyMoving() bool {
	for p := range t.stripes {
		s := &t.stripes[p]
		s.mu.Lock()
		left := s.left != nil
		s.mu.Unlock()
		if left {
			return true
		}
	}
	return false
}
