package cluster

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// An origin is another server as one that publishes: which of its envelopes have come, and by which road the rest
// will.
//
// As long as every connection to Redis is whole and brings the origin's heartbeats, there is nothing to do: have says up
// to which seq everything has come. When one of them breaks or the heartbeats stay away, the origin is asked over the mesh
// for all it published since a little before, and for what it goes on publishing: it is being healed. Its
// pages come in order and without holes, so they are delivered as they come. What a connection brings that was subscribed
// anew is held: there may be something missing before it. When all connections are subscribed and bring heartbeats
// again, the origin is asked with a new nonce. The page that answers this nonce and has everything published so far
// ends it: what is published after that page was sent comes through Redis for sure.
type origin struct {
	// Static.
	bus   *Bus
	id    wire.NodeID
	first time.Time

	epoch atomic.Uint64 // 0: not yet known

	mu sync.Mutex // held while an envelope is received, so that they stay in order
	// Guarded by mu.
	heard time.Time // when there was a sign of life
	peer  bool      // the mesh reaches it
	seen  window
	views map[*redisNode]*view
	marks []mark // up to where everything had come when
	cover span   // what came in pages last, without holes
	noted uint64 // the last lost of a heartbeat

	// Guarded by mu: healing.
	healing   bool
	missed    bool // one of our own connections broke: if the origin goes away, something may be missing
	gaveUp    bool // nothing is held any more
	ready     bool // all connections are whole but for what nonce asks for
	nonce     uint64
	known     bool // cursor is
	cursor    uint64
	asked     time.Time
	paged     time.Time
	held      []heldEnvelope
	heldBytes int

	newest newest

	parked      []*parkedEnvelope // in the order of seq
	parkedBytes int
}

// A view is what is known of an origin through one Redis.
type view struct {
	heard time.Time // the last heartbeat
	upTo  uint64    // all its envelopes through this Redis up to here have come, if whole
	whole bool      // nothing is missing in what comes

	confirmation uint64  // the number of the last that was noted
	firsts       []first // in the order of coming
	forgotten    uint64  // up to this number they were dropped
}

// A span are the seqs in (from, to].
type span struct{ from, to uint64 }

type heldEnvelope struct {
	from *redisNode
	e    *wire.Envelope
	size int
}

// A lineage are the epochs of one server ID: the present one and those before, of which something may still come.
type lineage struct {
	present *origin
	before  []*origin
}

const (
	maxOrigins = 4096
	maxBefore  = 2
)

// originOf returns the origin, nil when there are too many. alive says that this is a sign of the server's present life.
func (b *Bus) originOf(id wire.NodeID, epoch uint64, alive bool) *origin {
	b.origins.RLock()
	line := b.origins.of[id]
	if line != nil && line.present.is(epoch) {
		b.origins.RUnlock()
		return line.present
	}
	b.origins.RUnlock()

	b.origins.Lock()
	defer b.origins.Unlock()
	line = b.origins.of[id]
	if line == nil {
		if len(b.origins.of) >= maxOrigins {
			b.stats.undecodable.Add(1)
			return nil
		}
		line = &lineage{present: b.newOrigin(id, epoch)}
		b.origins.of[id] = line
		return line.present
	}
	if line.present.become(epoch) {
		return line.present
	}
	if i := slices.IndexFunc(line.before, func(o *origin) bool { return o.is(epoch) }); i >= 0 {
		o := line.before[i]
		if alive {
			line.before[i], line.present = line.present, o
		}
		return o
	}
	line.before = append(line.before, line.present)
	if len(line.before) > maxBefore {
		line.before = line.before[1:]
	}
	line.present = b.newOrigin(id, epoch)
	return line.present
}

func (b *Bus) newOrigin(id wire.NodeID, epoch uint64) *origin {
	o := &origin{bus: b, id: id, first: time.Now(), peer: (*b.peers.Load())[id], views: make(map[*redisNode]*view)}
	o.epoch.Store(epoch)
	return o
}

func (o *origin) is(epoch uint64) bool { return o.epoch.Load() == epoch }

// become sets the epoch of an origin that had none, and reports whether it is the one given.
func (o *origin) become(epoch uint64) bool {
	return o.epoch.CompareAndSwap(0, epoch) || o.is(epoch)
}

// eachOrigin calls f for every origin.
func (b *Bus) eachOrigin(f func(*origin)) {
	b.origins.RLock()
	all := make([]*origin, 0, len(b.origins.of))
	for _, line := range b.origins.of {
		all = append(append(all, line.present), line.before...)
	}
	b.origins.RUnlock()
	for _, o := range all {
		f(o)
	}
}

// envelopeCame takes a message from Redis. It does not block.
func (b *Bus) envelopeCame(n *redisNode, payload string) {
	if len(payload) >= len(b.ownStart) && payload[:len(b.ownStart)] == string(b.ownStart) {
		b.cameBack(payload)
		return // this server's own; a loop over all of them would cost most where it is of no use
	}
	e, err := wire.DecodeEnvelope(wire.EnvelopeBytes(payload))
	if err != nil {
		if b.stats.undecodable.Add(1) == 1 {
			b.log.Warn("A message on the bus cannot be read; further ones are only counted", zap.String("redis", n.name), zap.Error(err))
		}
		return
	}
	if e.Published > 0 {
		n.lag.Store(max(0, time.Now().UnixMilli()-e.Published))
	}
	if o := b.originOf(e.Origin, e.Epoch, false); o != nil {
		o.live(n, e, len(payload))
	}
}

