package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"

	"logux-proxy/wire"
)

// Members knows which servers are alive, by gossip: eventually, and never surely. Nothing depends on it for being
// right; it decides who is asked, and when somebody is worth replacing. Any goroutine may call its methods.
type Members struct {
	// Static.
	cfg             MembersConfig
	bind, advertise netip.AddrPort
	seeds           []seed
	log             *zap.Logger
	view            *viewer
	lost            lostPeers
	receive         func([]byte) // of every user message, set before Run
	started         chan struct{}
	kick            chan struct{} // the meta changed

	joins, leaves, refused, metas atomic.Int64
	gossip                        atomic.Pointer[gossipTransport] // once Listen has succeeded

	mu sync.Mutex
	// Guarded by mu.
	meta    Meta
	urgent  bool
	list    *memberlist.Memberlist // while Run runs
	ring    *memberlist.Keyring
	addr    netip.AddrPort
	drained time.Time     // when the others were told that this server is draining
	leaving chan struct{} // closed when the goodbye is said; nil while nobody wants to leave
}

// NewMembers checks the configuration. Nothing happens before Run.
func NewMembers(c MembersConfig) (*Members, error) {
	c.defaults()
	bind, advertise, seeds, err := c.validate()
	if err != nil {
		return nil, err
	}
	ring, err := newKeyring(c.Keys)
	if err != nil {
		return nil, err
	}
	c.Meta.clamp()
	return &Members{
		cfg: c, bind: bind, advertise: advertise, seeds: seeds,
		log:     c.Log,
		view:    newViewer(c.Self),
		started: make(chan struct{}),
		kick:    make(chan struct{}, 1),
		meta:    c.Meta,
		ring:    ring,
	}, nil
}

// Run takes part in the cluster until ctx ends; then it says goodbye, unless Leave did, and returns when
// its goroutines are gone. It returns an error when the address cannot be bound. It may be called once.
func (m *Members) Run(ctx context.Context) error {
	list, err := m.create()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { m.updateMeta(ctx, list) })
	j := newJoiner(m, func(addr netip.AddrPort) error {
		if _, err := list.Join([]string{addr.String()}); err != nil {
			return fmt.Errorf("cluster: joining %s: %w", addr, err)
		}
		return nil
	})
	running.Go(func() { j.run(ctx, m.started) })
	<-ctx.Done()
	m.Leave()
	m.mu.Lock()
	m.list = nil
	m.mu.Unlock()
	err = list.Shutdown() // ends all streams, and with them what waits for one
	running.Wait()
	if err != nil {
		return fmt.Errorf("cluster: ending gossip: %w", err)
	}
	return nil
}

// Listen takes the address, so that a wrong one is known before anything runs. Run does it where nobody has. Who calls
// it and then not Run has to call Close.
func (m *Members) Listen() error {
	if m.gossip.Load() != nil {
		return nil
	}
	inner := m.cfg.transport
	if inner == nil {
		t, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{m.bind.Addr().String()},
			BindPort:  int(m.bind.Port()),
			Logger:    newGossipLog(m.log),
		})
		if err != nil {
			return fmt.Errorf("cluster: gossip address %s: %w", m.bind, err)
		}
		inner = t
	}
	gossip := newGossipTransport(inner, m.cfg.Cluster, m.ring != nil)
	ip, port, err := inner.FinalAdvertiseAddr(m.advertised())
	if err != nil {
		return fmt.Errorf("cluster: gossip address %s: %w", m.bind, errors.Join(err, gossip.Shutdown()))
	}
	addr, _ := netip.AddrFromSlice(ip)
	m.mu.Lock()
	m.addr = netip.AddrPortFrom(addr.Unmap(), uint16(port))
	m.mu.Unlock()
	m.gossip.Store(gossip)
	return nil
}

// Close gives the address back when Run was not called.
func (m *Members) Close() error {
	gossip := m.gossip.Load()
	if gossip == nil {
		return nil
	}
	if err := gossip.Shutdown(); err != nil {
		return fmt.Errorf("cluster: giving the gossip address back: %w", err)
	}
	return nil
}

// advertised is what memberlist is told of the address to advertise.
func (m *Members) advertised() (ip string, port int) {
	if m.cfg.Advertise == "" {
		return "", 0
	}
	return m.advertise.Addr().String(), int(m.advertise.Port())
}

