package cluster

import (
	"context"
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// A counter keeps what other servers saw.
type counter struct {
	*Attempts
	mu sync.Mutex
	// Guarded by mu.
	seen map[netip.Addr]int
}

func (s *gossiper) count(t *testing.T) *counter {
	t.Helper()
	c := &counter{seen: make(map[netip.Addr]int)}
	c.Attempts = NewAttempts(s.links, zap.NewNop(), func(ip netip.Addr, times int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.seen[ip] += times
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return c
}

func (c *counter) of(ip netip.Addr) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[ip]
}

// A wrong attempt is known on all servers within two seconds, without UDP too.
func TestAttemptsAreShared(t *testing.T) {
	for _, noUDP := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			n := newGossipNet(t)
			a := n.on(t, "a")
			b := n.on(t, "b", a)
			c := n.on(t, "c", a)
			met(t, 5*time.Second, a, b, c)
			n.mu.Lock()
			n.noUDP = noUDP
			n.mu.Unlock()
			synctest.Wait()
			ca, cb, cc := a.count(t), b.count(t), c.count(t)
			four, six := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("fd00::1")
			ca.Failed(netip.MustParseAddr("::ffff:10.1.2.3"))
			ca.Failed(four)
			ca.Failed(netip.MustParseAddr("fd00::1%eth0"))
			ca.Failed(netip.Addr{})
			cb.Failed(four)
			pass(2 * time.Second)
			for _, want := range []struct {
				at    *counter
				ip    netip.Addr
				times int
			}{{ca, four, 1}, {ca, six, 0}, {cb, four, 2}, {cb, six, 1}, {cc, four, 3}, {cc, six, 1}} {
				if got := want.at.of(want.ip); got != want.times {
					t.Errorf("%s was seen %d times, want %d", want.ip, got, want.times)
				}
			}
			if s := ca.Stats(); s.Told != 3 || s.Heard != 1 || s.Dropped != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// Hundreds of thousands of attempts are few messages of bounded size.
func TestAttemptsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		a := n.on(t, "a")
		b := n.on(t, "b", a)
		met(t, 5*time.Second, a, b)
		synctest.Wait()
		ca, cb := a.count(t), b.count(t)
		for i := range uint32(100_000) {
			for range 5 {
				ca.Failed(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, i))))
			}
		}
		for range 251 { // a byte would be 0 again
			ca.Failed(netip.AddrFrom4([4]byte{}))
		}
		pass(2 * time.Second)
		cb.mu.Lock()
		defer cb.mu.Unlock()
		if len(cb.seen) != attemptsMost {
			t.Errorf("%d addresses were told", len(cb.seen))
		}
		for ip, times := range cb.seen {
			if times != 3 {
				t.Errorf("%s was told %d times", ip, times)
			}
		}
		if s := a.links.Stats(); s.Sent != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func FuzzAttempts(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3, 1})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		calls := 0
		a := &Attempts{other: func(ip netip.Addr, times int) {
			calls++
			if !ip.IsValid() || ip.Is4In6() || times < 1 || times > 3 {
				t.Errorf("%s, %d times", ip, times)
			}
		}}
		a.receive("server:a", frame)
		if calls > len(frame)/attemptsSize {
			t.Errorf("%d bytes are %d addresses", len(frame), calls)
		}
	})
}