// heartbeatCame takes a heartbeat from Redis. It does not block.
func (b *Bus) heartbeatCame(s *subscriber, payload string) {
	f, err := decodeFrame(wire.EnvelopeBytes(payload))
	h, ok := f.(*heartbeat)
	switch {
	case err != nil || !ok || h.origin == "":
		b.stats.undecodable.Add(1)
	case h.origin != b.cfg.Server:
		if o := b.originOf(h.origin, h.epoch, true); o != nil {
			o.heartbeat(s.node, h)
		}
	case h.epoch == b.epoch:
		s.heartbeatReceived()
		s.node.echoed.Store(h.sent)
		s.node.roundTrip.Store(max(0, time.Now().UnixMilli()-h.sent) * int64(time.Millisecond))
	}
}

// live takes an envelope that came through Redis.
func (o *origin) live(n *redisNode, e *wire.Envelope, size int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.heard = time.Now()
	if v := o.viewLocked(n); v.whole || !o.peer && !o.freshLocked(o.heard) || o.gaveUp {
		o.arriveLocked(n, e, size)
		return
	}
	o.held = append(o.held, heldEnvelope{n, e, size})
	if o.heldBytes += size; o.heldBytes > o.bus.cfg.HoldBytes {
		o.bus.stats.overflows.Add(1)
		if !o.peer {
			o.releaseLocked()
			return
		}
		// The page that ends the healing will have them, if it is asked for only now.
		o.held, o.heldBytes, o.ready = nil, 0, false
	}
}

// freshLocked reports whether the origin was heard of so lately that the mesh may not know it yet, and then be asked for
// what it published before: both servers have just started. What comes meanwhile is held, or that would come behind it.
func (o *origin) freshLocked(now time.Time) bool {
	return o.bus.cfg.Mesh != nil && now.Sub(o.first) < o.bus.cfg.silence()
}

func (o *origin) viewLocked(n *redisNode) *view {
	v := o.views[n]
	if v == nil {
		since, settled := n.settledSince()
		v = &view{whole: settled && !o.healing}
		if _, lately := n.brokenSince(time.Now()); lately && o.bus.topics.wantedSince().Before(since) {
			v.whole = false // it may have published during the break
		}
		o.views[n] = v
	}
	return v
}

// receiveLocked hands an envelope on.
func (o *origin) receiveLocked(e *wire.Envelope) {
	o.bus.stats.received.Add(1)
	o.bus.cfg.Receiver.Receive(e)
}

// releaseLocked delivers what was held, by seq: heartbeats that came meanwhile already say of one Redis that it
// brought what is still held here behind something of another.
func (o *origin) releaseLocked() {
	held := o.held
	o.held, o.heldBytes = nil, 0
	slices.SortStableFunc(held, func(x, y heldEnvelope) int { return cmp.Compare(x.e.Seq, y.e.Seq) })
	for _, h := range held {
		o.arriveLocked(h.from, h.e, h.size)
	}
}

// heartbeat takes a heartbeat that came through Redis.
func (o *origin) heartbeat(n *redisNode, h *heartbeat) {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.heard = now
	_, known := o.views[n]
	v := o.viewLocked(n)
	v.heard = now
	have := v.upTo
	v.upTo = max(v.upTo, h.upTo)
	if v.whole {
		o.unparkLocked(n, h.upTo)
	}
	if h.lost > o.noted {
		o.noted = h.lost
		covered := o.cover.from <= have && o.cover.to >= h.lost
		if known && !o.healing && !covered && h.lost > have {
			o.bus.gap.Store(true)
		}
	}
	if o.healing {
		if !o.ready {
			o.bus.reviewSoon()
		}
		return
	}
	o.markLocked(now)
}

// markLocked notes up to where everything has come.
func (o *origin) markLocked(now time.Time) {
	nodes := o.bus.layout.Load().nodes
	have := ^uint64(0)
	for _, n := range nodes {
		v := o.views[n]
		if v == nil || !v.whole {
			return
		}
		have = min(have, v.upTo)
	}
	if last := len(o.marks) - 1; len(nodes) == 0 || last >= 0 && o.marks[last].seq >= have {
		return
	}
	o.marks = append(o.marks, mark{now, have})
	for len(o.marks) > 1 && now.Sub(o.marks[1].at) > o.bus.cfg.silence() {
		o.marks = o.marks[1:]
	}
	for _, v := range o.views { // a healing begins there
		v.forgetFirsts(o.marks[0].seq)
	}
}

// broken says that envelopes may be missing in what comes through n from now on.
func (o *origin) broken(n *redisNode) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if v := o.views[n]; v != nil {
		v.whole = false
	}
	o.ready = false
	if now := time.Now(); now.Sub(o.heard) < 2*o.bus.cfg.silence() {
		o.missed = true
	}
	if o.peer && !o.healing {
		o.healLocked(time.Now())
	}
}

// healLocked begins the healing.
func (o *origin) healLocked(now time.Time) {
	o.healing, o.gaveUp, o.ready = true, false, false
	o.asked, o.paged = time.Time{}, now
	o.nonce = o.bus.nonces.Add(1)
	// A little earlier than what is known to have come: a Cluster or a failover may have taken an envelope and
	// carried it nowhere. The first mark is as old as that.
	if o.known = len(o.marks) > 0; o.known {
		o.cursor = o.marks[0].seq
	}
	o.bus.reviewSoon()
}
