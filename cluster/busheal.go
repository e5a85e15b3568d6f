package cluster

import (
	"time"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// reviewOrigins begins and ends healings, asks again, and forgets who has been silent for long.
func (b *Bus) reviewOrigins(now time.Time) {
	peers := *b.peers.Load()
	b.origins.RLock()
	var unknown []wire.NodeID
	for id := range peers {
		if b.origins.of[id] == nil {
			unknown = append(unknown, id)
		}
	}
	lines := make(map[*origin]bool, len(b.origins.of)) // whether it is the present one
	for _, line := range b.origins.of {
		lines[line.present] = true
		for _, o := range line.before {
			lines[o] = false
		}
	}
	b.origins.RUnlock()
	for _, id := range unknown {
		if o := b.originOf(id, 0, false); o != nil {
			lines[o] = true
		}
	}
	l := b.layout.Load()
	healing := 0
	for o, present := range lines {
		if present && !peers[o.id] && o.silent(now, 2*b.cfg.Keep) {
			b.forget(o)
			continue
		}
		w, busy := o.review(now, l, present && peers[o.id])
		if w != nil {
			b.send(o.id, w.append(nil))
		}
		if busy {
			healing++
		}
	}
	b.stats.healing.Store(int64(healing))
}

// forget drops an origin and those before it.
func (b *Bus) forget(o *origin) {
	b.origins.Lock()
	defer b.origins.Unlock()
	if line := b.origins.of[o.id]; line != nil && line.present == o {
		delete(b.origins.of, o.id)
	}
}

func (o *origin) silent(now time.Time, long time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return now.Sub(o.heard) > long && now.Sub(o.first) > long
}

// review looks how the origin stands, and returns what to ask it.
func (o *origin) review(now time.Time, l *layout, peer bool) (ask *want, healing bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	settled, whole, ready := o.lookLocked(now, l)
	if o.bus.stats.topics.Load() == 0 { // nothing was to come, so nothing is missing
		for n, v := range o.views {
			_, v.whole = n.settledSince()
		}
		o.missed, o.healing, whole = false, false, true
		o.releaseLocked()
	}
	if o.peer = peer; !peer {
		if settled || !o.freshLocked(now) {
			o.aloneLocked(now, settled)
		}
		return nil, false
	}
	if !o.healing && (!whole || o.stuckLocked(now)) {
		o.healLocked(now)
	}
	if !o.healing {
		return nil, false
	}
	again := now.Sub(o.asked) >= o.bus.cfg.Heartbeat
	if ready && !o.ready { // from here on everything published comes through Redis
		o.nonce, again = o.bus.nonces.Add(1), true
	}
	o.ready = ready
	if patience := 10 * o.bus.cfg.Heartbeat; !o.gaveUp && now.Sub(o.paged) > patience {
		o.gaveUp = true
		o.unparkAllLocked()
		o.releaseLocked()
		if o.missed {
			o.missed = false
			o.bus.gap.Store(true)
		}
		o.bus.log.Warn("A server does not answer; what it published during a break may be missing", zap.String("server", string(o.id)))
	}
	if again {
		o.asked = now
		ask = o.wantLocked(now)
	}
	return ask, true
}

// lookLocked says whether all connections are subscribed, whether nothing is missing in what they bring of this origin, and
// whether nothing will be.
func (o *origin) lookLocked(now time.Time, l *layout) (settled, whole, ready bool) {
	silence := o.bus.cfg.silence()
	settled, whole, ready = true, len(l.nodes) > 0, len(l.nodes) > 0
	for _, n := range l.nodes {
		since, ok := n.settledSince()
		v := o.views[n]
		switch {
		case !ok:
			settled, whole, ready = false, false, false
		case v == nil || v.heard.IsZero(): // it may have come just now
			ready = false
			if now.Sub(since) > silence && now.Sub(o.first) > silence {
				whole = false
			}
		case o.bus.silent(v.heard, now):
			v.whole, ready = false, false
		case v.heard.Before(since):
			ready = false
		}
		if v != nil && !v.whole {
			whole = false
		}
	}
	for n := range o.views {
		if !n.inLayout() {
			delete(o.views, n)
		}
	}
	return settled, whole, ready
}

// aloneLocked is for an origin that the mesh does not reach: nothing can be healed.
func (o *origin) aloneLocked(now time.Time, settled bool) {
	o.healing, o.ready, o.gaveUp = false, false, false
	o.releaseLocked()
	o.unparkOldLocked(now)
	if !settled {
		return
	}
	for _, v := range o.views {
		v.whole = true
	}
	if o.missed {
		o.missed = false
		o.bus.gap.Store(true)
		o.bus.log.Warn("A server that may have published during a break is not there to be asked", zap.String("server", string(o.id)))
	}
}

// wantLocked asks for what is missing and what will be published.
func (o *origin) wantLocked(now time.Time) *want {
	// A little more than needed: it is on its way for a while.
	w := &want{asker: o.bus.epoch, nonce: o.nonce, age: now.Sub(o.bus.unknownSince(now)) + o.bus.cfg.silence()}
	if o.healing {
		w.follow = o.bus.cfg.silence()
	}
	if o.known {
		w.epoch, w.after = o.epoch.Load(), o.cursor
	}
	return w
}

// unknownSince returns since when envelopes may have been missed of a server that was not heard of before.
func (b *Bus) unknownSince(now time.Time) time.Time {
	wanted, since := b.topics.wantedSince(), now
	found := false
	for _, n := range b.layout.Load().nodes {
		if t, lately := n.brokenSince(now); lately && t.Before(since) {
			since, found = t, true
		}
	}
	if !found || since.Before(wanted) {
		return wanted
	}
	return since
}

// paged takes a page of a peer.
func (b *Bus) paged(from wire.NodeID, p *page) {
	envelopes := make([]*wire.Envelope, 0, len(p.envelopes))
	for _, data := range p.envelopes {
		e, err := wire.DecodeEnvelope(data)
		if err != nil || e.Origin != from || e.Epoch != p.epoch {
			b.stats.undecodable.Add(1)
			continue
		}
		envelopes = append(envelopes, e)
	}
	o := b.originOf(from, p.epoch, true)
	if o == nil {
		return
	}
	if ack := o.page(p, envelopes); ack != nil {
		b.send(from, ack.append(nil))
	}
}

// page delivers a page, and returns what confirms it.
func (o *origin) page(p *page, envelopes []*wire.Envelope) *want {
	b := o.bus
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.heard = now
	if o.healing && o.known && p.from > o.cursor && p.lost == 0 {
		o.asked = now
		return o.wantLocked(now) // from there, please
	}
	o.paged = now
	missing := o.cover.to
	if o.healing {
		missing = o.cursor
	}
	if p.lost > missing || p.lost > 0 && o.healing && !o.known {
		b.gap.Store(true)
		b.log.Warn("A server no longer has what it published during a break", zap.String("server", string(o.id)))
	}
	counter := &b.stats.direct
	if o.healing && o.missed {
		counter = &b.stats.replayed
	}
	for _, e := range envelopes {
		if o.replayLocked(e) {
			counter.Add(1)
		}
	}
	if p.from > o.cover.to || p.from < o.cover.from {
		o.cover.from = p.from
	}
	o.cover.to = max(p.to, o.cover.to)
	ended := false
	if o.healing {
		if !o.known {
			o.known, o.cursor = true, 0
		}
		o.cursor = max(o.cursor, p.to)
		if ended = o.ready && p.last && p.nonce == o.nonce; ended {
			o.healedLocked(now)
		}
	}
	if len(p.envelopes) == 0 && p.from == p.to && !ended {
		return nil // there is nothing to confirm
	}
	w := o.wantLocked(now)
	w.epoch, w.after = o.epoch.Load(), p.to
	if o.healing {
		w.after = o.cursor
	}
	return w
}

// healedLocked ends the healing: nothing is missing.
func (o *origin) healedLocked(now time.Time) {
	for _, v := range o.views {
		v.whole = true
		v.upTo = max(v.upTo, o.cursor)
	}
	o.marks = []mark{{now, o.cursor}}
	o.unparkLocked(nil, o.cursor)
	o.releaseLocked()
	o.healing, o.gaveUp, o.ready = false, false, false
	if o.missed {
		o.missed = false
		o.bus.stats.healed.Add(1)
	}
	o.bus.reviewSoon()
}
