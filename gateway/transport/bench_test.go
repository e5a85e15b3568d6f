//go:build linux

package transport

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"logux-proxy/gateway/transport/poll"
)

// pairs opens n connections of the rig over socket pairs and returns the peers' descriptors.
func (g *rig) pairs(n int) []int {
	g.t.Helper()
	head := []byte(handshake("Origin: https://example.com", "Cookie: session=0123456789abcdef"))
	buf := make([]byte, 4096)
	peers := make([]int, n)
	for i := range peers {
		var near int
		near, peers[i] = socketpair(g.t)
		g.loop.server.sockets.Add(1)
		g.loop.arrive(arrival{fd: near})
		if _, err := poll.Write(peers[i], head); err != nil {
			g.t.Fatal(err)
		}
		if i%100 == 99 || i == n-1 {
			g.turn()
		}
	}
	for _, fd := range peers {
		if k, err := poll.Read(fd, buf); err != nil || !bytes.HasPrefix(buf[:k], []byte("HTTP/1.1 101")) {
			g.t.Fatalf("%q %v", buf[:k], err)
		}
	}
	return peers
}

func closeAll(fds []int) {
	for _, fd := range fds {
		poll.Close(fd)
	}
}

// TestIdleConnectionsAreSmall pins what an idle connection costs on the heap, the handler's share
// (none here) apart.
func TestIdleConnectionsAreSmall(t *testing.T) {
	if size := unsafe.Sizeof(Conn{}); size > 128 {
		t.Errorf("a Conn has %d bytes", size)
	}
	const n = 4000
	g := newRig(t, &script{open: func(c *Conn, _ *Request) { c.SetTimer(c.Loop().Now() + time.Hour) }}, nil)
	defer closeAll(g.pairs(100)) // what the first ones bring to life stays
	before := liveHeap()
	defer closeAll(g.pairs(n))
	if each := (liveHeap() - before) / n; each > 200 {
		t.Errorf("an idle connection holds %d bytes of heap", each)
	} else {
		t.Logf("%d bytes of heap per idle connection, %d of them Conn", each, unsafe.Sizeof(Conn{}))
	}
	for _, p := range g.loop.slots.places {
		if p.conn != nil && (p.conn.in != nil || p.conn.out != nil) {
			t.Fatal("an idle connection holds buffers")
		}
	}
}

func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func resident() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		panic(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		panic(err)
	}
	return pages * int64(os.Getpagesize())
}

// BenchmarkIdle reports bytes per idle upgraded connection, of 9,000 in this process.
func BenchmarkIdle(b *testing.B) {
	const n = 9000
	for b.Loop() {
		g := newRig(b, &script{}, nil)
		heap, rss := liveHeap(), resident()
		peers := g.pairs(n)
		b.ReportMetric(float64(liveHeap()-heap)/n, "heap-B/conn")
		b.ReportMetric(float64(resident()-rss)/n, "rss-B/conn")
		closeAll(peers)
		g.turn()
	}
}

// BenchmarkUpgrade is accept to 101 in one loop, without the kernel's TCP.
func BenchmarkUpgrade(b *testing.B) {
	g := newRig(b, &script{}, nil)
	head := []byte(handshake("Origin: https://example.com", "User-Agent: Mozilla/5.0 (X11; Linux x86_64)", "Cookie: session=0123456789abcdef"))
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		near, far := socketpair(b)
		if _, err := poll.Write(far, head); err != nil {
			b.Fatal(err)
		}
		g.loop.server.sockets.Add(1)
		g.loop.arrive(arrival{fd: near})
		for range 2 {
			if err := g.loop.turn(0); err != nil {
				b.Fatal(err)
			}
		}
		if n, err := poll.Read(far, buf); err != nil || n == 0 {
			b.Fatal(n, err)
		}
		poll.Close(far)
	}
}

// BenchmarkEcho is one message in and out over loopback TCP.
func BenchmarkEcho(b *testing.B) {
	for _, m := range modes {
		b.Run(m.name, func(b *testing.B) {
			s := serve(b, &script{message: echo}, m.change)
			c := dial(b, s)
			message := text(strings.Repeat("x", 150))
			buf := make([]byte, 4096)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(message); err != nil {
					b.Fatal(err)
				}
				for n := 0; n < 154; {
					k, err := c.r.Read(buf)
					if err != nil {
						b.Fatal(err)
					}
					n += k
				}
			}
		})
	}
}

