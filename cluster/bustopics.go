package cluster

import (
	"sync"
	"sync/atomic"
	"time"

	"logux-proxy/wire"
)

// topics are what this server listens to, and how far Redis knows. They are striped by partition. A topic that
// nobody needs any more stays subscribed for a while: reloading a page costs nothing.
type topics struct {
	// Static.
	bus     *Bus
	stripes [partitions]stripe

	walked atomic.Uint32 // the stripe that reconcile looked at last

	since atomic.Int64 // when there was a topic again, in nanoseconds since the bus began

	lingering struct {
		sync.Mutex
		queue []lingerer // in the order of time
	}
}

type stripe struct {
	mu sync.Mutex
	// Guarded by mu.
	topics map[wire.Topic]*subscription
	// left is the server that ended a subscription because the partition moves, until it is subscribed elsewhere;
	// looks counts the layouts that were seen since.
	left  *redisNode
	looks int
}

// A subscription is one topic.
type subscription struct {
	joins   int32
	state   subscriptionState
	lingers bool
	owed    bool // its subscriber is not whole without it
	odd     bool // when it was last looked at, it had not what it needs
	// confirmation is the number of the one that the join got, on its server of Redis; 0: it got none.
	confirmation uint64
	// waiting are to be called when the subscription is confirmed.
	waiting []func(error)
}

type subscriptionState uint8

const (
	absent  subscriptionState = iota
	asked                     // SUBSCRIBE was or is being sent
	held                      // confirmed
	leaving                   // UNSUBSCRIBE was or is being sent
)

func (s *subscription) wanted() bool { return s.joins > 0 || s.lingers }

// promised reports whether somebody was told that something will come; who only lingers was.
func (s *subscription) promised() bool { return s.joins == 0 || int(s.joins) > len(s.waiting) }

type lingerer struct {
	placed
	until time.Time
}

// maxLingering bounds the topics that linger. Beyond it they end at once.
const maxLingering = 100_000

func newTopics(b *Bus) *topics {
	t := &topics{bus: b}
	for p := range t.stripes {
		t.stripes[p].topics = make(map[wire.Topic]*subscription)
	}
	return t
}

// wantedSince returns since when something is to come.
func (t *topics) wantedSince() time.Time { return t.bus.start.Add(time.Duration(t.since.Load())) }

// subscriberOf returns the connection for a partition, nil while there is none. The stripe must be locked: who takes
// a connection away walks over the stripes afterwards.
func (t *topics) subscriberOf(p uint8) *subscriber {
	if n := t.bus.layout.Load().owner[p]; n != nil {
		return n.current.Load()
	}
	return nil
}

func (t *topics) join(topic wire.Topic, done func(error)) {
	p := partitionOf(topic)
	s := &t.stripes[p]
	s.mu.Lock()
	sub := s.topics[topic]
	if sub == nil {
		sub = new(subscription)
		s.topics[topic] = sub
		if t.bus.stats.topics.Add(1) == 1 {
			t.since.Store(int64(time.Since(t.bus.start)))
		}
	}
	sub.joins++
	t.bus.stats.joins.Add(1)
	to := t.subscriberOf(p)
	if to == nil || sub.state == held {
		s.mu.Unlock()
		done(nil)
		return
	}
	if t.bus.stopped.Load() {
		s.mu.Unlock()
		done(ErrStopped)
		return
	}
	sub.waiting = append(sub.waiting, done)
	first := sub.joins == 1 && sub.state != asked
	s.mu.Unlock()
	if first {
		to.change(placed{topic, p})
	}
}

func (t *topics) leave(topic wire.Topic) {
	p := partitionOf(topic)
	s := &t.stripes[p]
	s.mu.Lock()
	sub := s.topics[topic]
	if sub == nil || sub.joins == 0 {
		s.mu.Unlock()
		return
	}
	sub.joins--
	t.bus.stats.joins.Add(-1)
	linger := sub.joins == 0 && !sub.lingers
	if linger {
		sub.lingers = true
	}
	s.mu.Unlock()
	if !linger {
		return
	}
	t.lingering.Lock()
	t.lingering.queue = append(t.lingering.queue, lingerer{placed{topic, p}, time.Now().Add(t.bus.cfg.Linger)})
	t.lingering.Unlock()
}

// sweep ends what has lingered.
func (t *topics) sweep(now time.Time) {
	t.lingering.Lock()
	queue, n := t.lingering.queue, 0
	for n < len(queue) && (!now.Before(queue[n].until) || len(queue)-n > maxLingering) {
		n++
	}
	due := queue[:n]
	if t.lingering.queue = queue[n:]; len(t.lingering.queue) == 0 {
		t.lingering.queue = nil
	}
	t.lingering.Unlock()
	for _, l := range due {
		s := &t.stripes[l.partition]
		s.mu.Lock()
		sub := s.topics[l.topic]
		var to *subscriber
		if sub != nil {
			sub.lingers = false
			if !sub.wanted() {
				if to = t.subscriberOf(l.partition); to == nil {
					t.forgetLocked(s, l.topic)
				}
			}
		}
		s.mu.Unlock()
		if to != nil {
			to.change(l.placed)
		}
	}
}

