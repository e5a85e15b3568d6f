package fleet

import (
	"bytes"
	"net"
	"sync"
	"testing"
)

// A Line stands between a node and a Redis. It can be cut, go silent, and lead elsewhere.
type Line struct {
	Addr string // where to connect

	listener net.Listener
	wait     sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.

	to     string
	down   bool          // connections are refused
	silent chan struct{} // not nil: nothing passes, in no direction, until it is closed
	calls  map[*call]struct{}
}

// A call is one connection through the line.
type call struct {
	near, far  net.Conn
	subscribed bool // guarded by the line's mu
}

// NewLine returns a line to a Redis at to, host:port. It ends with the test.
func NewLine(t testing.TB, to string) *Line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Line{Addr: listener.Addr().String(), listener: listener, to: to, calls: make(map[*call]struct{})}
	l.wait.Go(l.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		l.Sound()
		l.end(func(*call) bool { return true })
		l.wait.Wait()
	})
	return l
}

// URL is of the Redis behind the line.
func (l *Line) URL() string { return "redis://" + l.Addr }

func (l *Line) accept() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.wait.Go(func() { l.carry(near) })
	}
}

func (l *Line) carry(near net.Conn) {
	l.mu.Lock()
	to, down, silent := l.to, l.down, l.silent
	l.mu.Unlock()
	if silent != nil {
		<-silent
	}
	far, err := net.Dial("tcp", to)
	if down || err != nil {
		hangUp(near)
		if err == nil {
			_ = far.Close()
		}
		return
	}
	c := &call{near: near, far: far}
	l.mu.Lock()
	l.calls[c] = struct{}{}
	l.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { l.pump(c, far, near) })
	both.Go(func() { l.pump(c, near, far) })
	both.Wait()
	l.mu.Lock()
	delete(l.calls, c)
	l.mu.Unlock()
}

func (l *Line) pump(c *call, to, from net.Conn) {
	defer func() {
		_ = to.Close()
		_ = from.Close()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		l.mu.Lock()
		silent := l.silent
		if from == c.near && bytes.Contains(bytes.ToLower(buf[:n]), []byte("subscribe")) {
			c.subscribed = true
		}
		l.mu.Unlock()
		if silent != nil {
			<-silent
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
		if err != nil {
			return
		}
	}
}

func hangUp(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// end hangs up the calls that which chooses.
func (l *Line) end(which func(*call) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.calls {
		if which(c) {
			hangUp(c.near)
			hangUp(c.far)
		}
	}
}

// Down hangs up and refuses connections until Up.
func (l *Line) Down() {
	l.mu.Lock()
	l.down = true
	l.mu.Unlock()
	l.end(func(*call) bool { return true })
}

// Up ends Down.
func (l *Line) Up() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

// Silence lets nothing pass until Sound. Connections stay.
func (l *Line) Silence() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.silent == nil {
		l.silent = make(chan struct{})
	}
}

// Sound ends Silence: what was held passes.
func (l *Line) Sound() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.silent != nil {
		close(l.silent)
		l.silent = nil
	}
}

// Lead makes the line lead elsewhere. Connections that wait for publications stay where they are, as those to a server that was replaced behind
// its address; all others are hung up.
func (l *Line) Lead(to string) {
	l.mu.Lock()
	l.to = to
	l.mu.Unlock()
	l.end(func(c *call) bool { return !c.subscribed })
}
