package cluster

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"
)

func appendSeq(dst []byte, seq uint64) []byte { return binary.BigEndian.AppendUint64(dst, seq) }

// What a ring gives is what a list of everything would give, as far as the ring reaches; what it no longer has it
// says.
func TestRingAgainstAModel(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 2))
		maxBytes := 1_000 + r.IntN(20_000)
		ring := newRing(10*time.Second, maxBytes)
		now := time.Unix(0, 0)
		var sizes []int // of the envelopes, from 1
		var times []time.Time
		for range 2_000 {
			now = now.Add(time.Duration(r.IntN(100)) * time.Millisecond)
			size := 8 + r.IntN(200)
			ring.append(now, nil, func(dst []byte, seq uint64) []byte {
				if seq != uint64(len(sizes)+1) {
					t.Fatalf("seed %d: seq %d after %d", seed, seq, len(sizes))
				}
				return append(appendSeq(dst, seq), make([]byte, size-8)...)
			})
			sizes, times = append(sizes, size), append(times, now)
			if r.IntN(10) == 0 {
				now = now.Add(time.Duration(r.IntN(12_000)) * time.Millisecond)
			}
			ring.evict(now)
			oldest, bytes := len(sizes), 0
			for ; oldest > 0 && now.Sub(times[oldest-1]) <= 10*time.Second && bytes+sizes[oldest-1]+overhead <= maxBytes; oldest-- {
				bytes += sizes[oldest-1] + overhead
			}
			from, most := uint64(r.IntN(len(sizes)+2)), 1+r.IntN(2_000)
			entries, lost := ring.after(nil, from, 1+r.IntN(20), most)
			want := uint64(0)
			if from < uint64(oldest) {
				want, from = uint64(oldest), uint64(oldest)
			}
			if lost != want {
				t.Fatalf("seed %d: lost up to %d, want %d", seed, lost, want)
			}
			got := 0
			for i, e := range entries {
				if e.seq != from+1+uint64(i) || binary.BigEndian.Uint64(e.data) != e.seq || len(e.data) != sizes[e.seq-1] {
					t.Fatalf("seed %d: entry %d after %d: seq %d, %d bytes", seed, i, from, e.seq, len(e.data))
				}
				if got >= most {
					t.Fatalf("seed %d: %d entries although %d bytes were enough", seed, len(entries), most)
				}
				got += len(e.data)
			}
			if len(entries) == 0 && from < uint64(len(sizes)) {
				t.Fatalf("seed %d: nothing after %d of %d", seed, from, len(sizes))
			}
		}
	}
}

// An envelope larger than the bound does not stay, and nothing is kept beside it.
func TestRingOfLargeEnvelopes(t *testing.T) {
	ring, now := newRing(time.Minute, 1_000), time.Unix(0, 0)
	for range 3 {
		ring.append(now, nil, func(dst []byte, _ uint64) []byte { return append(dst, make([]byte, 100_000)...) })
	}
	if entries, lost := ring.after(nil, 0, 10, 10); len(entries) != 0 || lost != 3 {
		t.Errorf("%d entries, lost up to %d", len(entries), lost)
	}
	ring.append(now, nil, appendSeq)
	if entries, lost := ring.after(nil, 3, 10, 10); len(entries) != 1 || lost != 0 {
		t.Errorf("%d entries, lost up to %d", len(entries), lost)
	}
	if cap(ring.mu.scratch) > 64<<10 {
		t.Errorf("%d bytes of scratch are kept", cap(ring.mu.scratch))
	}
}

func TestRingSince(t *testing.T) {
	ring, start := newRing(30*time.Second, 1<<20), time.Unix(0, 0)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	for second := range 100 {
		ring.append(at(second), nil, appendSeq)
		ring.evict(at(second))
		ring.published(at(second), uint64(second+1))
		ring.published(at(second), uint64(second+1))
	}
	ring.published(at(150), 100) // nothing happened since
	for _, test := range []struct {
		second int
		want   uint64
	}{{99, 100}, {98, 99}, {90, 91}, {200, 100}, {71, 72}} {
		if got := ring.since(at(test.second)); got != test.want {
			t.Errorf("since second %d: %d, want %d", test.second, got, test.want)
		}
	}
	// Before all that is remembered: everything there is, and the answer is honest about the rest.
	seq := ring.since(at(10))
	if entries, lost := ring.after(nil, seq, 1_000, 1<<20); len(entries) == 0 || lost == 0 {
		t.Errorf("%d entries, lost up to %d", len(entries), lost)
	}
	ring.evict(at(1_000))
	if got := ring.since(at(999)); got != 100 {
		t.Errorf("after a quiet time: since %d, want 100", got)
	}
}

func TestRingAllocations(t *testing.T) {
	ring, now := newRing(30*time.Second, 1<<20), time.Unix(0, 0)
	topics := []placed{{topic: "ch:x"}}
	payload := make([]byte, 300)
	encode := func(dst []byte, _ uint64) []byte { return append(dst, payload...) }
	for range 10_000 {
		ring.append(now, topics, encode)
	}
	// The copy that stays, and now and then a longer list.
	if n := testing.AllocsPerRun(10_000, func() { ring.append(now, topics, encode) }); n > 1 {
		t.Errorf("%v allocations an envelope", n)
	}
}

func BenchmarkRing(b *testing.B) {
	ring, now := newRing(30*time.Second, 64<<20), time.Unix(0, 0)
	payload := make([]byte, 300)
	encode := func(dst []byte, _ uint64) []byte { return append(dst, payload...) }
	b.ReportAllocs()
	for b.Loop() {
		ring.append(now, nil, encode)
	}
}

// What a server kept when it stood still is there when it wakes, for as long as ever, also when something is published before
// it notices.
func TestRingDoesNotAgeInAStandstill(t *testing.T) {
	ring, start := newRing(30*time.Second, 1<<20), time.Unix(0, 0)
	at := func(seconds time.Duration) time.Time { return start.Add(seconds * time.Second) }
	publish := func(now time.Time) { ring.append(now, nil, appendSeq) }
	publish(at(0))
	ring.published(at(1), 1)
	publish(at(101))
	ring.stoodStill(100 * time.Second)
	ring.evict(at(130))
	if _, lost := ring.after(nil, 0, 10, 1<<20); lost != 0 {
		t.Errorf("lost up to %d", lost)
	}
	if seq := ring.since(at(100)); seq != 0 {
		t.Errorf("a second before it woke everything up to %d was with Redis", seq)
	}
	ring.evict(at(131))
	if _, lost := ring.after(nil, 0, 10, 1<<20); lost != 1 {
		t.Errorf("lost up to %d, want 1", lost)
	}
}
