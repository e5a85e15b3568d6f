package gateway

import (
	"context"
	"time"

	"logux-proxy/gateway/transport"
)

// WaitSettled returns when no action of a client is under way at the back-end any more and all that other servers have to
// know about the clients that were here was handed to the store, or when ctx ends; it reports whether the former. It is for
// the end, after Drain and WaitEmpty; the loops, the bus and the store are to run on meanwhile.
func (g *Gateway) WaitSettled(ctx context.Context) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		// First the loops: a connection may have left the hub, and what it leaves behind is not written yet.
		if g.passLoops(ctx) && g.settled() {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// settled reports whether nothing is under way. An outcome is counted as settling before its action counts as ended.
func (g *Gateway) settled() bool {
	return g.ledger.running() == 0 && g.orphans.open() == 0 && g.settling.Load() == 0
}

// passLoops waits until each loop has done what it was given before; not ok if ctx ends first.
func (g *Gateway) passLoops(ctx context.Context) (ok bool) {
	for _, h := range g.handlers {
		passed := make(chan struct{})
		if !h.loop.Post(passing(passed)) {
			continue // it has ended
		}
		select {
		case <-passed:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// passing is closed when a loop comes to it.
type passing chan struct{}

// Run implements transport.Task.
func (p passing) Run(*transport.Loop) { close(p) }
