package gateway

import (
	"context"
	"math/rand/v2"
	"time"

	"logux-proxy/gateway/transport"
)

// gapWindow is the time over which clients are closed that may have missed something.
const gapWindow = 10 * time.Second

// Gap says that envelopes may be missing and nobody has them any more. The clients with subscriptions are closed over
// a while: they come back and subscribe with since, so that the back-end gives them what is missing. It does
// not block; any goroutine may call it.
func (g *Gateway) Gap() {
	select {
	case g.gaps <- struct{}{}:
	default: // one that has not begun yet is as good
	}
}

// mendGaps closes clients after each Gap until ctx ends.
func (g *Gateway) mendGaps(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.gaps:
		}
		g.log.Warn("Actions may be missing that nobody has any more: clients with subscriptions connect anew")
		for _, h := range g.handlers {
			h.loop.Post(&mend{h: h})
		}
	}
}

// mend tells each client of a loop with a subscription when to go.
type mend struct{ h *handler }

// Run implements transport.Task.
func (t *mend) Run(l *transport.Loop) {
	l.Each(func(c *transport.Conn) {
		p, ok := c.Data.(*peer)
		if !ok || !p.joined || c.Closing() || t.h.g.hub.Subscriptions(&p.member) == 0 {
			return
		}
		if p.passage != nil && p.passage.leaveAt == 0 {
			p.passage.leaveAt = l.Now() + rand.N(gapWindow)
			p.rearm()
		}
	})
}
