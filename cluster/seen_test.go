package cluster

import (
	"math/rand/v2"
	"testing"
)

// The window answers as a set of all numbers would, but for those that are out of reach.
func TestWindowAgainstAModel(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		var w window
		model, high := make(map[uint64]bool), uint64(0)
		at := r.Uint64N(3 * windowSize)
		for range 5_000 {
			switch r.IntN(20) {
			case 0:
				at += r.Uint64N(2 * windowSize)
			case 1:
				at -= min(at, r.Uint64N(windowSize+windowSize/4))
			default:
				at += r.Uint64N(4)
			}
			seq := at + 1 - min(at, r.Uint64N(8))
			want := !model[seq] && seq+windowSize > high
			if got := w.add(seq); got != want {
				t.Fatalf("seed %d: add(%d) with %d as the highest: %v, want %v", seed, seq, high, got, want)
			}
			model[seq], high = true, max(high, seq)
			if most := windowSize>>chunkBits + 1; len(w.chunks) > most {
				t.Fatalf("seed %d: %d chunks are kept, at most %d are in reach", seed, len(w.chunks), most)
			}
		}
	}
}

func TestWindowEnds(t *testing.T) {
	var w window
	for _, step := range []struct {
		seq  uint64
		want bool
	}{
		{1, true}, {1, false}, {windowSize, true}, {1, false}, {2, true}, {windowSize + 1, true},
		{1, false}, // out of reach
		{2, false}, {3, true}, {1 << 62, true}, {windowSize + 2, false}, {1<<62 - windowSize + 1, true}, {1<<62 - windowSize, false},
	} {
		if got := w.add(step.seq); got != step.want {
			t.Errorf("add(%d) is %v", step.seq, got)
		}
	}
}

func TestWindowAllocatesPerChunk(t *testing.T) {
	var w window
	seq := uint64(0)
	if n := testing.AllocsPerRun(1<<chunkBits, func() { seq++; w.add(seq) }); n != 0 {
		t.Errorf("%v allocations an envelope", n)
	}
}

func BenchmarkWindow(b *testing.B) {
	var w window
	b.ReportAllocs()
	seq := uint64(0)
	for b.Loop() {
		seq++
		w.add(seq)
		w.add(seq)
	}
}
