package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// A Mesh carries frames between servers past Redis. *Lane is one.
type Mesh interface {
	// Peers returns the live servers but this one. The Bus does not change it.
	Peers() []wire.NodeID
	// Send hands a frame on and does not block. The frame is not the Bus's any more; it may get lost.
	Send(to wire.NodeID, frame []byte) error
}

// A BusReceiver is a server that envelopes arrive at. It may call the Bus from its methods.
type BusReceiver interface {
	// Receive takes an envelope of another server, which may be shared. It must not block. Envelopes of one origin
	// come one after another.
	Receiver
	// Gap says that envelopes may be missing and nobody has them any more. It must not block.
	Gap()
}

// BusConfig says what a Bus works with. A zero value means the default in brackets.
type BusConfig struct {
	Redis    *Redis
	Server   wire.NodeID // this server, as Mesh.Peers of the others names it
	Receiver BusReceiver
	Mesh     Mesh // nil: what a break of a connection loses stays lost

	// Heartbeat is how often each connection proves that what is published comes back [1s]. All other times follow from
	// it: after three silent ones a connection is broken, after ten a peer has failed to heal a gap.
	Heartbeat time.Duration
	Linger    time.Duration // how long a topic that nobody needs stays subscribed [5s]
	Keep      time.Duration // how long published envelopes can be sent again [30s]
	KeepBytes int           // and at most how many bytes of them [64 MiB]
	HoldBytes int           // bytes kept of each server while a gap is healed, so that order is [16 MiB]
	Log       *zap.Logger
}

func (c *BusConfig) defaults() {
	set := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.Heartbeat, time.Second)
	set(&c.Linger, 5*time.Second)
	set(&c.Keep, 30*time.Second)
	if c.KeepBytes == 0 {
		c.KeepBytes = 64 << 20
	}
	if c.HoldBytes == 0 {
		c.HoldBytes = 16 << 20
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
}

// silence is how long a connection or a peer may be silent.
func (c *BusConfig) silence() time.Duration { return 3 * c.Heartbeat }

func (c *BusConfig) validate() error {
	switch {
	case c.Redis == nil:
		return errors.New("cluster: no Redis")
	case c.Receiver == nil:
		return errors.New("cluster: nobody receives")
	case c.Server.User() != wire.ServerUser:
		return errors.New("cluster: the server has no node ID of a server")
	}
	return nil
}

// maxPublished bounds an encoded envelope in bytes, so that it fits into a frame of the mesh.
const maxPublished = 15 << 20

var (
	// ErrStopped is returned when the Bus no longer runs.
	ErrStopped = errors.New("cluster: the bus has stopped")
	// ErrEnvelopeSize is returned for an envelope that is too long for the bus.
	ErrEnvelopeSize = errors.New("cluster: the envelope is too long")
)

// A Bus carries envelopes between servers over the pub/sub of Redis, which forgets what nobody hears. So each
// server keeps what it published for a while (ring), and there is a second road between servers, the mesh:
//
//   - A server whose connection to Redis broke, or that no longer hears the heartbeat of a peer through Redis, asks the
//     peer for what it published since (origin). From then on the peer feeds it, until the connections are whole again.
//   - A server that cannot publish feeds its peers unasked, and publishes late what Redis can still be given.
//
// Both roads carry a server's envelopes in the order of their publishing and without holes, so that it does not
// matter by which of them one comes first; the second copy is dropped. Only a connection that has just come back
// has a hole at its beginning: what it brings is held until the other road has filled it.
//
// What it promises to a Receiver, unless Gap is called: of what one server publishes on one topic, everything that is
// published after done of Join was called and before Leave comes, once, in the order of publishing, by whichever roads. An
// envelope with several topics counts in each of them. Envelopes without a common topic may overtake each other, since
// they may go through different servers of Redis, and so may those of different publishers.
type Bus struct {
	// Static.
	cfg      BusConfig
	log      *zap.Logger
	epoch    uint64
	start    time.Time
	ownStart []byte // how every envelope of this server begins
	ring     *ring
	topics   *topics
	feeds    *feeds

	announcements announcements
	standstill    standstill

	layout  atomic.Pointer[layout]
	moving  sync.Mutex // held while publishers go over to another layout
	peers   atomic.Pointer[map[wire.NodeID]bool]
	nonces  atomic.Uint64
	stopped atomic.Bool
	gap     atomic.Bool   // Receiver.Gap is to be called
	kick    chan struct{} // the review is to run now
	moved   chan *redisNode
	stats   busStats

	origins struct {
		sync.RWMutex
		of map[wire.NodeID]*lineage
	}
}

