package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// Bounds of what strangers can make the gossip port hold: memberlist reads a stream into memory, up to 20 MiB,
// before it knows who is there.
const (
	maxGossipStreams    = 256      // open at once
	maxGossipPerAddress = 64       // of one address
	maxGossipStream     = 4 << 20  // bytes of one
	maxGossipBytes      = 64 << 20 // bytes of all that are open
)

// What memberlist puts in front: of a label, of an encrypted stream (its length follows), and of what is encrypted.
const (
	gossipLabel     = 244
	gossipEncrypted = 10
	gossipVersion   = 1
)

// anyByte stands in a pattern for a byte that is not looked at.
const anyByte = -1

// gossipPatterns are how everything from another server of the cluster begins: packets, streams in, and answers on streams
// out. Memberlist looks at these bytes as well, but it believes the version of the encryption, which is not protected by it:
// whoever has seen one packet can make it fail on a slice with another version. So nothing else gets through; and noise
// costs nothing.
func gossipPatterns(label string, encrypted bool) (packet, in, out []int) {
	if label != "" {
		packet = append(packet, gossipLabel, len(label))
		for i := range len(label) {
			packet = append(packet, int(label[i]))
		}
		in = slices.Clone(packet)
	}
	if encrypted {
		out = []int{gossipEncrypted, anyByte, anyByte, anyByte, anyByte, gossipVersion}
		packet, in = append(packet, gossipVersion), append(in, out...)
	}
	return packet, in, out
}

// matches reports whether text, which begins at the byte number at, is what pattern says, as far as both go.
func matches(pattern []int, at int, text []byte) bool {
	for i := at; i < len(pattern) && i-at < len(text); i++ {
		if pattern[i] != anyByte && pattern[i] != int(text[i-at]) {
			return false
		}
	}
	return true
}

var (
	errStranger      = errors.New("cluster: the gossip stream is not of this cluster")
	errStreamTooLong = errors.New("cluster: the gossip stream is too long")
	errStreamsFull   = errors.New("cluster: open gossip streams hold too much")
)

// A gossipTransport bounds and ends the streams of the transport within. Streams out have a deadline, so
// that a peer that does not read holds nobody up; streams in have bounds; Shutdown ends both.
type gossipTransport struct {
	memberlist.NodeAwareTransport

	// Static.
	packet, in, out []int // how packets and streams begin
	packets         chan *memberlist.Packet
	streams         chan net.Conn
	ctx             context.Context // of everything that dials
	cancel          context.CancelFunc
	stop            chan struct{} // ends the goroutines that admit packets and streams
	pump            sync.WaitGroup

	held    atomic.Int64 // bytes read from streams in that are open
	refused atomic.Int64 // streams in that were closed for a bound
	strange atomic.Int64 // packets and streams that are not of this cluster

	mu sync.Mutex
	// Guarded by mu.
	closed bool
	open   map[*gossipStream]struct{}
	count  int                // streams in
	from   map[netip.Addr]int // streams in by address
}

