package gateway

import (
	"context"
	"math/rand/v2"
)

// Shed closes up to n connections with 1012, chosen at random among those whose clients have nothing in flight, so that
// they connect to other servers. It returns how many it closed, and blocks until the loops have done it or ctx ends.
func (g *Gateway) Shed(ctx context.Context, n int) int {
	if n <= 0 || len(g.handlers) == 0 {
		return 0
	}
	return g.release(ctx, n, rand.IntN(len(g.handlers)), &release{rebalance: true})
}

// Connected is how many clients are connected and let in. Any goroutine may call it.
func (g *Gateway) Connected() int { return int(g.hub.Counts().Members) }
