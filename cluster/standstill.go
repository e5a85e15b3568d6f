package cluster

import (
	"sync"
	"sync/atomic"
	"time"
)

// A server can stand still: its process is stopped, its machine is moved or starved. Others take it for dead and go on with
// the actions of its clients. When it wakes, its clients' next actions are already there to be read, and what others
// published meanwhile is not: what it re-sends now would come before what it follows. So it asks nobody before it has
// heard what it missed. That still waits on the connections to Redis, in its order, so they are not taken for broken because
// nothing was read from them.
type standstill struct {
	tick   atomic.Int64 // when the review last ran, in nanoseconds since Bus.start
	behind atomic.Bool  // it woke, and something may be missing

	mu sync.Mutex
	// Guarded by mu.
	woke    time.Time
	waiting []func()
}

// CaughtUp calls then at once, or, when this server stood still so long that others may have taken it for dead, once all
// that they published meanwhile has been received, after ten heartbeats at most. Any goroutine may call it; it does not
// block, and then must not.
func (b *Bus) CaughtUp(then func()) {
	s := &b.standstill
	if !b.stoodStill(time.Now()) && !s.behind.Load() { // in this order: whoever notices says behind first
		then()
		return
	}
	s.mu.Lock()
	if b.stopped.Load() { // nobody calls what waits any more
		s.mu.Unlock()
		then()
		return
	}
	s.waiting = append(s.waiting, then)
	s.mu.Unlock()
	b.reviewSoon()
}

// stoodStill reports whether the review has not run for long. Before it first runs there is nothing to miss.
func (b *Bus) stoodStill(now time.Time) bool {
	last := b.standstill.tick.Load()
	return last > 0 && now.Sub(b.start)-time.Duration(last) > b.cfg.silence()
}

// noticeStandstill begins the time in which this server catches up, if it stood still. It is called by the review, before
// anything is judged by its age.
func (b *Bus) noticeStandstill(now time.Time) {
	s := &b.standstill
	if b.stoodStill(now) {
		b.ring.stoodStill(now.Sub(b.start) - time.Duration(s.tick.Load()))
		s.mu.Lock()
		s.woke = now
		s.mu.Unlock()
		s.behind.Store(true)
	}
	s.tick.Store(max(1, int64(now.Sub(b.start))))
}

// silent reports whether nothing has come since t for too long. What came while this server stood still counts from when it
// woke.
func (b *Bus) silent(t, now time.Time) bool {
	silence := b.cfg.silence()
	if now.Sub(t) <= silence {
		return false
	}
	s := &b.standstill
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.woke.IsZero() || now.Sub(s.woke) > silence
}

// reviewStandstill ends the time in which this server catches up. It is called by the review, after all origins.
func (b *Bus) reviewStandstill(now time.Time) {
	s := &b.standstill
	s.mu.Lock()
	if s.behind.Load() && (b.heardSince(s.woke) || now.Sub(s.woke) > 10*b.cfg.Heartbeat) {
		s.behind.Store(false)
	}
	s.mu.Unlock()
	if !s.behind.Load() {
		b.letGo()
	}
}

// heardSince reports whether all that was published before t has been received: through Redis if a heartbeat that was
// published since came back, and past it if nothing is being healed.
func (b *Bus) heardSince(t time.Time) bool {
	if b.stats.healing.Load() > 0 {
		return false
	}
	for _, n := range b.layout.Load().nodes {
		if _, settled := n.settledSince(); !settled || n.echoed.Load() < t.UnixMilli() {
			return false
		}
	}
	return true
}

// letGo calls what waits.
func (b *Bus) letGo() {
	s := &b.standstill
	s.mu.Lock()
	waiting := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	for _, then := range waiting {
		then()
	}
}