// NewBus returns a bus that works once Run runs. Join and Publish may be called before.
func NewBus(c BusConfig) (*Bus, error) {
	c.defaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	quietRedis()
	b := &Bus{
		cfg: c, log: c.Log, epoch: rand.Uint64() | 1, start: time.Now(),
		ownStart: wire.AppendEnvelopeStart(nil, c.Server),
		ring:     newRing(c.Keep, c.KeepBytes),
		kick:     make(chan struct{}, 1),
		moved:    make(chan *redisNode, 1),
	}
	b.topics = newTopics(b)
	b.feeds = newFeeds(b)
	b.origins.of = make(map[wire.NodeID]*lineage)
	b.peers.Store(new(map[wire.NodeID]bool))
	b.layout.Store(b.firstLayout())
	return b, nil
}

// Publish reaches every other server with an interest in one of e's topics, each once. It stamps Origin, Epoch, Seq and
// Published, whatever e says of them. It does not block, and does not fail because Redis is away.
func (b *Bus) Publish(e *wire.Envelope) error {
	return b.publish(e, e.Topics(), nil, nil)
}

// PublishThen is Publish, and calls done once, perhaps before it returns, when Redis has e: then e reaches the others
// whatever happens to this server. While Redis does not take what is published done is called at once. With an error it
// is not called. It must not block.
func (b *Bus) PublishThen(e *wire.Envelope, done func()) error {
	topics := e.Topics()
	if len(topics) == 0 {
		done()
		return nil
	}
	return b.publish(e, topics, nil, done)
}

// publish publishes e on topics. a waits for what Redis says of it, unless it is nil.
func (b *Bus) publish(e *wire.Envelope, topics []wire.Topic, a *announcement, then func()) error {
	if len(topics) == 0 {
		return nil
	}
	if b.stopped.Load() {
		return ErrStopped
	}
	if size := sizeOf(e); size > maxPublished {
		return fmt.Errorf("%w: %d bytes", ErrEnvelopeSize, size)
	}
	to := make([]placed, len(topics))
	for i, topic := range topics {
		to[i] = placed{topic: topic, partition: partitionOf(topic)}
	}
	now := time.Now()
	var last uint64
	stamped := *e
	stamped.Origin, stamped.Epoch, stamped.Published = b.cfg.Server, b.epoch, now.UnixMilli()
	b.ring.append(now, to, func(dst []byte, seq uint64) []byte {
		stamped.Seq, last = seq, seq
		if a != nil { // before anybody sees the entry
			b.announcements.add(seq, a)
		}
		return wire.AppendEnvelope(dst, &stamped)
	})
	b.stats.published.Add(1)
	l := b.layout.Load()
	var sent *delivery
	if then != nil {
		sent = &delivery{done: then}
		sent.left.Store(1)
	}
	for i, t := range to {
		if n := l.owner[t.partition]; n != nil && (i == 0 || n != l.owner[to[i-1].partition]) {
			if sent != nil {
				sent.left.Add(1)
				n.publisher.await(last, sent)
			}
			n.publisher.kick()
		}
	}
	if sent != nil {
		sent.arrived()
	}
	b.feeds.published()
	return nil
}

// sizeOf is about how many bytes e takes.
func sizeOf(e *wire.Envelope) (n int) {
	if a := e.Action; a != nil {
		n = len(a.ID) + len(a.Type) + len(a.Body) + len(a.Subprotocol)
	}
	const each = 4
	t := &e.Targets
	for _, s := range t.Channels {
		n += len(s) + each
	}
	for _, s := range t.Users {
		n += len(s) + each
	}
	for _, list := range [][]wire.ClientID{t.Clients, t.ExcludeClients} {
		for _, s := range list {
			n += len(s) + each
		}
	}
	for _, s := range t.Nodes {
		n += len(s) + each
	}
	return n
}

