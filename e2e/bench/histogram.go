package main

import (
	"math/bits"
	"time"
)

// A histogram counts durations in buckets that are 1/32 of their size wide, so that a percentile is
// right to about 3 %.
type histogram struct {
	counts [64 * 32]uint32
	n      int64
	max    int64
}

func (h *histogram) add(nanoseconds int64) {
	nanoseconds = max(nanoseconds, 0)
	h.max = max(h.max, nanoseconds)
	h.n++
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

// percentile is the value that p per cent of all stay below or at; 0 when there is none.
func (h *histogram) percentile(p float64) time.Duration {
	rank := int64(p / 100 * float64(h.n))
	for i, count := range h.counts {
		if rank -= int64(count); rank < 0 {
			return time.Duration(min(lower(i+1)-1, h.max))
		}
	}
	return time.Duration(h.max)
}
