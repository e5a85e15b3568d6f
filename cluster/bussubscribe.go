package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// What a subscriber writes: to what it subscribes and what it leaves.

// write subscribes to all topics that there are, to heartbeats, and then to what changes.
func (s *subscriber) write(ctx context.Context) error {
	topics := s.node.bus.topics
	var batch []placed
	for p := range partitions {
		if s.node.owns(uint8(p)) {
			batch = topics.all(s, uint8(p), batch)
		}
		if len(batch) >= subscribeChunk || p == partitions-1 {
			if err := s.commands(ctx, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	s.mu.Lock()
	s.mu.all = true
	s.mu.Unlock()
	// Heartbeats last: who listens to them listens to everything, as far as others can see (publisher.allListen).
	if err := s.command(ctx, []string{*s.node.heartbeat.Load()}, nil); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
		s.mu.Lock()
		changed, heartbeat, orphans := s.mu.changed, s.mu.heartbeat, s.mu.orphans
		s.mu.changed, s.mu.heartbeat, s.mu.orphans = nil, false, nil
		s.mu.Unlock()
		if err := s.disown(ctx, orphans); err != nil {
			return err
		}
		if heartbeat {
			if err := s.command(ctx, []string{*s.node.heartbeat.Load()}, nil); err != nil {
				return err
			}
		}
		if err := s.commands(ctx, changed); err != nil {
			return err
		}
	}
}

// commands subscribes and unsubscribes what topics need.
func (s *subscriber) commands(ctx context.Context, changed []placed) error {
	b := s.node.bus
	sharded := b.cfg.Redis.cluster
	if sharded { // all channels of a command must be in one slot
		slices.SortStableFunc(changed, func(x, y placed) int { return cmp.Compare(x.partition, y.partition) })
	}
	for len(changed) > 0 {
		n := min(len(changed), subscribeChunk)
		if sharded {
			for i := range changed[:n] {
				if changed[i].partition != changed[0].partition {
					n = i
					break
				}
			}
		}
		var join, leave []string
		for _, t := range changed[:n] {
			switch b.topics.next(s, t) {
			case toSubscribe:
				join = append(join, b.channelName(t.partition, string(t.topic)))
			case toUnsubscribe:
				leave = append(leave, b.channelName(t.partition, string(t.topic)))
			}
		}
		changed = changed[n:]
		if err := s.command(ctx, join, leave); err != nil {
			return err
		}
	}
	return nil
}

// command sends what may be empty lists, of one slot on a Cluster.
func (s *subscriber) command(ctx context.Context, join, leave []string) error {
	subscribe, unsubscribe := s.pubsub.Subscribe, s.pubsub.Unsubscribe
	if s.node.bus.cfg.Redis.cluster {
		subscribe, unsubscribe = s.pubsub.SSubscribe, s.pubsub.SUnsubscribe
	}
	if len(leave) > 0 {
		s.release(len(leave))
		if err := unsubscribe(ctx, leave...); err != nil {
			return fmt.Errorf("unsubscribing: %w", err)
		}
	}
	if len(join) == 0 {
		return nil
	}
	s.count(len(join))
	if err := subscribe(ctx, join...); err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	for s.full() {
		select {
		case <-ctx.Done():
			return nil
		case <-s.room:
		}
	}
	return nil
}

// full reports whether confirmations have to come before more is asked for.
func (s *subscriber) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.unconfirmed > maxUnconfirmed-subscribeChunk
}
