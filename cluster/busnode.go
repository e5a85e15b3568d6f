package cluster

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// A redisNode is one Redis server: alone, the master behind Sentinels, or a master of a Cluster. It has one connection
// that publishes (publisher) and one that is subscribed (subscriber).
type redisNode struct {
	// Static.
	bus       *Bus
	name      string
	dial      func(context.Context) (*redis.Options, error)
	publisher *publisher
	cancel    context.CancelFunc // set when it is started

	current   atomic.Pointer[subscriber] // nil while there is no connection
	heartbeat atomic.Pointer[string]     // the channel of heartbeats
	lag       atomic.Int64               // milliseconds that the last envelope took
	roundTrip atomic.Int64               // nanoseconds that the last own heartbeat took
	echoed    atomic.Int64               // when that was published, in milliseconds since 1970

	confirmations atomic.Uint64 // of joins

	mu struct {
		sync.Mutex
		settled bool      // everything that was ever joined is subscribed
		moving  int       // partitions that left this server and have not arrived anywhere
		since   time.Time // of settled
		broken  time.Time // when it was last settled; when this began, if never
		again   bool      // it was settled before
		errText string    // why the last connection ended
	}
}

func newRedisNode(b *Bus, name, heartbeat string, dial func(context.Context) (*redis.Options, error)) *redisNode {
	n := &redisNode{bus: b, name: name, dial: dial}
	n.heartbeat.Store(&heartbeat)
	n.publisher = newPublisher(n)
	n.mu.since = time.Now()
	n.mu.broken = n.mu.since
	return n
}

// settledSince reports whether everything is subscribed, and since when that is so or not.
func (n *redisNode) settledSince() (since time.Time, settled bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.since, n.mu.settled
}

// brokenSince returns since when envelopes may have been missed of a server that was heard of only now: it is not settled,
// or was not a moment ago.
func (n *redisNode) brokenSince(now time.Time) (t time.Time, lately bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.broken, !n.mu.settled || now.Sub(n.mu.since) < 2*n.bus.cfg.silence()
}

// mended reports whether a break has ended only a moment ago: other servers may not be as far.
func (n *redisNode) mended(now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.again && n.mu.settled && now.Sub(n.mu.since) < 2*n.bus.cfg.silence()
}

// unsettle says that envelopes may be missing from now on: origins hold what comes through this server until they
// are healed.
func (n *redisNode) unsettle() {
	n.mu.Lock()
	was := n.mu.settled
	if was {
		n.mu.settled, n.mu.again, n.mu.since = false, true, time.Now()
		n.mu.broken = n.mu.since
	}
	n.mu.Unlock()
	if was {
		n.bus.stats.gaps.Add(1)
	}
	n.bus.eachOrigin(func(o *origin) { o.broken(n) })
	n.bus.reviewSoon()
}

// trySettle says that everything is subscribed, if so.
func (n *redisNode) trySettle() {
	s := n.current.Load()
	if s == nil || !s.whole() {
		return
	}
	n.mu.Lock()
	now := !n.mu.settled && n.mu.moving == 0
	if now {
		n.mu.settled, n.mu.since, n.mu.errText = true, time.Now(), ""
	}
	n.mu.Unlock()
	if now {
		n.bus.log.Info("Redis brings what is published", zap.String("redis", n.name))
		n.bus.reviewSoon()
	}
}

// changes reports whether partitions move from here or to here.
func (n *redisNode) changes() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.moving > 0
}

// partitionLeft says that Redis ended a subscription because the partition goes to another server, that it arrived (-1), or
// that partitions are about to come here.
func (n *redisNode) partitionLeft(by int) {
	n.mu.Lock()
	n.mu.moving += by
	n.mu.Unlock()
}

// listenAt changes the channel of heartbeats.
func (n *redisNode) listenAt(name string) {
	if old := n.heartbeat.Swap(&name); *old == name {
		return
	}
	if s := n.current.Load(); s != nil {
		s.listen()
	}
}

// subscribe keeps a connection that is subscribed until ctx ends.
func (n *redisNode) subscribe(ctx context.Context) {
	b := n.bus
	retry := retryAfter(b.cfg.Heartbeat)
	for ctx.Err() == nil {
		s := &subscriber{node: n, wake: make(chan struct{}, 1), room: make(chan struct{}, 1), beats: make(map[string]bool)}
		err := s.run(ctx)
		n.lose(s, err, ctx.Err() != nil)
		if ctx.Err() != nil {
			return
		}
		if s.subscribed() {
			retry.reset()
		}
		retry.wait(ctx)
	}
}

// lose deals with the end of a connection. The order matters: those who join while there is no connection are told
// that envelopes are sure to arrive, so origins have to know of the gap before.
func (n *redisNode) lose(s *subscriber, err error, end bool) {
	b := n.bus
	n.mu.Lock()
	news := err != nil && n.mu.errText != err.Error()
	if err != nil {
		n.mu.errText = err.Error()
	}
	n.mu.Unlock()
	if news && !end {
		b.log.Warn("The connection that Redis publishes on is broken; it is made again", zap.String("redis", n.name), zap.Error(err))
	}
	b.stats.reconnects.Add(1)
	n.unsettle()
	n.current.CompareAndSwap(s, nil)
	b.topics.unsubscribed(n)
	if b.cfg.Redis.cluster {
		b.lookAgain(n)
	}
}

// owns reports whether a partition is n's.
func (n *redisNode) owns(p uint8) bool { return n.bus.layout.Load().owner[p] == n }

// inLayout reports whether n is still needed.
func (n *redisNode) inLayout() bool { return slices.Contains(n.bus.layout.Load().nodes, n) }

// A backoff waits longer from time to time.
type backoff struct {
	least, most, next time.Duration
}

// retryAfter begins with a tenth of a heartbeat and ends with two.
func retryAfter(heartbeat time.Duration) *backoff {
	return &backoff{least: heartbeat / 10, most: 2 * heartbeat, next: heartbeat / 10}
}

func (r *backoff) reset() { r.next = r.least }

// wait returns after a while, or when ctx ends.
func (r *backoff) wait(ctx context.Context) {
	timer := time.NewTimer(r.next/2 + time.Duration(jitter(int64(r.next))))
	defer timer.Stop()
	r.next = min(2*r.next, r.most)
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
