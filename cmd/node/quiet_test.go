package main

import "testing"

func TestMemoryIsGivenBackWhenQuiet(t *testing.T) {
	const mb = 1 << 20
	var w heapWatch
	for i, step := range []struct {
		name string
		heap heap
		want bool
	}{
		{"the start", heap{100 * mb, 30 * mb, 15 * mb, 0}, false},
		{"a storm", heap{200 * mb, 29 * mb, 15 * mb, 0}, false},
		{"quiet, half of it garbage", heap{200*mb + 1000, 29 * mb, 15 * mb, 0}, true},
		{"collected", heap{200*mb + 2000, 15 * mb, 15 * mb, 0}, false},
		{"some work", heap{210 * mb, 25 * mb, 15 * mb, 0}, false},
		{"quiet again", heap{210*mb + 1000, 25 * mb, 15 * mb, 0}, true},
		{"some work, collected", heap{220 * mb, 15 * mb, 15 * mb, 9 * mb}, false},
		{"quiet, with much that is free", heap{220*mb + 1000, 15 * mb, 15 * mb, 9 * mb}, true},
		{"too little to win", heap{220*mb + 2000, 5 * mb, 2 * mb, 0}, false},
	} {
		if got := w.quiet(step.heap); got != step.want {
			t.Errorf("step %d, %s: collects %v, want %v", i, step.name, got, step.want)
		}
	}
	if h := readHeap(); h.allocated == 0 || h.objects == 0 {
		t.Errorf("the runtime says %+v", h)
	}
}