// Join calls done once, perhaps before it returns, when envelopes for topic are sure to arrive: when Redis has confirmed
// the subscription, or, while a connection to Redis is broken, at once, since the peers will send what is missing.
// Joins count; each needs one Leave. It does not block.
func (b *Bus) Join(topic wire.Topic, done func(error)) {
	if b.stopped.Load() {
		done(ErrStopped)
		return
	}
	b.topics.join(topic, done)
}

// Leave takes one Join back. It does not block.
func (b *Bus) Leave(topic wire.Topic) { b.topics.leave(topic) }

// ReceiveFrame takes a frame that a peer's Mesh sent. The frame is the Bus's from now on. Frames of one peer should come
// one after another, in order.
func (b *Bus) ReceiveFrame(from wire.NodeID, frame []byte) {
	f, err := decodeFrame(frame)
	if err != nil {
		b.stats.undecodable.Add(1)
		b.log.Warn("A server sent a frame that cannot be read", zap.String("from", string(from)), zap.Error(err))
		return
	}
	switch f := f.(type) {
	case *want:
		b.feeds.wanted(from, f)
	case *page:
		b.paged(from, f)
	}
}

// Run works until ctx ends: then it publishes what waits, as long as Redis takes it, and returns. It may be called once.
func (b *Bus) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	defer b.topics.stop()
	defer func() { b.announcements.end(time.Now()) }()
	defer b.letGo()
	defer b.stopped.Store(true)
	running.Go(func() { b.feeds.run(ctx) })
	running.Go(func() { b.direct(ctx) })
	b.review(ctx)
}

// review looks after everything that depends on time.
func (b *Bus) review(ctx context.Context) {
	tick := time.NewTicker(b.cfg.Heartbeat / 4)
	defer tick.Stop()
	for {
		now := time.Now()
		b.noticeStandstill(now)
		b.readPeers()
		b.ring.evict(now)
		b.ring.published(now, b.withRedis())
		b.topics.sweep(now)
		b.announcements.end(now.Add(-b.cfg.Heartbeat * 3 / 4))
		b.reviewOrigins(now)
		b.reviewStandstill(now)
		b.feeds.review(now, b.layout.Load().failing(now, b.cfg.Heartbeat))
		if b.gap.Swap(false) {
			b.stats.lost.Add(1)
			b.log.Error("Actions of other servers may be missing: nobody has them any more")
			b.cfg.Receiver.Gap()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			b.reconcile()
		case <-b.kick:
		}
	}
}

// reviewSoon makes review run now.
func (b *Bus) reviewSoon() {
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

func (b *Bus) readPeers() {
	if b.cfg.Mesh == nil {
		return
	}
	ids := b.cfg.Mesh.Peers()
	if old := *b.peers.Load(); len(old) == len(ids) && !slices.ContainsFunc(ids, func(id wire.NodeID) bool { return !old[id] }) {
		return
	}
	peers := make(map[wire.NodeID]bool, len(ids))
	for _, id := range ids {
		peers[id] = true
	}
	b.peers.Store(&peers)
}

// withRedis is the seq up to which every envelope is with Redis.
func (b *Bus) withRedis() uint64 {
	b.moving.Lock()
	defer b.moving.Unlock()
	nodes := b.layout.Load().nodes
	if len(nodes) == 0 {
		return 0
	}
	seq := nodes[0].publisher.cursor()
	for _, n := range nodes[1:] {
		seq = min(seq, n.publisher.cursor())
	}
	return seq
}

func (b *Bus) send(to wire.NodeID, frame []byte) {
	if err := b.cfg.Mesh.Send(to, frame); err != nil {
		b.log.Debug("A frame could not be sent", zap.String("to", string(to)), zap.Error(err))
	}
}