func (t *topics) forgetLocked(s *stripe, topic wire.Topic) {
	if _, ok := s.topics[topic]; ok {
		delete(s.topics, topic)
		t.bus.stats.topics.Add(-1)
	}
}

type nextStep uint8

const (
	toNothing nextStep = iota
	toSubscribe
	toUnsubscribe
)

// next says what a topic needs on a connection, and takes it as done.
func (t *topics) next(to *subscriber, topic placed) nextStep {
	s := &t.stripes[topic.partition]
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.topics[topic.topic]
	if sub == nil || t.subscriberOf(topic.partition) != to {
		return toNothing
	}
	switch {
	case sub.wanted() && (sub.state == absent || sub.state == leaving):
		if sub.state == leaving { // UNSUBSCRIBE comes first
			to.present.Add(-1)
		}
		sub.state = asked
		return toSubscribe
	case !sub.wanted() && sub.state == held:
		sub.state = leaving
		return toUnsubscribe
	case !sub.wanted() && sub.state == absent:
		t.payLocked(sub, to)
		t.forgetLocked(s, topic.topic)
	}
	return toNothing
}

func (t *topics) payLocked(sub *subscription, to *subscriber) {
	if sub.owed {
		sub.owed = false
		to.owe(-1)
	}
}

// confirmed takes Redis' confirmation of a SUBSCRIBE, and reports whether nobody asked for it.
func (t *topics) confirmed(by *subscriber, topic string) (orphan bool) {
	p := partitionOf(wire.Topic(topic))
	s := &t.stripes[p]
	s.mu.Lock()
	sub := s.topics[wire.Topic(topic)]
	if sub == nil || sub.state != asked || t.subscriberOf(p) != by {
		s.mu.Unlock()
		return sub == nil || sub.state == absent
	}
	sub.state = held
	by.present.Add(1)
	if !sub.promised() { // else something may have been missed since
		sub.confirmation = by.node.confirmations.Add(1)
	}
	t.payLocked(sub, by)
	waiting := sub.waiting
	sub.waiting = nil
	wanted := sub.wanted()
	s.mu.Unlock()
	for _, done := range waiting {
		done(nil)
	}
	if !wanted {
		by.change(placed{wire.Topic(topic), p})
	}
	return false
}

// orphaned reports whether a subscription that is there belongs to no topic.
func (t *topics) orphaned(topic string) bool {
	s := &t.stripes[partitionOf(wire.Topic(topic))]
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.topics[wire.Topic(topic)]
	return sub == nil || sub.state == absent
}

// ended takes Redis' word that a subscription is no more, and reports whether that was its own idea.
func (t *topics) ended(by *subscriber, topic string) (surprise bool) {
	p := partitionOf(wire.Topic(topic))
	s := &t.stripes[p]
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.topics[wire.Topic(topic)]
	if sub == nil || t.subscriberOf(p) != by {
		return false
	}
	switch sub.state {
	case leaving:
		sub.state = absent
		by.present.Add(-1)
		if !sub.wanted() {
			t.forgetLocked(s, wire.Topic(topic))
		} else {
			by.change(placed{wire.Topic(topic), p})
		}
	case held:
		sub.state = absent
		by.present.Add(-1)
		if s.left == nil {
			s.left, s.looks = by.node, 0
			by.node.partitionLeft(1)
		}
		return true
	}
	return false
}

// all appends the topics of a partition that a new connection has to subscribe.
func (t *topics) all(to *subscriber, p uint8, dst []placed) []placed {
	s := &t.stripes[p]
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.subscriberOf(p) != to {
		return dst
	}
	for topic, sub := range s.topics {
		if sub.state != absent || sub.owed {
			continue
		}
		sub.owed = true
		to.owe(1)
		dst = append(dst, placed{topic, p})
	}
	return dst
}

// standing says whether Redis counts this server among those that listen to a topic.
func (t *topics) standing(topic placed) standing {
	s := &t.stripes[topic.partition]
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.topics[topic.topic]
	switch {
	case sub == nil || sub.state == absent:
		return outside
	case sub.state == held:
		return inside
	}
	return uncertain
}

// interest reports whether this server listens to a topic, and since which confirmation; 0 is before all of them.
func (t *topics) interest(topic wire.Topic, p uint8) (confirmation uint64, interested bool) {
	s := &t.stripes[p]
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.topics[topic]
	if sub == nil || !sub.promised() {
		return 0, false
	}
	return sub.confirmation, true
}

// brings reports whether n is to bring what is published on a topic of a partition of its own.
func (t *topics) brings(topic wire.Topic, p uint8, n *redisNode) bool {
	_, settled := n.settledSince()
	s := &t.stripes[p]
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.topics[topic]
	// As long as n is not settled, what it does not bring comes over the mesh.
	return sub != nil && sub.wanted() && (sub.state == held || !settled)
}

// stop tells everybody who waits that nothing will come.
func (t *topics) stop() {
	for p := range t.stripes {
		s := &t.stripes[p]
		var waiting []func(error)
		s.mu.Lock()
		for _, sub := range s.topics {
			waiting = append(waiting, sub.waiting...)
			sub.waiting = nil
		}
		s.mu.Unlock()
		for _, done := range waiting {
			done(ErrStopped)
		}
	}
}
