package cluster

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// A Kind says whom a frame is for. The numbers go over the network: they are never used for anything else.
type Kind byte

// Kinds of frames.
const (
	KindBus      Kind = 1 // replays and direct delivery
	KindAttempts Kind = 2 // wrong credentials by address
	kinds             = 16
)

var (
	// ErrNoPeer is returned for a server that is not in the cluster.
	ErrNoPeer = errors.New("cluster: there is no such server")
	// ErrBacklog is returned when too much waits for a server already.
	ErrBacklog = errors.New("cluster: too much waits for the server")
	// ErrFrameSize is returned for a frame over the limit.
	ErrFrameSize = errors.New("cluster: the frame is too long")
)

// LinksConfig says how much a Links holds. A zero value means the default in brackets.
type LinksConfig struct {
	MaxFrame   int // bytes of one frame [16 MiB]
	MaxMessage int // bytes sent at once; longer frames travel in pieces [256 KiB]
	MaxQueue   int // bytes that wait for one server [16 MiB]
	Log        *zap.Logger
}

func (c *LinksConfig) defaults() {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.MaxFrame, 16<<20)
	set(&c.MaxMessage, 256<<10)
	set(&c.MaxQueue, 16<<20)
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
}

// Links carries frames between servers, past Redis: to each other member there is one link with a queue and
// goroutines of its own, so that a server that is stuck costs its queue and delays nobody else. Frames arrive
// in order and once, as long as neither server takes the other for dead; a frame that still waits when its
// server goes is dropped. Any goroutine may call the methods.
type Links struct {
	// Static.
	cfg     LinksConfig
	members *Members
	log     *zap.Logger

	streams atomic.Uint64 // number of the last stream
	stats   linkStats

	mu sync.RWMutex
	// Guarded by mu.
	receivers [kinds]func(wire.NodeID, []byte)
	links     map[wire.ServerID]*link
	byNode    map[wire.NodeID]*link // the newest life of each server
	peers     []wire.NodeID         // of byNode, in order; replaced, never changed
}

type linkStats struct {
	sent, received, resent, dropped, refused, malformed atomic.Int64
}

// LinksStats counts frames and messages since the start.
type LinksStats struct {
	Links     int   // now
	Queued    int   // bytes that wait now
	Sent      int64 // frames that a server has acknowledged
	Received  int64 // frames
	Resent    int64 // messages sent again
	Dropped   int64 // frames whose server went away, or that nobody here is there for
	Refused   int64 // frames that did not fit into a queue
	Malformed int64 // messages that made no sense or were for somebody else
}

// NewLinks returns the links of members, which must not be running yet.
func NewLinks(c LinksConfig, members *Members) *Links {
	c.defaults()
	l := &Links{cfg: c, members: members, log: c.Log, links: make(map[wire.ServerID]*link), byNode: make(map[wire.NodeID]*link)}
	members.receive = l.receive
	return l
}

// A Lane is the use of the links for one kind of frames.
type Lane struct {
	links *Links
	kind  Kind
}

// Lane gives frames of one kind to receive, from now on. Receive is called by a goroutine of the sending server's
// link, one frame after another; while it blocks, that server waits. The frame is the receiver's.
func (l *Links) Lane(kind Kind, receive func(from wire.NodeID, frame []byte)) *Lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.receivers[kind%kinds] = receive
	return &Lane{links: l, kind: kind % kinds}
}

// Peers returns the node IDs of the servers that there are links to. The caller must not change it.
func (n *Lane) Peers() []wire.NodeID {
	n.links.mu.RLock()
	defer n.links.mu.RUnlock()
	return n.links.peers
}

// Send queues a frame for a server and does not block. The frame is not the caller's any more. No error does not
// mean that it arrives: the server may go away.
func (n *Lane) Send(to wire.NodeID, frame []byte) error { return n.links.send(to, n.kind, frame) }

func (l *Links) send(to wire.NodeID, kind Kind, frame []byte) error {
	if len(frame) > l.cfg.MaxFrame {
		return ErrFrameSize
	}
	l.mu.RLock()
	k := l.byNode[to]
	l.mu.RUnlock()
	if k == nil {
		return ErrNoPeer
	}
	if !k.push(kind, frame) {
		l.stats.refused.Add(1)
		return ErrBacklog
	}
	return nil
}

// Run keeps a link to each member until ctx ends, and returns when all are gone. It may be called once.
func (l *Links) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	defer l.reconcile(ctx, &View{}, &running)
	for {
		view := l.members.View()
		l.reconcile(ctx, view, &running)
		select {
		case <-ctx.Done():
			return
		case <-view.Changed():
		}
	}
}

// reconcile ends links to servers that are no members any more and begins those to new ones.
func (l *Links) reconcile(ctx context.Context, view *View, running *sync.WaitGroup) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed := false
	for id, k := range l.links {
		if _, ok := view.Get(id); !ok {
			delete(l.links, id)
			k.cancel()
			changed = true
		}
	}
	for _, m := range view.Members {
		if m.ID == l.members.Self() || l.links[m.ID] != nil {
			continue
		}
		k := newLink(l, m)
		l.links[m.ID] = k
		ctx, cancel := context.WithCancel(ctx)
		k.cancel = cancel
		running.Go(func() { k.runSend(ctx) })
		running.Go(func() { k.runReceive(ctx) })
		changed = true
	}
	if !changed {
		return
	}
	clear(l.byNode)
	for id, k := range l.links {
		if old := l.byNode[id.Node()]; old == nil || old.to.ID.Started() < id.Started() {
			l.byNode[id.Node()] = k
		}
	}
	l.peers = slices.Sorted(maps.Keys(l.byNode))
}

// receive takes a message off memberlist: it copies and returns.
func (l *Links) receive(msg []byte) {
	h, pieces, err := parseLinkHeader(msg)
	if err != nil || h.to != l.members.Self() {
		l.stats.malformed.Add(1)
		return
	}
	l.mu.RLock()
	k := l.links[h.from]
	l.mu.RUnlock()
	if k == nil { // we will hear soon that it is a member, and it sends this again
		return
	}
	k.receive(&h, pieces)
}

// deliver hands a frame to whom it is for. It may block.
func (l *Links) deliver(from wire.NodeID, kind Kind, frame []byte) {
	l.mu.RLock()
	receive := l.receivers[kind%kinds]
	l.mu.RUnlock()
	if receive == nil || kind >= kinds {
		l.stats.dropped.Add(1)
		return
	}
	l.stats.received.Add(1)
	receive(from, frame)
}

// Stats returns the counters.
func (l *Links) Stats() LinksStats {
	s := LinksStats{
		Sent: l.stats.sent.Load(), Received: l.stats.received.Load(), Resent: l.stats.resent.Load(),
		Dropped: l.stats.dropped.Load(), Refused: l.stats.refused.Load(), Malformed: l.stats.malformed.Load(),
	}
	l.mu.RLock()
	links := make([]*link, 0, len(l.links))
	for _, k := range l.links {
		links = append(links, k)
	}
	l.mu.RUnlock()
	s.Links = len(links)
	for _, k := range links {
		s.Queued += k.waiting()
	}
	return s
}
