package e2e

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// A line is a stretch of network between two ends: it relays TCP connections to a target and can be cut. The target sees a source address of the
// line's own inside 127.0.0.0/8, so that what is counted by address (bad attempts) does not couple one test with another.
type line struct {
	addr   string // where to connect
	source net.IP

	mu       sync.Mutex
	target   string
	listener net.Listener // nil while down
	conns    map[net.Conn]struct{}
	opened   int // connections since the start
	stopped  bool
	wg       sync.WaitGroup
	news
}

var sources atomic.Uint32

// newLine returns a line to target (host:port) that is up.
func newLine(t testing.TB, target string) *line {
	t.Helper()
	n := sources.Add(1)
	l := &line{target: target, source: net.IPv4(127, 1+byte(n>>16), byte(n>>8), byte(n)), conns: map[net.Conn]struct{}{}}
	port := freePort(t)
	l.addr = fmt.Sprintf("127.0.0.1:%d", port)
	l.up(t)
	t.Cleanup(func() {
		l.mu.Lock()
		l.stopped = true
		l.mu.Unlock()
		l.down()
		l.wg.Wait()
	})
	return l
}

// up makes the line accept connections.
func (l *line) up(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("tcp", l.addr)
	if err != nil {
		t.Fatalf("line: %v", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listener = listener
	l.wg.Add(1)
	go l.accept(listener)
}

// down cuts what is connected and refuses connections until up.
func (l *line) down() {
	l.mu.Lock()
	if l.listener != nil {
		syscall.ForkLock.RLock() // else a process that is being started may hold the port for a moment longer
		_ = l.listener.Close()
		syscall.ForkLock.RUnlock()
		l.listener = nil
	}
	l.mu.Unlock()
	l.cut()
}

// lead makes the line lead to another target, as a load balancer does. What is connected stays.
func (l *line) lead(target string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.target = target
}

// cut resets every connection, as a lost network does; new ones are accepted.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

// count returns how many connections were made since the start.
func (l *line) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.opened
}

func (l *line) accept(listener net.Listener) {
	defer l.wg.Done()
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: l.source}}
		l.mu.Lock()
		target := l.target
		l.mu.Unlock()
		far, err := dialer.Dial("tcp", target)
		if err != nil {
			_ = near.(*net.TCPConn).SetLinger(0)
			_ = near.Close()
			continue
		}
		if !l.keep(listener, near, far) {
			continue
		}
		l.wg.Add(1)
		go l.relay(near.(*net.TCPConn), far.(*net.TCPConn))
		l.changed()
	}
}

// keep notes a new pair unless the line went down meanwhile.
func (l *line) keep(listener net.Listener, near, far net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped || l.listener != listener {
		_ = near.Close()
		_ = far.Close()
		return false
	}
	l.conns[near], l.conns[far] = struct{}{}, struct{}{}
	l.opened++
	return true
}

// relay passes bytes and half-closes in both directions until both have ended.
func (l *line) relay(near, far *net.TCPConn) {
	defer l.wg.Done()
	var both sync.WaitGroup
	pass := func(from, to *net.TCPConn) {
		if _, err := io.Copy(to, from); err != nil {
			// A reset goes on as a reset.
			_ = from.SetLinger(0)
			_ = to.SetLinger(0)
			_ = from.Close()
			_ = to.Close()
			return
		}
		_ = to.CloseWrite()
	}
	both.Go(func() { pass(near, far) })
	both.Go(func() { pass(far, near) })
	both.Wait()
	l.mu.Lock()
	delete(l.conns, near)
	delete(l.conns, far)
	l.mu.Unlock()
	_ = near.Close()
	_ = far.Close()
}
