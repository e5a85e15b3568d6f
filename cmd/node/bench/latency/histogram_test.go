package latency

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var h Histogram
		values := make([]int64, 1+random.IntN(2000))
		for i := range values {
			values[i] = random.Int64N(1 << (1 + random.IntN(40)))
			h.Add(values[i])
		}
		slices.Sort(values)
		for _, p := range []float64{0, 1, 50, 99, 99.9} {
			exact := values[int(p/100*float64(len(values)))]
			got := int64(h.Percentile(p))
			if got < exact || got > exact+exact/32 {
				t.Fatalf("%v%% of %d values is %d, want %d or up to 1/32 more", p, len(values), got, exact)
			}
		}
		if h.Max != values[len(values)-1] || h.Percentile(100) != time.Duration(h.Max) {
			t.Fatalf("the largest is %d, %v; want %d", h.Max, h.Percentile(100), values[len(values)-1])
		}
	}
}

func TestBucketsFollowEachOther(t *testing.T) {
	for i := range 1500 {
		if low, next := lower(i), lower(i+1); next <= low || bucket(low) != i || bucket(next-1) != i {
			t.Fatalf("bucket %d begins at %d, the next at %d; they are put into %d and %d", i, low, next, bucket(low), bucket(next-1))
		}
	}
}
