package backend

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// A manualClock is moved by its test.
type manualClock struct{ now time.Time }

func (c *manualClock) read() time.Time { return c.now }

func addr4(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// "three within 3 s each (each attempt is forgotten 3 s later) and further ones are refused"
func TestAttempts(t *testing.T) {
	clock := &manualClock{time.Unix(1e9, 0)}
	a := NewAttempts(clock.read)
	ip, other := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("10.1.2.4")
	expect := func(want bool) {
		t.Helper()
		if got := a.Blocked(ip); got != want {
			t.Errorf("at %v: blocked %v", clock.now.Sub(time.Unix(1e9, 0)), got)
		}
	}
	expect(false)
	a.Failed(ip) // at 0 s
	expect(false)
	clock.now = clock.now.Add(time.Second)
	a.Failed(ip) // at 1 s
	expect(false)
	clock.now = clock.now.Add(time.Second)
	a.Failed(ip) // at 2 s
	expect(true)
	if a.Blocked(other) {
		t.Error("another address is blocked")
	}
	clock.now = clock.now.Add(time.Second - 1)
	expect(true)
	clock.now = clock.now.Add(1) // at 3 s the first is forgotten
	expect(false)
	a.Failed(ip)
	expect(true)
	clock.now = clock.now.Add(time.Second) // at 4 s the second
	expect(false)
}

// The window agrees with a list of all attempts.
func TestAttemptsModel(t *testing.T) {
	clock := &manualClock{time.Unix(1e9, 0)}
	a := NewAttempts(clock.read)
	model := map[netip.Addr][]time.Time{}
	random := rand.New(rand.NewPCG(1, 2))
	for range 50_000 {
		clock.now = clock.now.Add(time.Duration(random.IntN(300)) * time.Millisecond)
		ip := addr4(uint32(random.IntN(10)))
		for len(model[ip]) > 0 && clock.now.Sub(model[ip][0]) >= 3*time.Second {
			model[ip] = model[ip][1:]
		}
		if got, want := a.Blocked(ip), len(model[ip]) >= 3; got != want {
			t.Fatalf("blocked %v, want %v", got, want)
		}
		if random.IntN(2) == 0 {
			a.Failed(ip)
			model[ip] = append(model[ip], clock.now)
		}
	}
}

func TestAttemptsAddresses(t *testing.T) {
	for _, one := range []struct {
		failed, asked string
		same          bool
	}{
		{"10.0.0.1", "10.0.0.1", true},
		{"10.0.0.1", "::ffff:10.0.0.1", true},
		{"10.0.0.1", "10.0.0.2", false},
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true},
		{"2001:db8:1:2::1", "2001:db8:1:3::1", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
		{"::1", "0.0.0.1", false},
		{"0.0.0.0", "::", false},
	} {
		a := NewAttempts(nil)
		for range 3 {
			a.Failed(netip.MustParseAddr(one.failed))
		}
		if got := a.Blocked(netip.MustParseAddr(one.asked)); got != one.same {
			t.Errorf("%s after %s: %v", one.asked, one.failed, got)
		}
	}
	a := NewAttempts(nil)
	for range 3 {
		a.Failed(netip.Addr{})
	}
	if !a.Blocked(netip.Addr{}) || a.Blocked(netip.MustParseAddr("::1")) {
		t.Error("the unknown address does not count for itself")
	}
}

// The table takes at most 16 MiB for 100,000 addresses and never holds more of them, and it empties itself again.
func TestAttemptsMemory(t *testing.T) {
	clock := &manualClock{time.Unix(1e9, 0)}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	a := NewAttempts(clock.read)
	for n := range uint32(150_000) {
		a.Failed(addr4(n))
	}
	if used := heap() - before; used > 16<<20 {
		t.Errorf("%d bytes", used)
	}
	if n := len(a.index); n != attemptsAddresses {
		t.Errorf("%d addresses", n)
	}
	clock.now = clock.now.Add(time.Minute)
	for range attemptsAddresses {
		a.Failed(addr4(1))
	}
	if n := len(a.index); n != 1 {
		t.Errorf("%d addresses are left", n)
	}
	runtime.KeepAlive(a)
}

func TestAttemptsAllocate(t *testing.T) {
	a := NewAttempts(nil)
	ip := addr4(7)
	a.Failed(ip)
	if n := testing.AllocsPerRun(100, func() { a.Failed(ip); a.Blocked(ip) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAttempts(b *testing.B) {
	for _, addresses := range []uint32{1, 100_000} {
		b.Run(fmt.Sprint(addresses), func(b *testing.B) {
			a := NewAttempts(nil)
			b.ReportAllocs()
			n := uint32(0)
			for b.Loop() {
				n++
				ip := addr4(n % addresses)
				if !a.Blocked(ip) {
					a.Failed(ip)
				}
			}
		})
	}
}