// fanout is a task that sends one message to all connections of a loop.
type fanout struct {
	conns   []*Conn
	payload []byte
}

func (f *fanout) Run(*Loop) {
	for _, c := range f.conns {
		c.Wake()
	}
}

// BenchmarkFanout is one task for 1,000 connections over loopback TCP; writes is the kernel's share alone: the same
// bytes to the same sockets without us.
func BenchmarkFanout(b *testing.B) {
	const n = 1000
	f := &fanout{payload: bytes.Repeat([]byte("x"), 150)}
	g := newRig(b, &script{
		open: func(c *Conn, _ *Request) { f.conns = append(f.conns, c) },
		flush: func(c *Conn) {
			if len(f.conns) == n {
				c.Send(f.payload)
			}
		},
	}, nil)
	peers := g.tcp(n)
	buf := make([]byte, 64<<10)
	sink := func() {
		for _, fd := range peers {
			if _, err := poll.Read(fd, buf); err != nil {
				b.Fatal(err)
			}
		}
	}
	sink()
	b.Run("send", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			g.loop.Post(f)
			if err := g.loop.turn(0); err != nil {
				b.Fatal(err)
			}
			g.loop.rest()
			b.StopTimer()
			sink()
			b.StartTimer()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/conn")
	})
	b.Run("writes", func(b *testing.B) {
		wire := appendHeader(nil, 1, false, len(f.payload))
		wire = append(wire, f.payload...)
		for b.Loop() {
			for _, c := range f.conns {
				if _, err := poll.Write(int(c.fd), wire); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			sink()
			b.StartTimer()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/conn")
	})
}

// tcp opens n connections of the rig over loopback TCP and returns the peers' descriptors, with
// one Flush's output or none waiting in each.
func (g *rig) tcp(n int) []int {
	g.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	peers := make([]int, n)
	for i := range peers {
		near, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			g.t.Fatal(err)
		}
		far, err := ln.Accept()
		if err != nil {
			g.t.Fatal(err)
		}
		var fds [2]int
		for k, c := range []net.Conn{far, near} {
			if fds[k], err = poll.Take(c.(poll.Socket)); err != nil {
				g.t.Fatal(err)
			}
		}
		peers[i] = fds[1]
		g.loop.server.sockets.Add(1)
		g.loop.arrive(arrival{fd: fds[0]})
		if _, err := poll.Write(fds[1], []byte(handshake())); err != nil {
			g.t.Fatal(err)
		}
	}
	for g.loop.stats.Upgraded < int64(n) {
		g.turn()
	}
	g.t.Cleanup(func() { closeAll(peers) })
	return peers
}

// BenchmarkPost is the way of a task from another goroutine to a loop that sleeps, and back.
func BenchmarkPost(b *testing.B) {
	s := serve(b, &script{}, nil)
	done := make(chan struct{})
	var task Task = taskFunc(func(*Loop) { done <- struct{}{} })
	b.ReportAllocs()
	for b.Loop() {
		s.Loops()[0].Post(task)
		<-done
	}
}

// BenchmarkAccept is connect, upgrade and close over loopback TCP, one after another.
func BenchmarkAccept(b *testing.B) {
	for _, m := range modes[:2] {
		b.Run(m.name, func(b *testing.B) {
			s := serve(b, &script{}, func(c *Config) { m.change(c); c.Limits.ConnectRate = 1 << 30 })
			head := []byte(handshake())
			buf := make([]byte, 4096)
			b.ReportAllocs()
			for b.Loop() {
				conn, err := net.Dial("tcp", s.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				if _, err := conn.Write(head); err != nil {
					b.Fatal(err)
				}
				if n, err := conn.Read(buf); err != nil || !strings.Contains(string(buf[:n]), " 101 ") {
					b.Fatal(fmt.Sprintf("%q", buf[:n]), err)
				}
				if err := conn.(*net.TCPConn).SetLinger(0); err != nil { // no port is kept waiting
					b.Fatal(err)
				}
				_ = conn.Close()
			}
		})
	}
}
