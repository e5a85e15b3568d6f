package main

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"logux-proxy/backend"
	"logux-proxy/cluster"
	"logux-proxy/gateway"
	"logux-proxy/gateway/transport"
)

// A node is one running proxy: the packages fitted together. How it lives and dies is in Run.
type node struct {
	// Static
	config  *Config
	log     *zap.Logger
	start   time.Time
	tracing *tracing // nil when nothing is traced
	backend *backend.Client
	gateway *gateway.Gateway
	cluster *clusterNode // nil for a single node
	server  *transport.Server
	control *httpListener // nil when the control API shares the WebSocket's port
	admin   *httpListener // nil when it is off

	draining atomic.Bool
	wish     *drainRequest
}

// runNode builds the packages from c, runs them until ctx ends, and stops them in order.
func runNode(ctx context.Context, c *Config, log *zap.Logger, m *metrics) error {
	n, err := newNode(c, log, m)
	if err != nil {
		return err
	}
	return n.Run(ctx)
}

// newNode builds the packages and opens the listeners, so that a wrong setting or a taken port ends
// the start. Nothing serves yet.
func newNode(c *Config, log *zap.Logger, m *metrics) (*node, error) {
	n := &node{config: c, log: log, start: time.Now(), wish: newDrainRequest()}
	attempts := backend.NewAttempts(nil)
	bc, err := backendConfig(c, m, log)
	if err != nil {
		return nil, err
	}
	if n.tracing = newTracing(c, log); n.tracing != nil {
		bc.Tracer = n.tracing
	}
	if n.backend, err = backend.New(bc); err != nil {
		return nil, err
	}
	gc, err := gatewayConfig(c, m, log)
	if err != nil {
		return nil, err
	}
	var shared backend.AttemptsCount = attempts
	gc.Backend, gc.Bus = n.backend, cluster.Alone{}
	if c.Redis != nil {
		if n.cluster, err = newClusterNode(c, attempts, log); err != nil {
			return nil, err
		}
		n.cluster.configure(&gc)
		shared = n.cluster.count(attempts)
	}
	gc.Attempts = shared
	if n.tracing != nil {
		gc.Tracer = n.tracing
	}
	if n.gateway, err = gateway.New(gc); err == nil {
		err = n.listen(shared, m)
	}
	if err != nil {
		return nil, errors.Join(err, n.abandon())
	}
	return n, nil
}

// listen opens the listeners: WebSocket, control API, admin.
func (n *node) listen(attempts backend.AttemptsCount, m *metrics) error {
	c := n.config
	cc := controlConfig(c, n.log)
	cc.Attempts = attempts
	cc.Addr = func(r *http.Request) netip.Addr { return transport.ClientAddr(r, c.TrustedProxies) }
	pages := cc
	cc.Deliverer = n.gateway
	if n.tracing != nil {
		cc.Tracer = n.tracing
		m.watchTracing(n.tracing.stats)
	}

	tc, err := transportConfig(c, n.log)
	if err != nil {
		return err
	}
	tc.NewHandler, tc.Fallback = n.gateway.NewHandler, backend.NewControl(cc)
	if c.ControlAddr != "" {
		tc.Fallback = backend.NewControl(pages)
		if n.control, err = newHTTPListener("control-addr", c.ControlAddr, backend.NewControl(cc), n.log); err != nil {
			return err
		}
	}
	if n.server, err = transport.New(tc); err != nil {
		return listenError("port", c.listenAddr(), err)
	}
	m.watchTransport(n.server.Stats, len(n.server.Loops()))
	m.watchGateway(n.gateway.Stats)
	m.watchBackend(n.backend.Stats)
	n.admin, err = newAdmin(c, n.pages(m), n.log)
	return err
}

// pages are those of the admin listener.
func (n *node) pages(m *metrics) adminPages {
	parts := []part{{"connections", n.ready, nil}}
	if n.cluster != nil {
		m.watchCluster(n.cluster)
		parts = append(parts, part{"cluster", n.cluster.ready, n.cluster.detail})
	}
	return adminPages{
		parts: parts, metrics: m.handler(),
		cluster: clusterPage(n.overview), disconnect: disconnectHandler(n.gateway, n.log),
		drain: n.wish.handler(n.drainPlan, n.log),
	}
}

