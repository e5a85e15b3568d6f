package gateway

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"logux-proxy/cluster"
	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// quiet is a world for measuring: no log, a bus that remembers nothing, and no limit to the rate of actions.
func quiet(c *Config) {
	c.ActionRate = math.MaxInt
	c.Log = nil
	c.Bus = cluster.Alone{}
}

// A crowd is clients on one channel that read and say nothing.
type crowd struct {
	*world
	readers sync.WaitGroup
}

func newCrowd(t testing.TB, n int) *crowd {
	t.Helper()
	c := &crowd{world: newWorld(t, quiet)}
	c.backend.setProcess((*question).agree)
	t.Cleanup(c.readers.Wait) // after the clients' own, which end their connections
	for i := range n {
		b := c.connect(wire.NodeID(fmt.Sprintf("%d:a:tab", i)))
		b.act(1, subscribeBody("all"))
		b.wantProcessed(1)
		if err := b.conn.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		c.readers.Go(func() {
			_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{b.conn}, make([]byte, 4<<10))
		})
	}
	return c
}

func (c *crowd) delivered() (n int64) {
	for _, h := range c.g.handlers {
		n += h.stats.deliveries.Load()
	}
	return n
}

// fanout sends one action to the whole crowd and waits until it is written.
func (c *crowd) fanout(n int, a *wire.Action, t *wire.Targets) {
	want := c.delivered() + int64(n)
	if err := c.g.Deliver(a, t, nil); err != nil {
		c.t.Fatal(err)
	}
	for c.delivered() < want {
		runtime.Gosched()
	}
}

var (
	benchAction  = &wire.Action{Type: "counter/inc", Body: wire.RawJSON(`{"type":"counter/inc","value":1,"text":"as long as an action usually is"}`)}
	benchTargets = &wire.Targets{Channels: []string{"all"}}
)

// A receiver more costs no allocation more.
func TestFanoutAllocations(t *testing.T) {
	const many, times = 300, 30
	allocs := func(n int) float64 {
		c := newCrowd(t, n)
		var before, after runtime.MemStats
		for range 5 { // what is kept for the next time is made now
			c.fanout(n, benchAction, benchTargets)
		}
		runtime.ReadMemStats(&before)
		for range times {
			c.fanout(n, benchAction, benchTargets)
		}
		runtime.ReadMemStats(&after)
		return float64(after.Mallocs-before.Mallocs) / times
	}
	// Pools forget now and then, more so under the race detector.
	const tolerance = many / 10
	if one, all := allocs(1), allocs(many); all-one > tolerance {
		t.Errorf("%v allocations for one receiver, %v for %d", one, all, many)
	}
}

// BenchmarkFanout is one action to so many receivers, from Deliver to the last write. 10,000 would need more
// descriptors than a process may usually have, for both ends are here.
func BenchmarkFanout(b *testing.B) {
	for _, n := range []int{1, 100, 1000, 9000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := newCrowd(b, n)
			b.ReportAllocs()
			for b.Loop() {
				c.fanout(n, benchAction, benchTargets)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/receiver")
		})
	}
}

// BenchmarkRoundTrip is one action of a client, from its sync to its logux/processed.
func BenchmarkRoundTrip(b *testing.B) {
	w := newWorld(b, quiet)
	w.backend.setProcess((*question).agree)
	c := w.connect("10:a:tab")
	n := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		n++
		c.act(n, inc)
		c.next()
		c.next()
		c.got = c.got[:0]
	}
}

// BenchmarkIdle is the heap that an authenticated connection with one subscription takes, its transport included.
func BenchmarkIdle(b *testing.B) {
	const n = 4000
	for b.Loop() {
		w := newWorld(b, quiet)
		w.backend.setProcess((*question).agree)
		w.connect("10:warm:up").drop()
		w.members(0)
		before := heap()
		fds := make([]int, n)
		for i := range fds {
			fds[i] = dialIdle(b, w, i)
		}
		w.members(n)
		w.forgotten()
		w.backend.wait.Wait()
		w.backend.forget()
		w.onLoops(func(*transport.Loop) {})
		b.ReportMetric(float64(heap()-before)/n, "B/connection")
		for _, fd := range fds {
			_ = syscall.Close(fd)
		}
		w.members(0)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// dialIdle makes a client that costs no memory here: a bare descriptor.
func dialIdle(b *testing.B, w *world, i int) int {
	b.Helper()
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	check(err)
	addr := w.server.Addr().String()
	var port int
	_, err = fmt.Sscanf(addr, "127.0.0.1:%d", &port)
	check(err)
	check(syscall.Connect(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port}))
	buf := make([]byte, 4<<10)
	say := func(p []byte) {
		b.Helper()
		_, err := syscall.Write(fd, p)
		check(err)
	}
	hear := func(what string) {
		b.Helper()
		for heard := ""; !contains(heard, what); {
			n, err := syscall.Read(fd, buf)
			check(err)
			if n == 0 {
				b.Fatalf("%s did not come", what)
			}
			heard += string(buf[:n])
		}
	}
	say([]byte("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
	hear("101")
	say(clientFrame(fmt.Sprintf(`["connect",5,"%d:%07x:abcdef",0,{"subprotocol":10}]`, i, i)))
	hear("connected")
	say(clientFrame(fmt.Sprintf(`["sync",1,{"type":"logux/subscribe","channel":"posts/%d"},{"id":1,"time":1}]`, i%1000)))
	hear("logux/processed")
	say(clientFrame(`["synced",1]`))
	return fd
}

// clientFrame is a text frame with a mask of zeros.
func clientFrame(text string) []byte {
	head := []byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}
	if len(text) > 125 {
		head = []byte{0x81, 0x80 | 126, byte(len(text) >> 8), byte(len(text)), 0, 0, 0, 0}
	}
	return append(head, text...)
}
