package main

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"logux-proxy/backend"
	"logux-proxy/cluster"
	"logux-proxy/gateway"
	"logux-proxy/wire"
)

// A clusterNode is what a node has beside a single one: the bus over Redis, what it leaves behind there for other
// nodes, and, with gossip, the other nodes.
type clusterNode struct {
	// Static
	config    *Config
	log       *zap.Logger
	life      wire.ServerID
	start     time.Time
	bus       *cluster.Bus
	store     *cluster.RedisStore
	handovers *cluster.Handovers
	queue     *cluster.HandoverQueue
	members   *cluster.Members // nil without gossip, like links and attempts
	links     *cluster.Links
	attempts  *cluster.Attempts
	gateway   *gateway.Gateway // set by serve, before anything runs

	health atomic.Pointer[busHealth] // as watch saw it last
	looks  rebalanceLooks
}

// newClusterNode builds the packages for a node that begins its life now, and takes the gossip address. wrong
// counts the wrong attempts here.
func newClusterNode(c *Config, wrong *backend.Attempts, log *zap.Logger) (*clusterNode, error) {
	now := time.Now()
	n := &clusterNode{config: c, log: log, life: wire.NewServerID(wire.NodeID("server:"+c.ID), now), start: now}
	n.health.Store(&busHealth{state: cluster.BusDown})
	if err := n.tryRedis(); err != nil {
		return nil, err
	}
	bc := cluster.BusConfig{Redis: c.Redis, Server: n.life.Node(), Receiver: receiver{n}, Log: log}
	if c.gossipAddr() != "" {
		lane, err := n.gossip(wrong)
		if err != nil {
			return nil, err
		}
		bc.Mesh = lane
	}
	var err error
	if n.bus, err = cluster.NewBus(bc); err != nil {
		return nil, errors.Join(err, n.abandon())
	}
	n.store = c.Redis.HandoverStore()
	n.handovers, err = cluster.NewHandovers(cluster.HandoversConfig{
		Self: n.life, Store: n.store, Alive: n.alive, Log: log,
		Orphan: func(c wire.Claim, known *wire.Outcome) { n.gateway.Orphan(c, known) },
	})
	if err != nil {
		return nil, errors.Join(err, n.abandon())
	}
	n.queue = cluster.NewHandoverQueue(n.handovers)
	return n, nil
}

// redisPatience is how long Redis may take to answer at the start.
const redisPatience = 1500 * time.Millisecond

// tryRedis finds out whether Redis lets us do what we need. When it is only away the node starts: it serves the
// clients that it has, and the bus heals when Redis comes.
func (n *clusterNode) tryRedis() error {
	ctx, cancel := context.WithTimeout(context.Background(), redisPatience)
	defer cancel()
	r := n.config.Redis
	handovers := make(chan error, 1)
	go func() { handovers <- r.CheckHandovers(ctx, redisPatience) }()
	err, second := r.Check(ctx, redisPatience), <-handovers
	if err == nil || !errors.Is(err, cluster.ErrRefused) && errors.Is(second, cluster.ErrRefused) {
		err = second
	}
	if err == nil {
		return nil
	}
	text := strings.NewReplacer("cluster: trying Redis ", "", cluster.ErrRefused.Error()+": ", "", "\n", "; ").Replace(err.Error())
	if !errors.Is(err, cluster.ErrRefused) {
		n.config.Warnings = append(n.config.Warnings, Warning{
			"Redis does not answer: " + text,
			"The node has started all the same and tries again. Until then actions reach only those nodes that it gossips with.",
		})
		return nil
	}
	setting := "redis"
	if n.config.RedisFile != "" {
		setting = "redis-file"
	}
	return &settingError{
		Setting: setting, Wrong: "leads to a Redis that refuses us: " + cut(oneLine(text), 200),
		Mend: "mend the user, the password, the certificate, or what the user may do (the README lists that)",
	}
}

// gossip builds what goes past Redis and returns the way of the bus there.
func (n *clusterNode) gossip(wrong *backend.Attempts) (*cluster.Lane, error) {
	c := n.config
	members, err := cluster.NewMembers(cluster.MembersConfig{
		Self: n.life, Bind: c.gossipAddr(), Advertise: c.gossipAdvertise(), Cluster: c.Cluster, Join: c.Join,
		Keys: c.GossipKey, AllowPlain: c.GossipPlain,
		Meta: cluster.Meta{Release: cut(releaseName(), 64), Envelope: wire.EnvelopeVersion, Bus: cluster.BusDown},
		Log:  n.log,
	})
	if err != nil {
		return nil, err
	}
	if err := members.Listen(); err != nil {
		return nil, listenError("gossip-addr", c.gossipAddr(), err)
	}
	n.members = members
	n.links = cluster.NewLinks(cluster.LinksConfig{Log: n.log}, members)
	n.attempts = cluster.NewAttempts(n.links, n.log, func(ip netip.Addr, times int) {
		for range times {
			wrong.Failed(ip)
		}
	})
	return n.links.Lane(cluster.KindBus, func(from wire.NodeID, frame []byte) { n.bus.ReceiveFrame(from, frame) }), nil
}

