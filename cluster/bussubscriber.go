package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

func jitter(n int64) int64 { return rand.Int64N(n + 1) }

// A subscriber is one connection that is subscribed. It lives until something goes wrong with it, never longer: go-redis
// would connect again by itself and hide what got lost, so its dialer works once.
//
// Two goroutines use it, besides its watch: one reads, and does nothing slow; the other writes SUBSCRIBE and UNSUBSCRIBE for the topics
// that changed, in chunks, with a bounded number of them unconfirmed, so that the confirmations of a million topics
// neither fill Redis' buffer nor keep heartbeats waiting.
type subscriber struct {
	// Static, once run began.
	node    *redisNode
	pubsub  *redis.PubSub
	conn    atomic.Pointer[net.Conn]
	started time.Time
	wake    chan struct{} // something changed
	room    chan struct{} // confirmations came

	read    atomic.Int64 // when something came last, in nanoseconds since started
	awaited atomic.Int64 // since when an own heartbeat should have come, likewise; 0: none
	moved   atomic.Int64 // when something was asked for or confirmed last, likewise
	present atomic.Int64 // topics that Redis is taken to have on this connection

	// Owned by receive.
	beats   map[string]bool // channels of heartbeats that are subscribed
	differs int64           // since when Redis counts differently, in nanoseconds since started; 0: it does not

	mu struct {
		sync.Mutex
		changed     []placed // topics that may have to be subscribed or unsubscribed
		heartbeat   bool     // the channel of heartbeats is to be subscribed
		listening   bool     // it is
		all         bool     // all topics there were at the beginning have been asked for
		owed        int      // of these, not yet confirmed
		unconfirmed int      // asked for and not yet confirmed
		releasing   int      // asked to be unsubscribed and not yet confirmed
		orphans     []string // channels that are to be unsubscribed although no topic says so
	}
}

const (
	subscribeChunk = 512     // channels of one command
	maxUnconfirmed = 8 << 10 // channels without their confirmation
)

var (
	errNoEcho      = errors.New("a heartbeat was published and did not come back")
	errSilent      = errors.New("nothing came for too long")
	errUnconfirmed = errors.New("a subscription was asked for and not confirmed")
	errSecondDial  = errors.New("a subscribed connection is made only once")
	errUnsubscribe = errors.New("Redis ended all subscriptions")
)

// run connects, subscribes and reads until the connection breaks or ctx ends.
func (s *subscriber) run(ctx context.Context) error {
	opt, err := s.node.dial(ctx)
	if err != nil {
		return err
	}
	dial := redis.NewDialer(opt)
	opt.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if s.conn.Load() != nil {
			return nil, errSecondDial
		}
		conn, err := dial(ctx, network, addr)
		if err == nil {
			s.conn.Store(&conn)
		}
		return conn, err
	}
	client := redis.NewClient(opt)
	s.started = time.Now()
	s.pubsub = client.Subscribe(ctx)
	ctx, cancel := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	defer func() {
		cancel(nil)
		s.hangUp()
		running.Wait()
		_ = s.pubsub.Close()
		_ = client.Close()
	}()
	s.node.current.Store(s)
	running.Go(func() { cancel(s.write(ctx)); s.hangUp() })
	running.Go(func() { cancel(s.watch(ctx)); s.hangUp() })
	err = s.receive(ctx)
	if cause := context.Cause(ctx); cause != nil {
		return cause // it is why reading failed
	}
	return err
}

// hangUp ends the connection without waiting for anybody: go-redis holds its lock while it writes.
func (s *subscriber) hangUp() {
	if conn := s.conn.Load(); conn != nil {
		_ = (*conn).Close()
	}
}

func (s *subscriber) age() int64 { return int64(time.Since(s.started)) }

// watch returns when the connection is found to be broken: it is silent, or what is published elsewhere does not come
// through it.
func (s *subscriber) watch(ctx context.Context) error {
	cfg := &s.node.bus.cfg
	tick := time.NewTicker(cfg.Heartbeat / 2)
	defer tick.Stop()
	ticks := 0
	silence := int64(cfg.silence())
	last, woke := s.age(), -silence
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := s.pubsub.Ping(ctx); err != nil {
			return err
		}
		now := s.age()
		if now-last > int64(2*cfg.Heartbeat) { // this server stood still (standstill), perhaps not the connection
			woke = now
		}
		last = now
		if now-woke < silence {
			continue
		}
		if now-s.read.Load() > silence {
			return errSilent
		}
		if s.stuck(now, silence) {
			return errUnconfirmed
		}
		if ticks++; ticks%(2*recountEvery) == 0 {
			s.recount()
		}
		if since := s.awaited.Load(); since != 0 && now-since > silence {
			return errNoEcho
		}
	}
}

