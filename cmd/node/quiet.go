package main

import (
	"context"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

// giveBack returns memory to the system when the node has become quiet, until ctx ends. A storm of
// connections leaves garbage as large as what they need at rest, and with nobody doing much the runtime would
// keep it for minutes: it collects when the heap has doubled.
func giveBack(ctx context.Context) {
	const every = 2 * time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	var w heapWatch
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if w.quiet(readHeap()) {
				debug.FreeOSMemory()
			}
		}
	}
}

// A heap is what the runtime says of its heap, in bytes.
type heap struct {
	allocated uint64 // since the start
	objects   uint64 // now, garbage included
	live      uint64 // after the last collection
	free      uint64 // kept for later and not yet returned to the system
}

func readHeap() heap {
	s := []runtimemetrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	runtimemetrics.Read(s)
	return heap{allocated: s[0].Value.Uint64(), objects: s[1].Value.Uint64(), live: s[2].Value.Uint64(), free: s[3].Value.Uint64()}
}

// A heapWatch decides when collecting is worth it.
type heapWatch struct{ last heap }

// quiet is given the heap at even times. It reports true when hardly anything was allocated since the last
// time, so that nobody is slowed down and the garbage does not come back at once, and there is much to win.
func (w *heapWatch) quiet(now heap) bool {
	const (
		little = 50 // allocated since: less than one part in so many of the heap
		much   = 5  // to win: more than one part in so many of it
		least  = 4 << 20
	)
	last := w.last
	w.last = now
	win := now.free + now.objects - min(now.live, now.objects)
	return last.allocated != 0 && now.allocated-last.allocated < max(now.objects/little, 64<<10) &&
		win > max(now.objects/much, least)
}