func newGossipTransport(inner memberlist.NodeAwareTransport, label string, encrypted bool) *gossipTransport {
	t := &gossipTransport{
		NodeAwareTransport: inner,
		packets:            make(chan *memberlist.Packet),
		streams:            make(chan net.Conn),
		stop:               make(chan struct{}),
		open:               make(map[*gossipStream]struct{}),
		from:               make(map[netip.Addr]int),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.packet, t.in, t.out = gossipPatterns(label, encrypted)
	t.pump.Go(t.admitStreams)
	t.pump.Go(t.admitPackets)
	return t
}

// PacketCh implements memberlist.Transport.
func (t *gossipTransport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// admitPackets passes packets of this cluster on, until Shutdown.
func (t *gossipTransport) admitPackets() {
	for {
		select {
		case <-t.stop:
			return
		case p := <-t.NodeAwareTransport.PacketCh():
			if len(p.Buf) <= len(t.packet) || !matches(t.packet, 0, p.Buf) {
				t.strange.Add(1)
				continue
			}
			select {
			case t.packets <- p:
			case <-t.ctx.Done():
			}
		}
	}
}

// StreamCh implements memberlist.Transport.
func (t *gossipTransport) StreamCh() <-chan net.Conn { return t.streams }

// admitStreams passes streams on that are within the bounds, until Shutdown.
func (t *gossipTransport) admitStreams() {
	for {
		select {
		case <-t.stop:
			return
		case conn := <-t.NodeAwareTransport.StreamCh():
			s, err := t.admit(conn)
			if err != nil {
				t.refused.Add(1)
				_ = conn.Close() // nobody is told: it is a stranger or too many of our own
				continue
			}
			select {
			case t.streams <- s:
			case <-t.ctx.Done():
				_ = s.Close()
			}
		}
	}
}

func (t *gossipTransport) admit(conn net.Conn) (*gossipStream, error) {
	addr := addrOf(conn.RemoteAddr())
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.count >= maxGossipStreams || t.from[addr] >= maxGossipPerAddress {
		return nil, errStreamsFull
	}
	s := &gossipStream{Conn: conn, t: t, pattern: t.in, addr: addr, inbound: true}
	t.open[s] = struct{}{}
	t.count++
	t.from[addr]++
	return s, nil
}

func addrOf(a net.Addr) netip.Addr {
	if a == nil {
		return netip.Addr{}
	}
	ap, _ := netip.ParseAddrPort(a.String()) // what has no address counts as one
	return ap.Addr().Unmap()
}

// DialTimeout implements memberlist.Transport.
func (t *gossipTransport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport. The deadline holds for all that is written, since
// memberlist sets none for user messages.
func (t *gossipTransport) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	deadline := time.Now().Add(timeout)
	conn, err := t.dial(addr, timeout)
	if err != nil {
		return nil, err
	}
	s := &gossipStream{Conn: conn, t: t, pattern: t.out}
	t.mu.Lock()
	closed := t.closed
	if !closed {
		t.open[s] = struct{}{}
	}
	t.mu.Unlock()
	if closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	if err := s.SetDeadline(deadline); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("cluster: setting a deadline: %w", err)
	}
	return s, nil
}

// dial ends early with Shutdown where it can: a real network's dial takes up to the timeout.
func (t *gossipTransport) dial(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if _, ok := t.NodeAwareTransport.(*memberlist.NetTransport); !ok {
		return t.NodeAwareTransport.DialAddressTimeout(addr, timeout)
	}
	d := net.Dialer{Timeout: timeout}
	return d.DialContext(t.ctx, "tcp", addr.Addr)
}

// Shutdown implements memberlist.Transport. It ends all streams.
func (t *gossipTransport) Shutdown() error {
	t.cancel()
	t.mu.Lock()
	t.closed = true
	open := make([]*gossipStream, 0, len(t.open))
	for s := range t.open {
		open = append(open, s)
	}
	t.mu.Unlock()
	for _, s := range open {
		_ = s.Close()
	}
	err := t.NodeAwareTransport.Shutdown()
	close(t.stop)
	t.pump.Wait()
	return err
}

// A gossipStream is one stream in or out.
type gossipStream struct {
	net.Conn
	t       *gossipTransport
	pattern []int // how it begins
	addr    netip.Addr
	inbound bool
	read    atomic.Int64
	once    sync.Once
}

// Read implements net.Conn within the bounds. One goroutine reads.
func (s *gossipStream) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n == 0 {
		return n, err
	}
	size := s.read.Add(int64(n))
	if s.inbound {
		s.t.held.Add(int64(n))
	}
	switch at := size - int64(n); {
	case at < int64(len(s.pattern)) && !matches(s.pattern, int(at), p[:n]):
		s.t.strange.Add(1)
		return 0, errStranger
	case !s.inbound:
	case size > maxGossipStream:
		s.t.refused.Add(1)
		return 0, errStreamTooLong
	case s.t.held.Load() > maxGossipBytes:
		s.t.refused.Add(1)
		return 0, errStreamsFull
	}
	return n, err
}

// Close implements net.Conn.
func (s *gossipStream) Close() error {
	err := s.Conn.Close()
	s.once.Do(func() {
		s.t.mu.Lock()
		defer s.t.mu.Unlock()
		delete(s.t.open, s)
		if !s.inbound {
			return
		}
		s.t.held.Add(-s.read.Load())
		s.t.count--
		if s.t.from[s.addr]--; s.t.from[s.addr] == 0 {
			delete(s.t.from, s.addr)
		}
	})
	return err
}
