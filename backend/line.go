package backend

import (
	"container/heap"
	"time"
)

// A line holds the commands that wait for a request: those that may go, first come first served,
// and those whose retry has its time still to come. A command in it costs its own memory and nothing else. Client.mu guards it.
type line struct {
	ready []*call // ready[head:] wait
	head  int
	later laterHeap
}

// len counts the commands that may go.
func (l *line) len() int { return len(l.ready) - l.head }

// waiting counts all commands.
func (l *line) waiting() int { return l.len() + len(l.later) }

// push lets k wait behind everybody else.
func (l *line) push(k *call) {
	if l.head > 64 && l.head*2 > len(l.ready) {
		n := copy(l.ready, l.ready[l.head:])
		clear(l.ready[n:])
		l.ready, l.head = l.ready[:n], 0
	}
	l.ready = append(l.ready, k)
}

// postpone lets k wait until k.notBefore.
func (l *line) postpone(k *call) { heap.Push(&l.later, k) }

// promote lets those go whose time has come.
func (l *line) promote(now time.Time) {
	for len(l.later) > 0 && !now.Before(l.later[0].notBefore) {
		k := heap.Pop(&l.later).(*call)
		k.queued = now
		l.push(k)
	}
}

// batch takes the next commands for one request: at most count, and no further one once they have size
// bytes together. A command that has to travel alone does.
func (l *line) batch(count, size int) []*call {
	n, bytes := 0, 0
	for n < count && n < l.len() {
		k := l.ready[l.head+n]
		if n > 0 && (k.alone || bytes+k.size > size) {
			break
		}
		n++
		bytes += k.size
		if k.alone {
			break
		}
	}
	batch := make([]*call, n)
	copy(batch, l.ready[l.head:])
	clear(l.ready[l.head : l.head+n])
	l.head += n
	return batch
}

// probe takes one command: the first, or the first that changes nothing if harmless is set and there is one.
func (l *line) probe(harmless bool) *call {
	i := l.head
	if harmless {
		for j := l.head; j < len(l.ready); j++ {
			if !l.ready[j].changes {
				i = j
				break
			}
		}
	}
	k := l.ready[i]
	copy(l.ready[l.head+1:i+1], l.ready[l.head:i])
	l.ready[l.head] = nil
	l.head++
	return k
}

// expire takes out the commands that may go but whose expiry has come, and returns the earliest expiry of the others (zero: none).
func (l *line) expire(now time.Time, expiry func(*call) time.Time) (expired []*call, next time.Time) {
	kept := l.ready[l.head:l.head]
	for _, k := range l.ready[l.head:] {
		at := expiry(k)
		if !now.Before(at) {
			expired = append(expired, k)
			continue
		}
		kept = append(kept, k)
		next = earlier(next, at)
	}
	clear(l.ready[l.head+len(kept):])
	l.ready = l.ready[:l.head+len(kept)]
	return expired, next
}

// drain takes out everything.
func (l *line) drain() []*call {
	all := append(l.ready[l.head:], l.later...)
	*l = line{}
	return all
}

// earlier returns the earlier one of two times of which zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// A laterHeap has the command whose time comes first on top.
type laterHeap []*call

func (h laterHeap) Len() int           { return len(h) }
func (h laterHeap) Less(i, j int) bool { return h[i].notBefore.Before(h[j].notBefore) }
func (h laterHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *laterHeap) Push(x any)        { *h = append(*h, x.(*call)) }
func (h *laterHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
