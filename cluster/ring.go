package cluster

import (
	"slices"
	"sync"
	"time"

	"logux-proxy/wire"
)

// A ring keeps the last envelopes published here. It is the one queue of the bus: each connection that publishes to
// Redis and each peer that is fed directly reads it with a cursor of its own, at its own pace, and what was read may be
// read again. It is bounded in time, bytes and count, so that a Redis that does not answer costs bounded memory and
// delays nobody who publishes; a reader that fell out of it is told so.
//
// It also remembers when which envelopes were known to be with Redis (marks), to say from where on a peer may miss some.
type ring struct {
	// Static
	maxAge   time.Duration
	maxBytes int

	mu struct {
		sync.Mutex
		entries []ringEntry // of consecutive seqs
		next    uint64      // the seq of the next entry
		bytes   int
		scratch []byte
		marks   []mark // in the order of time and of seq
	}
}

// maxEntries bounds a ring in envelopes. It is below windowSize: no envelope is sent again that receivers
// cannot remember.
const maxEntries = windowSize / 2

// A ringEntry is one envelope, encoded once for all who get it.
type ringEntry struct {
	seq    uint64
	at     time.Time
	data   []byte
	topics []placed
}

// A placed topic knows its partition.
type placed struct {
	topic     wire.Topic
	partition uint8
}

// overhead is about what an entry takes beside its data.
const overhead = 128

// A mark says that at a time the envelopes up to seq were with Redis.
type mark struct {
	at  time.Time
	seq uint64
}

func newRing(maxAge time.Duration, maxBytes int) *ring {
	r := &ring{maxAge: maxAge, maxBytes: maxBytes}
	r.mu.next = 1
	return r
}

// append adds the envelope that encode writes for a seq. Any goroutine may call it; it does not block.
func (r *ring) append(now time.Time, topics []placed, encode func(dst []byte, seq uint64) []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	data := encode(r.mu.scratch[:0], r.mu.next)
	r.mu.entries = append(r.mu.entries, ringEntry{seq: r.mu.next, at: now, data: slices.Clone(data), topics: topics})
	r.mu.next++
	r.mu.bytes += len(data) + overhead
	if r.mu.scratch = data; cap(data) > 64<<10 {
		r.mu.scratch = nil
	}
	r.evictLocked(func(*ringEntry) bool { return false })
}

// evict drops what is too old.
func (r *ring) evict(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.evictLocked(func(e *ringEntry) bool { return now.Sub(e.at) > r.maxAge })
	for len(r.mu.marks) > 1 && now.Sub(r.mu.marks[1].at) > r.maxAge {
		r.mu.marks = r.mu.marks[1:]
	}
}

// stoodStill says that this server did nothing for a while, which makes nothing older: nobody could ask for it. It is
// called before evict.
func (r *ring) stoodStill(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.mu.entries {
		r.mu.entries[i].at = r.mu.entries[i].at.Add(d)
	}
	for i := range r.mu.marks {
		r.mu.marks[i].at = r.mu.marks[i].at.Add(d)
	}
}

// evictLocked drops what is too old, and what is too much.
func (r *ring) evictLocked(old func(*ringEntry) bool) {
	n := 0
	for ; n < len(r.mu.entries); n++ {
		e := &r.mu.entries[n]
		if r.mu.bytes <= r.maxBytes && len(r.mu.entries)-n <= maxEntries && !old(e) {
			break
		}
		r.mu.bytes -= len(e.data) + overhead
		*e = ringEntry{}
	}
	if r.mu.entries = r.mu.entries[n:]; len(r.mu.entries) == 0 {
		r.mu.entries = nil
	}
}

// head is the seq of the last envelope, 0 when there was none.
func (r *ring) head() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.next - 1
}

// after appends to dst the envelopes after seq, at least one if there is one, until they have bytes. lost is the
// last seq after the one asked for that is no longer there, or 0: then the answer does not reach back far enough.
func (r *ring) after(dst []ringEntry, seq uint64, count, bytes int) (entries []ringEntry, lost uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest := r.mu.next - uint64(len(r.mu.entries))
	if seq+1 < oldest {
		lost, seq = oldest-1, oldest-1
	}
	for i := seq + 1; i < r.mu.next && count > 0 && bytes > 0; i++ {
		e := r.mu.entries[i-oldest]
		dst = append(dst, e)
		count--
		bytes -= len(e.data)
	}
	return dst, lost
}

// published notes that at a time everything up to seq was with Redis.
func (r *ring) published(now time.Time, seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.mu.marks); n > 0 && r.mu.marks[n-1].seq >= seq {
		return
	}
	r.mu.marks = append(r.mu.marks, mark{at: now, seq: seq})
}

// since returns the seq up to which everything was with Redis at a time. What came to Redis after that time is after it.
func (r *ring) since(at time.Time) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	seq := uint64(0)
	for _, m := range r.mu.marks {
		if m.at.After(at) {
			break
		}
		seq = m.seq
	}
	return seq
}
