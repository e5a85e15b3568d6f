package cluster

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"io"
	mrand "math/rand/v2"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"
)

// strangers returns two servers on the loopback interface with keys, and a recorder of what the second one hears.
func strangers(t testing.TB) (a, b *gossiper, heard *packetTap) {
	t.Helper()
	with := func(name string, tap *packetTap, join ...*gossiper) *gossiper {
		return start(t, name, func(c *MembersConfig) {
			c.Keys, c.Cluster, c.tune, c.Timeout = []Key{key('k', 32)}, "blue", quick, 500*time.Millisecond
			inner, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{"127.0.0.1"}, Logger: newGossipLog(zap.NewNop())})
			if err != nil {
				t.Fatal(err)
			}
			c.transport = inner
			if tap != nil {
				tap.NetTransport = inner
				c.transport = tap
			}
			for _, s := range join {
				c.Join = append(c.Join, s.addr)
			}
		}, LinksConfig{})
	}
	heard = &packetTap{sent: make(chan []byte, 64)}
	a = with("a", heard)
	b = with("b", nil, a)
	met(t, waitTime, a, b)
	return a, b, heard
}

// A packetTap keeps some of the packets that a server sends.
type packetTap struct {
	*memberlist.NetTransport
	sent chan []byte
}

func (p *packetTap) WriteToAddress(b []byte, addr memberlist.Address) (time.Time, error) {
	select {
	case p.sent <- bytes.Clone(b):
	default:
	}
	return p.NetTransport.WriteToAddress(b, addr)
}

// Whoever has no key changes nothing, with random datagrams, mutated and repeated ones, and with streams.
func TestStrangersChangeNothing(t *testing.T) {
	a, b, tap := strangers(t)
	conn, err := net.Dial("udp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	random := mrand.New(mrand.NewPCG(1, 2))
	var real [][]byte
	for len(real) < 20 {
		real = append(real, <-tap.sent)
	}
	buf := make([]byte, 1400)
	for i := range 20_000 {
		var packet []byte
		switch i % 4 {
		case 0: // noise
			packet = buf[:1+random.IntN(len(buf)-1)]
			_, _ = rand.Read(packet)
		case 1: // noise behind a label
			_, _ = rand.Read(buf)
			packet = append([]byte{244, 4, 'b', 'l', 'u', 'e'}, buf[:random.IntN(1000)]...)
		case 2: // one bit
			packet = bytes.Clone(real[random.IntN(len(real))])
			packet[random.IntN(len(packet))] ^= 1 << random.IntN(8)
		default: // again, or cut
			packet = real[random.IntN(len(real))]
			packet = packet[:1+random.IntN(len(packet))]
		}
		_, _ = conn.Write(packet) // a full socket loses it; never mind
		if i%100 == 0 {
			runtime.Gosched()
		}
	}
	// Streams: of noise, and half a push/pull.
	for i := range 50 {
		s, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		noise := make([]byte, 1000)
		_, _ = rand.Read(noise)
		if i%2 == 0 {
			noise = append([]byte{244, 4, 'b', 'l', 'u', 'e', 10}, noise...)
		}
		_, _ = s.Write(noise)
		_ = s.Close()
	}
	la, lb := a.listen(KindBus), b.listen(KindBus)
	send(t, la, b, "still here")
	b.want(t, waitTime, a, "still here")
	send(t, lb, a, "me too")
	a.want(t, waitTime, b, "me too")
	met(t, waitTime, a, b)
	if s := b.members.Stats(); s.Members != 2 || s.Joins != 1 || s.Leaves != 0 {
		t.Errorf("%+v", s)
	}
}

// A stream that announces 20 MiB is cut at the limit, and memory does not follow what is announced.
func TestLongStreamIsCut(t *testing.T) {
	_, b, _ := strangers(t)
	s, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	head := append([]byte{244, 4, 'b', 'l', 'u', 'e', 10}, binary.BigEndian.AppendUint32(nil, 20<<20)...)
	if _, err := s.Write(head); err != nil {
		t.Fatal(err)
	}
	sent := 0
	for chunk := make([]byte, 64<<10); ; {
		n, err := s.Write(chunk)
		sent += n
		if err != nil {
			break
		}
		if sent > 20<<20 {
			t.Fatal("20 MiB were taken")
		}
	}
}

// One address cannot take all streams: the others are served meanwhile.
func TestStreamsOfOneAddressAreBounded(t *testing.T) {
	a, b, _ := strangers(t)
	transport := b.members.gossip.Load()
	var open []net.Conn
	for range 3 * maxGossipPerAddress {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
		s, err := d.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	defer func() {
		for _, s := range open {
			_ = s.Close()
		}
	}()
	eventually(t, "the surplus is closed", func() bool { return transport.refused.Load() >= 2*maxGossipPerAddress })
	transport.mu.Lock()
	in := transport.in
	transport.mu.Unlock()
	if in > maxGossipPerAddress+8 {
		t.Errorf("%d streams are open", in)
	}
	la := a.listen(KindBus)
	b.listen(KindBus)
	send(t, la, b, "through")
	b.want(t, waitTime, a, "through")
	// Silent streams end with the time-out, and their places are free again.
	for _, s := range open {
		if _, err := io.Copy(io.Discard, s); err != nil {
			t.Log(err) // reset or closed, both will do
		}
	}
	eventually(t, "the streams are gone", func() bool {
		transport.mu.Lock()
		defer transport.mu.Unlock()
		return len(transport.from) <= 1 && transport.held.Load() < 1<<20
	})
}

// What all open streams hold is bounded, too.
func TestStreamsTogetherAreBounded(t *testing.T) {
	transport := newGossipTransport((&memberlist.MockNetwork{}).NewTransport("a"))
	defer func() { _ = transport.Shutdown() }()
	var streams []*gossipStream
	buf := make([]byte, 1<<20)
	var failed error
	for range 20 {
		ours, theirs := net.Pipe()
		s, err := transport.admit(ours)
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
		for range 4 {
			go func() { _, _ = theirs.Write(buf) }()
			if _, err := io.ReadFull(s, buf); err != nil && failed == nil {
				failed = err
				_ = theirs.Close()
				break
			}
		}
		if failed != nil {
			break
		}
	}
	if failed == nil || len(streams) != 17 {
		t.Errorf("%d streams were read, %v", len(streams), failed)
	}
	for _, s := range streams {
		_ = s.Close()
		_ = s.Close()
	}
	if got := transport.held.Load(); got != 0 {
		t.Errorf("%d bytes are counted for closed streams", got)
	}
}

func BenchmarkStrangers(b *testing.B) {
	_, to, _ := strangers(b)
	conn, err := net.Dial("udp", to.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	packet := append([]byte{244, 4, 'b', 'l', 'u', 'e'}, make([]byte, 1300)...)
	_, _ = rand.Read(packet[6:])
	for b.Loop() {
		_, _ = conn.Write(packet)
	}
}
