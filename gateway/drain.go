package gateway

import (
	"context"
	"math"
	"math/rand/v2"
	"time"

	"logux-proxy/gateway/transport"
)

// Times of draining.
const (
	drainStep  = 20 * time.Millisecond
	drainCount = time.Second // between two counts of who is left, which looks at all
	// drainHaste is how much faster than evenly clients are closed after the server was held up.
	drainHaste = 1.05
)

// Drain closes all connections with 1012, spread evenly over the given time: each when it has nothing in flight, or
// else at the end. It returns when the last one was told to go or ctx ends. No new connection may come meanwhile.
func (g *Gateway) Drain(ctx context.Context, over time.Duration) {
	began := time.Now()
	closed, left := 0, g.left(ctx)
	counted, before, credit := began, began, 0.0
	tick := time.NewTicker(drainStep)
	defer tick.Stop()
	for turn := 0; left > 0; turn++ {
		now := time.Now()
		passed := now.Sub(began)
		if passed >= over {
			g.release(ctx, math.MaxInt, turn, &release{all: true})
			return
		}
		// By now so many should have gone; more than a little faster than evenly nobody goes.
		total := float64(closed + left)
		due := int(math.Ceil(total*passed.Seconds()/over.Seconds())) - closed
		credit += drainHaste * total * min(now.Sub(before), 2*drainStep).Seconds() / over.Seconds()
		before = now
		n := g.release(ctx, min(due, int(credit)), turn, &release{})
		credit = min(credit-float64(n), max(1, total*drainStep.Seconds()/over.Seconds()))
		closed, left = closed+n, max(left-n, 0)
		if now.Sub(counted) >= drainCount || left == 0 {
			counted, left = now, g.left(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// release lets each loop in turn do like t, beginning with another one each turn, until n connections are closed or
// ctx ends. It returns how many were.
func (g *Gateway) release(ctx context.Context, n, turn int, like *release) (closed int) {
	for i := range g.handlers {
		if closed >= n {
			break
		}
		t := *like
		t.h, t.quota = g.handlers[(turn+i)%len(g.handlers)], n-closed
		t.closed = make(chan int, 1)
		if t.h.loop.Post(&t) {
			closed += wait(ctx, t.closed)
		}
	}
	return closed
}

func wait(ctx context.Context, n <-chan int) int {
	select {
	case n := <-n:
		return n
	case <-ctx.Done():
		return 0
	}
}

// A release closes some connections of a loop.
type release struct {
	h     *handler
	quota int  // how many, at most
	all   bool // also those with something in flight
	// rebalance: others have more room; then they are chosen at random. Else the server ends.
	rebalance bool
	closed    chan int
}

// Run implements transport.Task.
func (t *release) Run(l *transport.Loop) {
	closed := 0
	for closed < t.quota && t.next(l) {
		closed++
	}
	t.closed <- closed
}

// next closes one connection.
func (t *release) next(l *transport.Loop) (found bool) {
	if t.rebalance {
		t.h.released = rand.IntN(math.MaxInt32)
	}
	t.h.released = l.EachFrom(t.h.released, func(c *transport.Conn) bool {
		p, ok := c.Data.(*peer)
		if !ok || c.Closing() || !t.all && !p.idle() {
			return true
		}
		found = true
		if t.rebalance {
			p.close(closeRestart, "another server has more room", transport.CloseRebalance)
		} else {
			p.close(closeRestart, "the server restarts", transport.CloseDrain)
		}
		return false
	})
	return found
}

// idle reports whether nothing of the client is under way: it can go to another server without anything left behind but
// what it already has.
func (p *peer) idle() bool {
	return p.joined && !p.arrives() && len(p.pending) == 0 && p.conn.Waiting() == 0 && p.h.g.ledger.load(p).jobs == 0
}

// left counts the connections that nobody has told to go.
func (g *Gateway) left(ctx context.Context) (n int) {
	for _, h := range g.handlers {
		t := &leftCount{found: make(chan int, 1)}
		if h.loop.Post(t) {
			n += wait(ctx, t.found)
		}
	}
	return n
}

type leftCount struct{ found chan int }

// Run implements transport.Task.
func (t *leftCount) Run(l *transport.Loop) {
	n := 0
	l.Each(func(c *transport.Conn) {
		if !c.Closing() {
			n++
		}
	})
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