// create starts memberlist.
func (m *Members) create() (*memberlist.Memberlist, error) {
	if err := m.Listen(); err != nil {
		return nil, err
	}
	gossip := m.gossip.Load()
	c := memberlist.DefaultLANConfig()
	c.Name = string(m.cfg.Self)
	c.Transport = gossip
	c.BindAddr, c.BindPort = m.bind.Addr().String(), int(m.bind.Port())
	if ip, port := m.advertised(); ip != "" {
		c.AdvertiseAddr, c.AdvertisePort = ip, port
	}
	c.Label = m.cfg.Cluster
	c.Keyring = m.ring
	c.Logger = newGossipLog(m.log)
	c.Delegate, c.Events, c.Alive = delegate{m}, delegate{m}, delegate{m}
	c.EnableCompression = false // what is large has been encoded tightly, and unpacking is what strangers like to abuse
	c.TCPTimeout = m.cfg.Timeout
	// A server that was killed is dead to the others within 10 s: the probe that finds it takes one interval, the suspicion
	// lasts 3 to 6 s, by how many confirm it.
	c.ProbeInterval, c.ProbeTimeout = time.Second, 500*time.Millisecond
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = 3, 2
	c.PushPullInterval = 15 * time.Second
	if m.cfg.tune != nil {
		m.cfg.tune(c)
	}
	list, err := memberlist.Create(c)
	if err != nil {
		err = errors.Join(err, gossip.Shutdown())
		return nil, fmt.Errorf("cluster: starting gossip: %w", err)
	}
	self := list.LocalNode()
	m.mu.Lock()
	m.list, m.addr = list, memberOf(self).Addr
	m.mu.Unlock()
	return list, nil
}

// Started is closed when Run has joined the others, or found that there are none to join.
func (m *Members) Started() <-chan struct{} { return m.started }

// Addr is where this server gossips; the zero value before Listen.
func (m *Members) Addr() netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.addr
}

// Self is the ID of this server.
func (m *Members) Self() wire.ServerID { return m.cfg.Self }

// View returns who is in the cluster.
func (m *Members) View() *View { return m.view.current.Load() }

// Peers returns the node IDs of the other servers. The caller must not change it.
func (m *Members) Peers() []wire.NodeID { return m.View().peers }

// Alive reports whether a server is a member. A server that was not heard of for some seconds is one still, and one
// behind a broken network is none, though it lives.
func (m *Members) Alive(id wire.ServerID) bool {
	_, ok := m.View().Get(id)
	return ok
}

// SetKeys replaces the gossip keys of a running server: ParseKeys says in which steps. A cluster without
// encryption cannot be given one while it runs.
func (m *Members) SetKeys(keys []Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return rotate(m.ring, keys)
}

// Leave says goodbye, so that the others know at once, and blocks until one of them has heard it or LeaveTimeout has
// passed; for a second more when the server began to drain just now. The server goes on to answer until Run ends, but is no member any more. SetDraining should have been
// called before: the others look for one that went without.
func (m *Members) Leave() {
	m.mu.Lock()
	list, leaving := m.list, m.leaving
	first := leaving == nil
	if first {
		leaving = make(chan struct{})
		m.leaving = leaving
	}
	m.mu.Unlock()
	if !first {
		<-leaving
		return
	}
	defer close(leaving)
	if list == nil {
		return
	}
	m.spreadDraining()
	if err := list.Leave(m.cfg.LeaveTimeout); err != nil {
		m.log.Warn("No other server heard the goodbye", zap.Error(err))
	}
}

// drainSpread is how long the news that a server drains take to reach everybody. The goodbye would overtake them.
const drainSpread = time.Second

// spreadDraining waits until the others know that this server drains.
func (m *Members) spreadDraining() {
	m.mu.Lock()
	draining, told := m.meta.Draining, m.drained
	m.mu.Unlock()
	if !draining || len(m.Peers()) == 0 {
		return
	}
	wait := drainSpread
	if !told.IsZero() {
		wait -= time.Since(told)
	}
	<-time.After(wait)
}

var errNotRunning = errors.New("cluster: gossip is not running")

// send hands a message to a member over a stream. It blocks for Timeout at most; no error does not mean that the
// member has read it.
func (m *Members) send(to *Member, msg []byte) error {
	m.mu.Lock()
	list := m.list
	m.mu.Unlock()
	if list == nil {
		return errNotRunning
	}
	node := memberlist.Node{Name: string(to.ID), Addr: to.Addr.Addr().AsSlice(), Port: to.Addr.Port()}
	if err := list.SendReliable(&node, msg); err != nil {
		return fmt.Errorf("cluster: sending to %s: %w", to.ID, err)
	}
	return nil
}

// MembersStats counts what happened since the start.
type MembersStats struct {
	Members int   // now, with this server
	Joins   int64 // of other servers
	Leaves  int64 // of other servers, whether they said goodbye or not
	Refused int64 // servers that there was no room for
	Cut     int64 // streams of others that were closed, being too many or too long
	Strange int64 // packets and streams that are not of this cluster
	Metas   int64 // updates of Meta sent
	Score   int   // memberlist's health score of this server: 0 is well
}

// Stats returns the counters.
func (m *Members) Stats() MembersStats {
	s := MembersStats{
		Members: len(m.View().Members),
		Joins:   m.joins.Load(), Leaves: m.leaves.Load(), Refused: m.refused.Load(), Metas: m.metas.Load(),
	}
	if gossip := m.gossip.Load(); gossip != nil {
		s.Cut, s.Strange = gossip.refused.Load(), gossip.strange.Load()
	}
	m.mu.Lock()
	list := m.list
	m.mu.Unlock()
	if list != nil {
		s.Score = list.GetHealthScore()
	}
	return s
}
