package cluster

import (
	"errors"

	"go.uber.org/zap"
)

// Subscriptions are reconciled with what is wanted, whatever went wrong with them, so that there are never more than
// topics joined and lingering and never fewer for long:
//
//   - Redis confirms each SUBSCRIBE and UNSUBSCRIBE with the number of channels that the connection is subscribed to, and is
//     asked now and then although nothing changes. When that is not the number of topics that are taken to be subscribed
//     (present), and stays so, the connection is made anew, with everything that follows from a break.
//   - What Redis confirms and nobody wants is unsubscribed.
//   - A walk over the topics, a stripe at a time, mends those that have not what they need and that nothing is under way for.

// recountEvery is after how many heartbeats Redis is asked for its count.
const recountEvery = 10

var errCount = errors.New("Redis does not count as many subscriptions as there are")

// recount asks Redis for the number of subscriptions of the connection: it confirms what is subscribed already.
func (s *subscriber) recount() {
	s.mu.Lock()
	s.mu.heartbeat = true
	s.mu.Unlock()
	s.kick()
}

// counted compares Redis' number with ours, and returns an error when they have differed for long. Only the goroutine that
// reads may call it.
func (s *subscriber) counted(redis int) error {
	s.mu.Lock()
	quiet := s.mu.unconfirmed == 0 && s.mu.releasing == 0
	s.mu.Unlock()
	if !quiet { // the number is of a moment that our number is not of
		return nil
	}
	switch now := s.age(); {
	case redis == int(s.present.Load())+len(s.beats):
		s.differs = 0
	case s.differs == 0:
		s.differs = max(now, 1)
	case now-s.differs > int64(s.node.bus.cfg.silence()):
		s.node.bus.stats.reconciled.Add(1)
		return errCount
	}
	return nil
}

// reconcile looks at the next stripe.
func (b *Bus) reconcile() {
	changed, to := b.topics.astray(uint8(b.topics.walked.Add(1)))
	if len(changed) == 0 {
		return
	}
	b.stats.reconciled.Add(int64(len(changed)))
	b.log.Warn("Topics did not have the subscriptions that they need", zap.Int("topics", len(changed)), zap.String("redis", to.node.name))
	to.change(changed...)
}

// astray returns the topics of a partition that have not had what they need since the last time, and their
// connection.
func (t *topics) astray(p uint8) (changed []placed, to *subscriber) {
	s := &t.stripes[p]
	s.mu.Lock()
	defer s.mu.Unlock()
	to = t.subscriberOf(p)
	for topic, sub := range s.topics {
		odd := to != nil && !sub.owed && (sub.wanted() && sub.state == absent || !sub.wanted() && (sub.state == held || sub.state == absent))
		if odd && sub.odd {
			changed = append(changed, placed{topic, p})
		}
		sub.odd = odd
	}
	return changed, to
}