// abandon gives back what a failed start opened.
func (n *node) abandon() error {
	n.backend.Close()
	n.tracing.stop()
	var err error
	if n.cluster != nil {
		err = n.cluster.abandon()
	}
	if n.control != nil {
		err = errors.Join(err, n.control.Close())
	}
	if n.server != nil {
		n.server.StopAccepting()
	}
	return err
}

var errDraining = errors.New("the node is stopping")

// ready is for /readyz. A back-end that is away does not make a node unready: its clients should stay.
func (n *node) ready() error {
	if n.draining.Load() {
		return errDraining
	}
	return nil
}

// Run serves until ctx ends, or an operator asks for it, and then stops in order: readiness fails; load balancers get time to notice; no
// new connection comes in; the clients are closed bit by bit; then the listeners end, what connects the
// node with others, the back-end's client, and last the admin listener, which an operator may want to look at meanwhile. It also ends
// when a listener fails.
func (n *node) Run(ctx context.Context) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var running sync.WaitGroup
	serve := func(run func(context.Context) error) (stop func()) {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan struct{})
		running.Go(func() {
			defer close(done)
			if err := run(own); err != nil {
				fail(err)
			}
		})
		return func() { cancel(); <-done }
	}
	stopAdmin := serve(n.admin.Run)
	stopSweep := serve(func(ctx context.Context) error { n.gateway.Run(ctx); return nil })
	stopGivingBack := serve(func(ctx context.Context) error { giveBack(ctx); return nil })
	stopCluster := func() {}
	if n.cluster != nil {
		stopCluster = n.cluster.serve(n.gateway, serve)
	}
	stopServer := serve(n.server.Run)
	stopControl := serve(n.control.Run)
	logStart(n.log, n.config, addresses{n.server.Addr().String(), n.control.addr(), n.admin.addr(), n.cluster.addr()})

	select {
	case <-ctx.Done():
	case <-n.wish.asked:
	}
	err := context.Cause(ctx)
	if err == nil || errors.Is(err, context.Canceled) {
		err = nil // a wish or a signal, not a failure
		n.drain()
	}
	n.cluster.draining()
	stopped := n.stopWithin(stopTime, func() {
		stopControl()
		stopServer()
		// Before the back-end's client: what it gives up then is no outcome of ours. Another node asks for it.
		stopCluster()
		stopSweep()
		stopGivingBack()
		n.backend.Close()
		n.tracing.stop()
		stopAdmin()
		running.Wait()
	})
	if stopped {
		n.log.Info("Logux proxy stopped")
	}
	return err
}

// stopTime is what everything gets to stop once the clients are gone. With drainMargin it is a little less than the five
// seconds beyond the drain after which an orchestrator may kill the process.
const stopTime = 2500 * time.Millisecond

// stopWithin does stop, and reports whether it ended in time. If not, the process ends all the same: Redis or the back-end
// hangs, and what could not be told to it now is as if the node had been killed. The other nodes hear the goodbye.
func (n *node) stopWithin(limit time.Duration, stop func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		stop()
	}()
	select {
	case <-done:
		return true
	case <-time.After(limit):
		n.log.Warn("Logux proxy stopped without having told everything to Redis or the other nodes")
		n.cluster.leave()
		return false
	}
}

// drain lets the clients go.
func (n *node) drain() {
	c := n.config
	n.draining.Store(true)
	n.cluster.draining()
	n.log.Info("Logux proxy is stopping", zap.Duration("grace", c.DrainGrace), zap.Duration("drain", c.DrainTime),
		zap.Int("clients", n.gateway.Connected()))
	time.Sleep(c.DrainGrace)
	n.server.StopAccepting()
	ctx, cancel := context.WithTimeout(context.Background(), c.DrainTime+drainMargin)
	defer cancel()
	n.gateway.Drain(ctx, c.DrainTime)
	n.gateway.WaitEmpty(ctx)
	if n.cluster != nil {
		// Outcomes are for the nodes where the clients are now.
		n.gateway.WaitSettled(ctx)
	}
}

// drainMargin is the time that the last clients get to answer their close frames, and the back-end to answer what they
// had asked.
const drainMargin = 2 * time.Second
