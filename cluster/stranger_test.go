package cluster

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"io"
	mrand "math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"
)

// busy is quick for servers that have much else to do: they do not give each other up.
func busy(c *memberlist.Config) {
	quick(c)
	c.SuspicionMult = 50
}

// strangers returns two servers on the loopback interface with keys, and a recorder of what the second one hears.
func strangers(t testing.TB) (a, b *gossiper, heard *packetTap) {
	t.Helper()
	with := func(name string, tap *packetTap, join ...*gossiper) *gossiper {
		return start(t, name, func(c *MembersConfig) {
			c.Keys, c.Cluster, c.tune, c.Timeout = []Key{key('k', 32)}, "blue", busy, 500*time.Millisecond
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
	inner := b.members.gossip.Load().NodeAwareTransport.(*memberlist.NetTransport)
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
		if i%20 == 0 {
			_, _ = conn.Write(packet) // a full socket loses it; never mind
			continue
		}
		if err := inner.IngestPacket(&onePacket{Reader: bytes.NewReader(packet)}, conn.LocalAddr(), time.Now(), true); err != nil {
			t.Fatal(err)
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
	if s := b.members.Stats(); s.Strange < 5000 {
		t.Errorf("%+v", s)
	}
}

// A onePacket is a connection that brings one packet.
type onePacket struct {
	net.Conn
	io.Reader
}

func (p *onePacket) Read(b []byte) (int, error) { return p.Reader.Read(b) }
func (*onePacket) Close() error                 { return nil }

// Whoever has seen packets and streams of the cluster sends them again with one byte changed. The version of the encryption
// is not protected by it, and memberlist 0.7.0 panics over a wrong one.
func TestChangedVersionIsRefused(t *testing.T) {
	_, b, tap := strangers(t)
	conn, err := net.Dial("udp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	before := b.members.Stats().Strange
	const version = len("\xf4\x04blue")
	for range 50 {
		packet := <-tap.sent
		if packet[version] != gossipVersion {
			t.Fatalf("the packet begins with %x", packet[:version+1])
		}
		packet[version] = 0
		if _, err := conn.Write(packet); err != nil {
			t.Fatal(err)
		}
		// The same as a stream.
		s, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		stream := append([]byte("\xf4\x04blue\x0a"), binary.BigEndian.AppendUint32(nil, uint32(len(packet)-version))...)
		if _, err := s.Write(append(stream, packet[version:]...)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, s); err != nil {
			t.Log(err) // reset, since not all was read
		}
		_ = s.Close()
	}
	eventually(t, "all were refused", func() bool { return b.members.Stats().Strange-before >= 100 })
}

func TestGossipPatterns(t *testing.T) {
	for _, c := range []struct {
		label           string
		encrypted       bool
		packet, in, out string // how good ones begin; ? for any byte
	}{
		{"", false, "", "", ""},
		{"ab", false, "\xf4\x02ab", "\xf4\x02ab", ""},
		{"", true, "\x01", "\x0a????\x01", "\x0a????\x01"},
		{"ab", true, "\xf4\x02ab\x01", "\xf4\x02ab\x0a????\x01", "\x0a????\x01"},
	} {
		packet, in, out := gossipPatterns(c.label, c.encrypted)
		for i, pattern := range [][]int{packet, in, out} {
			good := []byte([]string{c.packet, c.in, c.out}[i] + "rest")
			for at := range good {
				if !matches(pattern, at, good[at:]) || !matches(pattern, 0, good[:at]) {
					t.Errorf("%q, %v: %q is refused at %d", c.label, c.encrypted, good, at)
				}
				bad := bytes.Clone(good)
				bad[at] ^= 1
				if got, want := matches(pattern, 0, bad), good[at] == '?' || at >= len(pattern); got != want {
					t.Errorf("%q, %v: %q matches: %v", c.label, c.encrypted, bad, got)
				}
			}
		}
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
	in := transport.count
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
	transport := newGossipTransport((&memberlist.MockNetwork{}).NewTransport("a"), "", false)
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
