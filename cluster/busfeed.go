package cluster

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"logux-proxy/wire"
)

// feeds send what is published here straight to peers: to those who ask, and to all of them while Redis does not take it. Each is
// a cursor in the ring; a page at a time is under way until the peer confirms it, so that a slow peer costs
// nothing and whatever gathers meanwhile travels in the next page.
type feeds struct {
	// Static.
	bus  *Bus
	wake chan struct{}

	active atomic.Bool // somebody is to be fed

	mu struct {
		sync.Mutex
		of      map[wire.NodeID]*feed
		failing bool // Redis does not take what is published
	}
}

// A feed is what is sent to one peer. It is guarded by the mutex of feeds.
type feed struct {
	asker   uint64    // the peer's epoch, when it asked
	nonce   uint64    // of its last want
	lease   time.Time // it wants what is published until then
	on      bool
	cursor  uint64    // everything up to it has been confirmed, or need not be sent
	sent    uint64    // the end of the page under way, 0: none is
	sentAt  time.Time //
	answer  bool      // it asked: an empty page is an answer too
	started time.Time
}

// maxFeeds bounds the peers that are fed. More servers do not gossip.
const maxFeeds = 1024

func newFeeds(b *Bus) *feeds {
	f := &feeds{bus: b, wake: make(chan struct{}, 1)}
	f.mu.of = make(map[wire.NodeID]*feed)
	return f
}

func (f *feeds) kick() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// published says that there is something new.
func (f *feeds) published() {
	if f.active.Load() {
		f.kick()
	}
}

// failed says that Redis did not take something: whatever it is, peers may need it now.
func (f *feeds) failed() { f.review(time.Now(), true) }

// review begins to feed all peers when Redis fails, ends it when it no longer does, and forgets who is gone.
func (f *feeds) review(now time.Time, failing bool) {
	if f.bus.cfg.Mesh == nil {
		return
	}
	peers := *f.bus.peers.Load()
	silence := f.bus.cfg.silence()
	// From a little before what Redis did not take: what it took last may still be on its way, and pages must have no
	// holes to be delivered as they come.
	from := f.bus.ring.since(now.Add(-silence))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.failing = failing
	if failing {
		for id := range peers {
			if f.mu.of[id] == nil && len(f.mu.of) < maxFeeds {
				f.mu.of[id] = &feed{}
			}
		}
	}
	active := false
	for id, one := range f.mu.of {
		if !peers[id] && now.After(one.lease) {
			delete(f.mu.of, id)
			continue
		}
		on := failing || now.Before(one.lease)
		if on && !one.on {
			one.cursor, one.sent, one.started = from, 0, now
		}
		one.on = on
		active = active || on
	}
	if f.active.Store(active); active {
		f.kick()
	}
}

// wanted takes a peer's want.
func (f *feeds) wanted(from wire.NodeID, w *want) {
	if f.bus.cfg.Mesh == nil {
		return
	}
	now := time.Now()
	after, known := w.after, w.epoch == f.bus.epoch
	if !known {
		after = f.bus.ring.since(now.Add(-w.age))
		if w.epoch != 0 {
			after = 0 // it knows another life of this server: everything of this one is new to it
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	one := f.mu.of[from]
	if one == nil {
		if w.follow == 0 || len(f.mu.of) >= maxFeeds {
			return
		}
		one = &feed{}
		f.mu.of[from] = one
	}
	switch {
	case one.asker == w.asker && w.nonce < one.nonce:
		return // it was overtaken
	case one.asker != w.asker && w.follow > 0:
		one.on = false // the peer has begun a new life
	}
	again := one.asker != w.asker || w.nonce > one.nonce
	one.asker, one.nonce = w.asker, w.nonce
	one.lease = now.Add(w.follow)
	switch {
	case !one.on && w.follow == 0:
		return
	case !one.on:
		one.on, one.cursor, one.sent, one.started = true, after, 0, now
	case !known:
		// What it confirms is of another life; but an unknown epoch also comes before the first page does.
		if again && after < one.cursor {
			one.cursor, one.sent = after, 0
		}
	case after >= one.cursor:
		if one.sent != 0 && after >= one.sent {
			one.sent = 0
		}
		one.cursor = after
	case again:
		one.cursor, one.sent = after, 0
	}
	one.answer = one.answer || w.follow > 0
	f.active.Store(true)
	f.kick()
}

// run sends pages until ctx ends.
func (f *feeds) run(ctx context.Context) {
	tick := time.NewTicker(f.bus.cfg.Heartbeat / 2)
	defer tick.Stop()
	var entries []ringEntry
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case <-tick.C:
		}
		for _, id := range f.due(time.Now()) {
			entries = f.send(id, entries[:0])
			clear(entries)
		}
	}
}

// due returns the peers that a page is to be sent to.
func (f *feeds) due(now time.Time) (ids []wire.NodeID) {
	head := f.bus.ring.head()
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, one := range f.mu.of {
		if !one.on {
			continue
		}
		patience := f.bus.cfg.silence()
		if one.answer { // it asked again
			patience = f.bus.cfg.Heartbeat
		}
		if one.sent != 0 && now.Sub(one.sentAt) > patience || one.sent == 0 && (one.answer || one.cursor < head) {
			ids = append(ids, id)
		}
	}
	return ids
}

// send sends the next page to a peer.
func (f *feeds) send(id wire.NodeID, entries []ringEntry) []ringEntry {
	b := f.bus
	f.mu.Lock()
	one := f.mu.of[id]
	if one == nil || !one.on {
		f.mu.Unlock()
		return entries
	}
	from, nonce := one.cursor, one.nonce
	f.mu.Unlock()

	p := page{epoch: b.epoch, nonce: nonce, from: from, to: from}
	entries, p.lost = b.ring.after(entries, from, maxPageCount, maxPage)
	p.to = max(p.to, p.lost)
	for i := range entries {
		p.envelopes = append(p.envelopes, entries[i].data)
		p.to = entries[i].seq
	}

	f.mu.Lock()
	if one.cursor != from || one.nonce != nonce || !one.on {
		f.mu.Unlock()
		f.kick()
		return entries
	}
	// Nothing after to was published, or it will be sent when this page is confirmed.
	p.last = p.to >= b.ring.head()
	one.answer = false
	if one.sent, one.sentAt = p.to, time.Now(); p.to == p.from {
		one.sent = 0
	}
	f.mu.Unlock()
	b.stats.pages.Add(1)
	b.send(id, p.append(nil))
	return entries
}