// addr is where the node gossips; "" where it does not. It may be called on nil, like draining.
func (n *clusterNode) addr() string {
	if n == nil || n.members == nil {
		return ""
	}
	return n.members.Addr().String()
}

// draining tells the others that this node is about to go.
func (n *clusterNode) draining() {
	if n != nil && n.members != nil {
		n.members.SetDraining(true)
	}
}

// leaveTime is how long a node that is late says goodbye.
const leaveTime = 400 * time.Millisecond

// leave says goodbye to the others out of turn.
func (n *clusterNode) leave() {
	if n == nil || n.members == nil {
		return
	}
	said := make(chan struct{})
	go func() {
		defer close(said)
		n.members.Leave()
	}()
	select {
	case <-said:
	case <-time.After(leaveTime):
	}
}

// abandon gives back what a failed start opened.
func (n *clusterNode) abandon() error {
	var err error
	if n.members != nil {
		err = n.members.Close()
	}
	if n.store != nil {
		err = errors.Join(err, n.store.Close())
	}
	return err
}

// Why the node is not ready.
var (
	errJoining = errors.New("looking for the other nodes")
	errCutOff  = errors.New("this node does not reach Redis, and others do")
)

// joinPatience is how long a node looks for the others before it takes clients all the same.
const joinPatience = 10 * time.Second

// ready is for /readyz. While Redis is away from all nodes they are as ready as they can be.
func (n *clusterNode) ready() error {
	if n.health.Load().cutOff {
		return errCutOff
	}
	if n.members == nil {
		return nil
	}
	select {
	case <-n.members.Started():
		return nil
	default:
	}
	if time.Since(n.start) > joinPatience {
		return nil
	}
	return errJoining
}

// detail says how the bus stands, for /readyz.
func (n *clusterNode) detail() string {
	text := "bus " + string(n.health.Load().state)
	if n.members != nil {
		text += ", nodes " + strconv.Itoa(len(n.members.View().Members))
	}
	return text
}

// alive asks the gossip for another node. Without gossip none is ever taken for dead.
func (n *clusterNode) alive(id wire.ServerID) bool { return n.members == nil || n.members.Alive(id) }

// configure says to the gateway what it gets from the cluster.
func (n *clusterNode) configure(gc *gateway.Config) {
	gc.Bus, gc.Life, gc.Handovers, gc.Alive = n.bus, n.life, n.queue, n.alive
	if n.members != nil {
		gc.Peers = func() int { return len(n.members.Peers()) }
	}
}

// count is wrong, told to the other nodes too.
func (n *clusterNode) count(wrong *backend.Attempts) backend.AttemptsCount {
	if n.attempts == nil {
		return wrong
	}
	return sharedAttempts{wrong, n.attempts}
}

// sharedAttempts tells other nodes what it counts.
type sharedAttempts struct {
	*backend.Attempts
	others *cluster.Attempts
}

// Failed implements backend.AttemptsCount and gateway.Attempts.
func (s sharedAttempts) Failed(ip netip.Addr) {
	s.Attempts.Failed(ip)
	s.others.Failed(ip)
}

// A receiver is the gateway, which is built after the bus.
type receiver struct{ n *clusterNode }

// Receive implements cluster.Receiver.
func (r receiver) Receive(e *wire.Envelope) { r.n.gateway.Receive(e) }

// Gap implements cluster.BusReceiver.
func (r receiver) Gap() { r.n.gateway.Gap() }

// resign leaves what this node had to the others.
func (n *clusterNode) resign() {
	if n.bus.Stats().State == cluster.BusDown {
		return // it would wait for nothing
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := n.handovers.Resign(ctx); err != nil {
		n.log.Warn("Other nodes take over a few seconds late what this one leaves", zap.Error(err))
	}
}

// serve runs everything by start, which runs a function until the one that it returns is called. The result ends it
// all again, in order, once the clients are gone: what they left is written, what was published goes out, and then the
// others hear the goodbye.
func (n *clusterNode) serve(g *gateway.Gateway, start func(func(context.Context) error) (stop func())) (stop func()) {
	n.gateway = g
	run := func(f func(context.Context)) func() {
		return start(func(ctx context.Context) error { f(ctx); return nil })
	}
	var stops []func()
	if n.members != nil {
		stops = append(stops, start(n.members.Run), run(n.links.Run), n.members.Leave, run(n.attempts.Run))
	}
	stops = append(stops, run(n.bus.Run), n.resign, run(n.handovers.Run), run(n.queue.Run), run(n.watch))
	if n.members != nil {
		stops = append(stops, run(n.rebalance))
	}
	return func() {
		for i := range stops {
			stops[len(stops)-1-i]()
		}
		if err := n.store.Close(); err != nil {
			n.log.Warn("Connections to Redis were not closed", zap.Error(err))
		}
	}
}
