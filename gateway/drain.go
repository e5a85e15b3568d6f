package gateway

import (
	"context"
	"time"

	"logux-proxy/gateway/transport"
)

// Drain closes all connections with 1012, spread evenly over the given time: those with nothing in flight
// first, the others at the end. It returns when the last one was told to go or ctx ends. No new
// connection may come meanwhile.
func (g *Gateway) Drain(ctx context.Context, over time.Duration) {
	const step = 50 * time.Millisecond
	steps := max(int(over/step), 1)
	tick := time.NewTicker(step)
	defer tick.Stop()
	for ; steps > 0; steps-- {
		left := 0
		for _, h := range g.handlers {
			left += h.shed(ctx, steps)
		}
		if left == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// shed closes one part in steps of the loop's connections and returns how many it had.
func (h *handler) shed(ctx context.Context, steps int) int {
	t := &shed{h: h, steps: steps, found: make(chan int, 1)}
	if !h.loop.Post(t) {
		return 0
	}
	select {
	case n := <-t.found:
		return n
	case <-ctx.Done():
		return 0
	}
}

type shed struct {
	h     *handler
	steps int
	found chan int
}

// Run implements transport.Task.
func (t *shed) Run(l *transport.Loop) {
	var idle, busy []*peer
	l.Each(func(c *transport.Conn) {
		p, ok := c.Data.(*peer)
		switch {
		case !ok || c.Closing():
		case t.h.g.ledger.load(p).jobs == 0 && len(p.pending) == 0 && c.Waiting() == 0:
			idle = append(idle, p)
		default:
			busy = append(busy, p)
		}
	})
	n := len(idle) + len(busy)
	quota := (n + t.steps - 1) / t.steps
	for i, p := range idle {
		if i == quota {
			break
		}
		p.close(closeRestart, "the server restarts", transport.CloseDrain)
	}
	if t.steps == 1 {
		for _, p := range busy {
			p.close(closeRestart, "the server restarts", transport.CloseDrain)
		}
	}
	t.found <- n
}

// WaitEmpty returns when no client is connected any more or ctx ends.
func (g *Gateway) WaitEmpty(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for g.hub.Counts().Members > 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
