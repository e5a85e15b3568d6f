// Package latency counts durations in little memory, for load tests.
package latency

import (
	"math/bits"
	"time"
)

// A Histogram counts durations in buckets that are 1/32 of their size wide, so that a percentile is
// right to about 3 %. Its zero value is empty; it takes 8 KiB, and one goroutine at a time may use it.
type Histogram struct {
	N   int64 // durations so far
	Max int64 // the longest, in nanoseconds

	counts [64 * 32]uint32
}

// Add counts one duration; one below 0 counts as 0.
func (h *Histogram) Add(nanoseconds int64) {
	nanoseconds = max(nanoseconds, 0)
	h.Max = max(h.Max, nanoseconds)
	h.N++
	h.counts[bucket(nanoseconds)]++
}

// bucket is exact below 64 and keeps the five bits after the leading one above.
func bucket(v int64) int {
	shift := max(bits.Len64(uint64(v))-6, 0)
	return shift*32 + int(v>>shift)
}

// lower is the smallest value of a bucket.
func lower(bucket int) int64 {
	if bucket < 64 {
		return int64(bucket)
	}
	shift := bucket/32 - 1
	return int64(bucket-shift*32) << shift
}

// Percentile is the value that p per cent of all stay below or at; 0 when there is none.
func (h *Histogram) Percentile(p float64) time.Duration {
	rank := int64(p / 100 * float64(h.N))
	for i, count := range h.counts {
		if rank -= int64(count); rank < 0 {
			return time.Duration(min(lower(i+1)-1, h.Max))
		}
	}
	return time.Duration(h.Max)
}
