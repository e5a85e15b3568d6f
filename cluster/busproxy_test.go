package cluster

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A proxy stands between buses and a Redis. It can point at another one, and swallow what Redis says.
type proxy struct {
	addr     string
	listener net.Listener
	to       atomic.Pointer[string]
	swallow  atomic.Bool   // what comes from Redis goes nowhere, while connections stay
	stalled  chan struct{} // closed: what comes from Redis is read

	mu    sync.Mutex
	goOn  func()
	conns map[net.Conn]bool // whether they are subscribed
	wait  sync.WaitGroup
}

func startProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String(), listener: l, stalled: make(chan struct{}), conns: make(map[net.Conn]bool)}
	close(p.stalled)
	p.to.Store(&to)
	p.wait.Go(p.accept)
	t.Cleanup(func() {
		p.mu.Lock()
		goOn := p.goOn
		p.mu.Unlock()
		if goOn != nil {
			goOn()
		}
		_ = l.Close()
		p.cut()
		p.wait.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		other, err := net.Dial("tcp", *p.to.Load())
		if err != nil {
			_ = conn.Close()
			continue
		}
		p.mu.Lock()
		p.conns[conn], p.conns[other] = false, false
		p.mu.Unlock()
		p.wait.Go(func() { p.carry(other, conn, false) })
		p.wait.Go(func() { p.carry(conn, other, true) })
	}
}

func (p *proxy) carry(to, from net.Conn, back bool) {
	defer p.close(to, from)
	buf := make([]byte, 32<<10)
	for {
		if back {
			p.waits(to) // and Redis' buffer fills
		}
		n, err := from.Read(buf)
		if back {
			p.waits(to)
		}
		if !back && bytes.Contains(buf[:n], []byte("subscribe")) {
			p.mu.Lock()
			p.conns[from] = true
			p.mu.Unlock()
		}
		if !back || !p.swallow.Load() {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// waits until a connection is not stalled.
func (p *proxy) waits(conn net.Conn) {
	p.mu.Lock()
	stalled, subscribed := p.stalled, p.conns[conn]
	p.mu.Unlock()
	if subscribed {
		<-stalled
	}
}

// stall stops reading what Redis says to subscribed connections until goOn is called.
func (p *proxy) stall() (goOn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stalled := make(chan struct{})
	p.stalled = stalled
	p.goOn = sync.OnceFunc(func() { close(stalled) })
	return p.goOn
}

func (p *proxy) close(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(p.conns, c)
	}
}

// cutSubscribed ends the connections that are subscribed.
func (p *proxy) cutSubscribed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c, subscribed := range p.conns {
		if subscribed {
			_ = c.Close()
		}
	}
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}
