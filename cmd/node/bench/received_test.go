package bench

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Whatever the order in which actions arrive, each counts once and what is not there is missing.
func TestReceivedEqualsASet(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for round := range 200 {
		begin, n := random.Int64N(200), 1+random.Int64N(500)
		var order, want, got []int64
		for seq := begin; seq < begin+n; seq++ {
			if random.IntN(10) == 0 {
				want = append(want, seq)
				continue
			}
			order = append(order, seq)
		}
		// Each travels some way from its place.
		at := make(map[int64]int64)
		for _, seq := range order {
			at[seq] = seq + random.Int64N(1+random.Int64N(100))
		}
		slices.SortFunc(order, func(a, b int64) int { return int(at[a] - at[b]) })
		missing := func(seq int64) { got = append(got, seq) }
		var r received
		r.start(begin)
		for i, seq := range order {
			if r.take(seq, missing) {
				t.Fatalf("round %d: %d is there before it came", round, seq)
			}
			if again := order[random.IntN(i+1)]; !r.take(again, missing) {
				t.Fatalf("round %d: %d came twice and counts twice", round, again)
			}
		}
		r.finish(begin+n, missing)
		if !slices.Equal(got, want) || len(r.ahead) > 1 {
			t.Fatalf("round %d: missing are %v, want %v; %d words are left", round, got, want, len(r.ahead))
		}
	}
}

// What is missing for too long is given up, so that memory has a bound.
func TestReceivedIsBounded(t *testing.T) {
	var r received
	r.start(0)
	var missed []int64
	missing := func(seq int64) { missed = append(missed, seq) }
	for seq := int64(1); seq < 3*maxAhead; seq++ {
		r.take(seq, missing)
	}
	if !slices.Equal(missed, []int64{0}) || len(r.ahead) > maxAhead/64+1 {
		t.Errorf("missed %v, %d words", missed, len(r.ahead))
	}
	if !r.take(5, missing) {
		t.Error("what is behind counts twice")
	}
}

// Who is not subscribed, or was not yet, misses nothing.
func TestReceivedOutsideOfTheSubscription(t *testing.T) {
	fail := func(seq int64) { t.Errorf("%d is missing", seq) }
	var r received
	r.take(1, fail)
	if r.take(1, fail) {
		t.Error("without a subscription something comes twice")
	}
	r.finish(10, fail)
	r.start(5)
	r.take(3, fail)
	if r.take(3, fail) {
		t.Error("before the subscription something comes twice")
	}
	r.stop()
	r.finish(10, fail)
}
