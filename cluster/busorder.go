package cluster

import (
	"slices"
	"time"

	"logux-proxy/wire"
)

// An envelope with several topics comes once through each server of Redis that serves one of them, and servers are
// not equally fast: what comes first through one may have to come after what is still under way on another, if they have a
// topic in common. So when there are several servers an envelope waits (it is parked) until its copies have
// come on all of them: by then everything published before it on its topics has come as well. What comes after a parked
// envelope of the same origin waits too.

// A parkedEnvelope has come, but not through all servers of Redis that it is to come through.
type parkedEnvelope struct {
	e        *wire.Envelope
	size     int
	at       time.Time
	awaiting []*redisNode
}

// arriveLocked takes a copy that came through n in its turn.
func (o *origin) arriveLocked(n *redisNode, e *wire.Envelope, size int) {
	if v := o.views[n]; v != nil {
		v.noteFirst(n, e.Seq)
	}
	if !o.seen.add(e.Seq) {
		o.bus.stats.duplicates.Add(1)
		if i, found := o.findLocked(e.Seq); found {
			o.parked[i].awaiting = slices.DeleteFunc(o.parked[i].awaiting, func(m *redisNode) bool { return m == n })
			o.drainLocked()
		}
		return
	}
	awaiting := o.awaitingLocked(n, e)
	if len(awaiting) == 0 && (len(o.parked) == 0 || o.parked[0].e.Seq > e.Seq) {
		o.receiveLocked(e)
		return
	}
	i, _ := o.findLocked(e.Seq)
	o.parked = slices.Insert(o.parked, i, &parkedEnvelope{e, size, time.Now(), awaiting})
	if o.parkedBytes += size; o.parkedBytes > o.bus.cfg.HoldBytes {
		o.bus.stats.overflows.Add(1)
		o.unparkAllLocked()
	}
	o.drainLocked()
}

// awaitingLocked returns the other servers of Redis through which a copy of e is to come.
func (o *origin) awaitingLocked(n *redisNode, e *wire.Envelope) (nodes []*redisNode) {
	l := o.bus.layout.Load()
	t := &e.Targets
	if len(l.nodes) < 2 || len(t.Channels)+len(t.Users)+len(t.Clients)+len(t.Nodes) < 2 {
		return nil
	}
	for _, topic := range e.Topics() {
		p := partitionOf(topic)
		m := l.owner[p]
		if m == n || m == nil || slices.Contains(nodes, m) || !o.bus.topics.brings(topic, p, m) {
			continue
		}
		// Heartbeats say what has come already.
		if v := o.views[m]; v == nil || !v.whole || v.upTo < e.Seq {
			nodes = append(nodes, m)
		}
	}
	return nodes
}

// findLocked returns where the envelope with a seq is parked, or would be.
func (o *origin) findLocked(seq uint64) (i int, found bool) {
	return slices.BinarySearchFunc(o.parked, seq, func(p *parkedEnvelope, seq uint64) int {
		switch {
		case p.e.Seq < seq:
			return -1
		case p.e.Seq > seq:
			return 1
		}
		return 0
	})
}

// drainLocked delivers what waits for nothing any more.
func (o *origin) drainLocked() {
	for len(o.parked) > 0 && len(o.parked[0].awaiting) == 0 {
		o.receiveLocked(o.takeLocked(0))
	}
}

func (o *origin) takeLocked(i int) *wire.Envelope {
	p := o.parked[i]
	o.parkedBytes -= p.size
	if o.parked = slices.Delete(o.parked, i, i+1); len(o.parked) == 0 {
		o.parked = nil
	}
	return p.e
}

// unparkLocked says that everything up to a seq that comes through n has come; nil means through all of them.
func (o *origin) unparkLocked(n *redisNode, upTo uint64) {
	for _, p := range o.parked {
		if p.e.Seq <= upTo {
			p.awaiting = slices.DeleteFunc(p.awaiting, func(m *redisNode) bool { return n == nil || m == n })
		}
	}
	o.drainLocked()
}

// stuckLocked reports whether something waits longer than heartbeats take to say that there is nothing to wait for, or for
// a server of Redis that is gone. The mesh brings it in its order.
func (o *origin) stuckLocked(now time.Time) bool {
	return slices.ContainsFunc(o.parked, func(p *parkedEnvelope) bool {
		return o.bus.silent(p.at, now) || slices.ContainsFunc(p.awaiting, func(m *redisNode) bool { return !m.inLayout() })
	})
}

// unparkOldLocked ends what is stuck when there is no mesh that could bring it.
func (o *origin) unparkOldLocked(now time.Time) {
	for _, p := range o.parked {
		old := now.Sub(p.at) > o.bus.cfg.silence()
		p.awaiting = slices.DeleteFunc(p.awaiting, func(m *redisNode) bool { return old || !m.inLayout() })
	}
	o.drainLocked()
}

// unparkAllLocked delivers everything that is parked.
func (o *origin) unparkAllLocked() {
	for _, p := range o.parked {
		p.awaiting = nil
	}
	o.drainLocked()
}

// replayLocked takes an envelope of a page, and reports whether it had not come through Redis. Pages are in order, so
// it waits for nothing.
func (o *origin) replayLocked(e *wire.Envelope) bool {
	if o.seen.add(e.Seq) {
		if !toAll(e) && (!o.missedLocked(e) || o.newest.overtook(e, o.bus.topics)) {
			return false
		}
		o.newest.note(e, time.Now(), o.bus.cfg.Keep)
		o.receiveLocked(e)
		return true
	}
	if i, found := o.findLocked(e.Seq); found {
		o.receiveLocked(o.takeLocked(i))
	} else {
		o.bus.stats.duplicates.Add(1)
	}
	return false
}

// toAll reports whether e, which came past Redis, is for every server: who announces a client while Redis cannot say
// how many servers know it waits for an answer of each.
func toAll(e *wire.Envelope) bool {
	const fresh = 10_000 // milliseconds, by the clocks of two servers: later nobody waits any more
	return e.Kind == wire.KindAttach && time.Now().UnixMilli()-e.Published < fresh
}
