package transport

import (
	"math/bits"
	"time"
)

// tick is the wheel's granularity: a timer fires at most this late (and a turn of the loop), never early.
const tick = 64 * time.Millisecond

// wheelSlots is how many ticks one round takes; a timer further away than that is looked at once a round.
const wheelSlots = 1024

// timerKind says which of a connection's timers one is.
type timerKind uint8

const (
	timerConn   timerKind = iota // the handler's; from Close on, how long the peer may take to go
	timerInput                   // the head or the message under way must be whole
	timerOutput                  // the waiting output must have made progress
	timerAccept                  // the listener is to be polled again; of no connection
)

// A timer is a place in a wheel. It is part of the thing it belongs to, so that setting one allocates nothing.
type timer struct {
	next, prev *timer
	conn       *Conn
	at         time.Duration // when to fire; 0 = not set
	slot       int32         // the list it is in, while set
	kind       timerKind
}

// A wheel holds the timers of one loop.
type wheel struct {
	slots [wheelSlots + 1]*timer  // the last is firingSlot
	used  [wheelSlots / 64]uint64 // one bit per slot that is not empty
	done  int64                   // the last tick whose slot was emptied
}

// firingSlot is the list of those whose slot has come up. They stay in a list until popped, so
// that what one timer's firing does may clear another.
const firingSlot = wheelSlots

// set makes t fire at at. Moving a timer further away, what every message does to a time-out, only
// writes the time down: the wheel finds out when the old slot comes up.
func (w *wheel) set(t *timer, at time.Duration) {
	if at <= 0 {
		w.clear(t)
		return
	}
	if t.at != 0 {
		if at >= t.at {
			t.at = at
			return
		}
		w.unlink(t)
	}
	t.at = at
	w.link(t)
}

// clear takes t out.
func (w *wheel) clear(t *timer) {
	if t.at != 0 {
		w.unlink(t)
		t.at = 0
	}
}

// link puts t into the slot of the first tick that is not before its time.
func (w *wheel) link(t *timer) {
	due := max(int64((t.at+tick-1)/tick), w.done+1)
	w.push(t, int32(due%wheelSlots))
}

func (w *wheel) push(t *timer, slot int32) {
	head := w.slots[slot]
	t.slot, t.prev, t.next = slot, nil, head
	if head != nil {
		head.prev = t
	}
	w.slots[slot] = t
	if slot != firingSlot {
		w.used[slot/64] |= 1 << (slot % 64)
	}
}

func (w *wheel) unlink(t *timer) {
	if t.next != nil {
		t.next.prev = t.prev
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		w.slots[t.slot] = t.next
		if t.next == nil && t.slot != firingSlot {
			w.used[t.slot/64] &^= 1 << (t.slot % 64)
		}
	}
	t.next, t.prev = nil, nil
}

// pop returns a timer whose time has come by now, taken out, or nil. A caller takes timers until it gets nil.
func (w *wheel) pop(now time.Duration) *timer {
	last := int64(now / tick)
	// One round looks at every slot.
	w.done = max(w.done, last-wheelSlots)
	for {
		for t := w.slots[firingSlot]; t != nil; t = w.slots[firingSlot] {
			w.unlink(t)
			if t.at <= now {
				t.at = 0
				return t
			}
			// Moved away since, or of a later round.
			w.link(t)
		}
		if w.done >= last {
			return nil
		}
		w.done++
		slot := int32(w.done % wheelSlots)
		for t := w.slots[slot]; t != nil; t = w.slots[slot] {
			w.unlink(t)
			w.push(t, firingSlot)
		}
	}
}

// wait is how long a loop may sleep before pop has something to look at, or -1 for ever.
func (w *wheel) wait(now time.Duration) time.Duration {
	if w.slots[firingSlot] != nil {
		return 0
	}
	first := w.done + 1
	start := first % wheelSlots
	words := int64(len(w.used))
	for i := range words + 1 {
		word := (start/64 + i) % words
		set := w.used[word]
		if i == 0 {
			set &= ^uint64(0) << (start % 64)
		}
		if set != 0 {
			slot := word*64 + int64(bits.TrailingZeros64(set))
			ahead := (slot - start + wheelSlots) % wheelSlots
			return max(0, time.Duration(first+ahead)*tick-now)
		}
	}
	return -1
}
