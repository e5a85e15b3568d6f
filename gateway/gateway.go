package gateway

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"logux-proxy/gateway/hub"
	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// A Gateway is the Logux server of one process.
type Gateway struct {
	// Static
	cfg        Config
	log        *zap.Logger
	hub        *hub.Hub[*peer]
	ledger     *ledger
	ids        ids
	authPrefix string
	handlers   []*handler // complete before the first connection
	start      time.Time

	// Safe for every goroutine
	subprotocol atomic.Pointer[wire.RawJSON] // the application's, from its last authenticated
	auths       atomic.Uint64
	published   atomic.Uint64
	matched     atomic.Int64
	duplicates  atomic.Int64
	zombies     atomic.Int64
	turns       atomic.Uint64 // clients announced
	handovers   atomic.Int64
	claims      atomic.Int64
	taken       atomic.Int64 // orphans of dead servers
	settling    atomic.Int64 // outcomes and records that the store has not taken yet
	gapCloses   atomic.Int64
	gaps        chan struct{}
	outcomes    outcomes
	orphans     orphans
}

// New checks c. It starts nothing.
func New(c Config) (*Gateway, error) {
	c.defaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.Session.Claims = c.Handovers != nil
	g := &Gateway{
		cfg: c, log: c.Log, start: time.Now(),
		hub: hub.New[*peer](), ledger: newLedger(), gaps: make(chan struct{}, 1),
		ids:        ids{server: c.Session.Server, wall: func() int64 { return time.Now().UnixMilli() }},
		authPrefix: rand.Text()[:8] + "-",
	}
	g.ledger.join(g)
	return g, nil
}

// NewHandler makes the handler of one loop; it is for transport.Config. All calls come before the first
// connection.
func (g *Gateway) NewHandler(l *transport.Loop) transport.Handler {
	h := &handler{g: g, loop: l, decoder: wire.Decoder{MaxDepth: g.cfg.MaxDepth}}
	g.handlers = append(g.handlers, h)
	return h
}

// Run forgets what is not needed any more, and looks after clients that came from other servers, until ctx ends.
func (g *Gateway) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { g.inquire(ctx) })
	running.Go(func() { g.mendGaps(ctx) })
	g.sweep(ctx)
	running.Wait()
}

func (g *Gateway) sweep(ctx context.Context) {
	const every = 30 * time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if len(g.handlers) > 0 {
				g.handlers[0].loop.Post(sweep{g})
			}
		}
	}
}

// sweep runs on a loop for its clock, which is also the one that times the clients' leaving.
type sweep struct{ g *Gateway }

// Run implements transport.Task.
func (s sweep) Run(l *transport.Loop) { s.g.ledger.sweep(l.Now() - s.g.cfg.Remember) }

// ownSubprotocol is the subprotocol of the server's own actions; nil while nobody knows it.
func (g *Gateway) ownSubprotocol() wire.RawJSON {
	if s := g.subprotocol.Load(); s != nil {
		return *s
	}
	return g.cfg.Session.Subprotocol
}
