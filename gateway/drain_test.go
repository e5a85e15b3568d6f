package gateway

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// Section 6: `SIGTERM`: clients "are closed with 1012 spread evenly over the drain time, each when it has nothing
// in flight (or at the end)".
func TestDrain(t *testing.T) {
	w := newWorld(t, nil)
	var idle []*browser
	for i := range 20 {
		idle = append(idle, w.connect(wire.NodeID(fmt.Sprintf("%d:a:tab", i))))
	}
	busy, late := w.connect("100:a:tab"), w.connect("101:a:tab")
	busy.act(1, inc)
	q := w.backend.next(t, inc)
	late.act(1, inc2)
	w.backend.next(t, inc2)

	var drained sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	drained.Go(func() { w.g.Drain(ctx, time.Second) })
	for _, c := range idle {
		c.want("close 1012")
		c.drop()
	}
	// Those with something in flight wait for it, and one of them until the end.
	q.agree()
	busy.wantProcessed(1)
	busy.want("close 1012")
	late.want("close 1012")
	busy.drop()
	late.drop()
	drained.Wait()
	w.g.WaitEmpty(ctx)
	w.members(0)
}

func TestDrainOfNobodyAndTwice(t *testing.T) {
	w := newWorld(t, nil)
	w.g.Drain(context.Background(), time.Hour) // returns at once
	c := w.connect("10:a:tab")
	w.g.Drain(context.Background(), 0)
	c.want("close 1012")
}

func TestDrainIsCancelled(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	c.act(1, inc)
	w.backend.next(t, inc)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w.g.Drain(ctx, time.Hour)
	c.alive()
}

// "spread evenly over the drain time": nobody is closed before an even rate would have come to it, also when there are few.
func TestDrainIsEven(t *testing.T) {
	for _, n := range []int{3, 60} {
		w := newWorld(t, nil)
		for i := range n {
			w.connect(wire.NodeID(fmt.Sprintf("%d:a:tab", i)))
		}
		const over = 1500 * time.Millisecond
		began := time.Now()
		var drained sync.WaitGroup
		drained.Go(func() { w.g.Drain(t.Context(), over) })
		told := func() (closed int64) { return w.server.Stats().Closed[transport.CloseDrain] }
		for seen := int64(0); seen < int64(n); {
			await(t, "another one is closed", func() bool { return told() > seen })
			seen = told()
			if even := time.Duration(seen-1) * over / time.Duration(n); time.Since(began) < even {
				t.Fatalf("%d of %d are closed after %v", seen, n, time.Since(began))
			}
		}
		drained.Wait()
	}
}

// A client that comes while its server drains, having been accepted before, is closed too.
func TestDrainFindsLateClients(t *testing.T) {
	w := newWorld(t, nil)
	w.connect("1:a:tab")
	w.connect("2:a:tab")
	var drained sync.WaitGroup
	drained.Go(func() { w.g.Drain(t.Context(), 3*time.Second) })
	await(t, "the first is closed", func() bool { return w.server.Stats().Closed[transport.CloseDrain] == 1 })
	late := w.connect("3:a:tab")
	late.want("close 1012")
	drained.Wait()
}
