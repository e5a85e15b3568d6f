package cluster

import (
	"sync"
	"sync/atomic"
	"time"

	"logux-proxy/wire"
)

// Announce publishes e, which has exactly one topic, and calls done once with how many other servers Redis handed it to:
// all those that have joined the topic, and those that have left it and whose subscription lingers. It is -1 when that
// is not known: while a connection to Redis is not whole or was not a moment ago, or that of another server that the mesh
// knows is not; when Redis does not take e at once, or may not be asked how many listen (PUBSUB NUMSUB); when e cannot
// be published at all, or when the bus ends. Then it may still arrive, over the mesh for one.
//
// It does not block; done must not either. It is called by any goroutine, perhaps before Announce returns, and a heartbeat
// later at the latest.
//
// Whoever is counted gets e by Receive, also a server that lingers, so that all of them can answer.
func (b *Bus) Announce(e *wire.Envelope, done func(others int)) {
	topics := e.Topics()
	if len(topics) != 1 {
		done(-1)
		return
	}
	topic := placed{topic: topics[0], partition: partitionOf(topics[0])}
	now := time.Now()
	n := b.layout.Load().owner[topic.partition]
	certain := n != nil && !n.publisher.failing(now, b.cfg.Heartbeat)
	if certain {
		since, settled := n.settledSince()
		// Servers see that a Cluster has another layout one after the other.
		certain = settled && !n.mended(now) && (!b.cfg.Redis.cluster || now.Sub(since) > b.cfg.silence())
	}
	a := &announcement{topic: topic, at: now, done: done}
	if err := b.publish(e, topics, a, nil); err != nil || !certain {
		a.finish(-1)
	}
	if b.stopped.Load() {
		b.announcements.end(now)
	}
}

// An announcement is an envelope whose publisher waits for the number of servers that get it. Redis says how many
// connections it handed it to; whether ours was among them is certain once it has come back.
type announcement struct {
	// Static.
	topic placed
	at    time.Time
	done  func(int)

	mu struct {
		sync.Mutex
		finished bool
		joined   standing // when it was given to Redis
		back     bool     // our own copy came
		count    int64    // what Redis said; 0: nothing yet, or nobody
	}
}

// A standing is whether Redis counts this server for a topic.
type standing uint8

const (
	uncertain standing = iota
	outside
	inside
)

// finish calls done, the first time.
func (a *announcement) finish(others int) {
	a.mu.Lock()
	first := !a.mu.finished
	a.mu.finished = true
	a.mu.Unlock()
	if first {
		a.done(others)
	}
}

// announcements are those that wait, by seq. The publisher of a server of Redis and the goroutine that reads from it
// look for them.
type announcements struct {
	bySeq sync.Map // of *announcement
	open  atomic.Int64
}

func (w *announcements) add(seq uint64, a *announcement) {
	w.bySeq.Store(seq, a)
	w.open.Add(1)
}

// find returns the announcement with a seq, nil if there is none.
func (w *announcements) find(seq uint64) *announcement {
	if w.open.Load() == 0 {
		return nil
	}
	if v, ok := w.bySeq.Load(seq); ok {
		return v.(*announcement)
	}
	return nil
}

func (w *announcements) finish(seq uint64, a *announcement, others int) {
	if _, there := w.bySeq.LoadAndDelete(seq); there {
		w.open.Add(-1)
	}
	a.finish(others)
}

// end ends those that began before a time.
func (w *announcements) end(before time.Time) {
	if w.open.Load() == 0 {
		return
	}
	w.bySeq.Range(func(seq, v any) bool {
		if a := v.(*announcement); !a.at.After(before) {
			w.finish(seq.(uint64), a, -1)
		}
		return true
	})
}

// given says that an envelope is about to be given to Redis, and reports whether it is an announcement.
func (b *Bus) given(seq uint64) bool {
	a := b.announcements.find(seq)
	if a == nil {
		return false
	}
	s := b.topics.standing(a.topic)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.joined = s
	return true
}

// counted takes what Redis said of an envelope: the number of connections that it handed it to. It does not count when
// Redis failed or some server did not listen at all.
func (b *Bus) counted(seq uint64, count int64, whole bool) {
	a := b.announcements.find(seq)
	if a == nil {
		return
	}
	now := b.topics.standing(a.topic)
	a.mu.Lock()
	joined, back := a.mu.joined, a.mu.back
	a.mu.count = count
	a.mu.Unlock()
	switch {
	case !whole:
		b.announcements.finish(seq, a, -1)
	case back:
		b.announcements.finish(seq, a, int(count)-1)
	case joined == outside && now == outside:
		b.announcements.finish(seq, a, int(count))
	case joined != inside || count == 0: // if nobody got it, our connection is not what it was
		b.announcements.finish(seq, a, -1)
	}
}

// cameBack takes an own envelope that came through Redis.
func (b *Bus) cameBack(payload string) {
	if b.announcements.open.Load() == 0 {
		return
	}
	e, err := wire.DecodeEnvelope(wire.EnvelopeBytes(payload))
	if err != nil || e.Epoch != b.epoch {
		return
	}
	a := b.announcements.find(e.Seq)
	if a == nil {
		return
	}
	a.mu.Lock()
	a.mu.back = true
	count := a.mu.count
	a.mu.Unlock()
	if count > 0 {
		b.announcements.finish(e.Seq, a, int(count)-1)
	}
}