// receive reads. What it calls does not block.
func (s *subscriber) receive(ctx context.Context) error {
	b := s.node.bus
	for {
		v, err := s.pubsub.Receive(ctx)
		if err != nil {
			return err
		}
		s.read.Store(s.age())
		switch v := v.(type) {
		case *redis.Message:
			switch topic, ok := b.topicOf(v.Channel); {
			case !ok:
			case topic == heartbeatTopic:
				b.heartbeatCame(s, v.Payload)
			default:
				b.envelopeCame(s.node, v.Payload)
			}
		case *redis.Subscription:
			if v.Channel == "" {
				return errUnsubscribe
			}
			if surprise := s.confirmed(v); surprise && !b.cfg.Redis.cluster { // only a Cluster does that
				return errUnsubscribe
			}
			if err := s.counted(v.Count); err != nil {
				return err
			}
		}
	}
}

// confirmed takes Redis' word that a channel is subscribed or no longer, and reports whether nobody asked for the end.
func (s *subscriber) confirmed(v *redis.Subscription) (surprise bool) {
	b := s.node.bus
	topic, ok := b.topicOf(v.Channel)
	subscribed := v.Kind == "subscribe" || v.Kind == "ssubscribe"
	switch {
	case !ok:
	case topic == heartbeatTopic:
		s.heartbeatsConfirmed(v.Channel, subscribed)
	case subscribed:
		s.count(-1)
		if b.topics.confirmed(s, topic) {
			b.stats.reconciled.Add(1)
			s.orphan(v.Channel)
		}
	default:
		if surprise = b.topics.ended(s, topic); surprise {
			s.node.unsettle()
			b.lookAgain(s.node)
		} else {
			s.release(-1)
		}
	}
	s.node.trySettle()
	return surprise
}

// heartbeatsConfirmed takes Redis' word about a channel of heartbeats. There is one at a time, but its name changes with the
// layout of a Cluster.
func (s *subscriber) heartbeatsConfirmed(channel string, subscribed bool) {
	current := *s.node.heartbeat.Load()
	if !subscribed {
		if delete(s.beats, channel); channel == current {
			s.node.bus.lookAgain(s.node)
		} else {
			s.release(-1)
		}
		return
	}
	s.count(-1)
	s.beats[channel] = true
	s.mu.Lock()
	s.mu.listening = channel == current
	s.mu.Unlock()
	for other := range s.beats {
		if other != current {
			s.orphan(other)
		}
	}
}

// orphan says that a channel is to be unsubscribed, unless it is wanted by then.
func (s *subscriber) orphan(channel string) {
	s.mu.Lock()
	s.mu.orphans = append(s.mu.orphans, channel)
	s.mu.Unlock()
	s.kick()
}

// disown unsubscribes channels that belong to no topic.
func (s *subscriber) disown(ctx context.Context, orphans []string) error {
	for _, channel := range orphans {
		topic, _ := s.node.bus.topicOf(channel)
		if channel == *s.node.heartbeat.Load() || topic != heartbeatTopic && !s.node.bus.topics.orphaned(topic) {
			continue
		}
		if err := s.command(ctx, nil, []string{channel}); err != nil {
			return err
		}
	}
	return nil
}

// release changes the number of channels that are being unsubscribed.
func (s *subscriber) release(by int) {
	s.moved.Store(s.age())
	s.mu.Lock()
	s.mu.releasing = max(0, s.mu.releasing+by)
	s.mu.Unlock()
}

// stuck reports whether Redis owes a confirmation although it answers.
func (s *subscriber) stuck(now, patience int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.unconfirmed+s.mu.releasing > 0 && now-s.moved.Load() > patience
}

// count changes the number of channels without confirmation.
func (s *subscriber) count(by int) {
	s.moved.Store(s.age())
	s.mu.Lock()
	s.mu.unconfirmed += by
	room := by < 0 && s.mu.unconfirmed == maxUnconfirmed-subscribeChunk
	s.mu.Unlock()
	if room {
		select {
		case s.room <- struct{}{}:
		default:
		}
	}
}

// whole reports whether everything that was joined before is subscribed.
func (s *subscriber) whole() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.all && s.mu.owed == 0 && s.mu.listening
}

// subscribed reports whether the connection was of use.
func (s *subscriber) subscribed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.listening
}

func (s *subscriber) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// change says that topics may have to be subscribed or unsubscribed.
func (s *subscriber) change(topics ...placed) {
	s.mu.Lock()
	s.mu.changed = append(s.mu.changed, topics...)
	s.mu.Unlock()
	s.kick()
}

// owe changes the number of topics without which the connection is not whole.
func (s *subscriber) owe(by int) {
	s.mu.Lock()
	s.mu.owed += by
	s.mu.Unlock()
}

// heartbeatPublished says that Redis took an own heartbeat.
func (s *subscriber) heartbeatPublished() {
	if s.subscribed() {
		s.awaited.CompareAndSwap(0, s.age())
	}
}

// heartbeatReceived says that one came.
func (s *subscriber) heartbeatReceived() { s.awaited.Store(0) }

// listen says that the channel of heartbeats is another one.
func (s *subscriber) listen() {
	s.mu.Lock()
	s.mu.heartbeat, s.mu.listening = true, false
	s.mu.Unlock()
	s.kick()
}
