//go:build linux

package transport

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"logux-proxy/gateway/transport/poll"
)

// A rig is one loop without a listener, turned by the test, with a clock of the test's. Its
// connections are socket pairs, so that what was written is there to be read at once.
type rig struct {
	t    testing.TB
	loop *Loop
	time time.Time
}

func newRig(t testing.TB, h Handler, change func(c *Config)) *rig {
	t.Helper()
	c := Config{Addr: "127.0.0.1:0", Loops: 1, NewHandler: func(*Loop) Handler { return h }}
	if change != nil {
		change(&c)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	s.StopAccepting()
	if err := s.openPollers(); err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, loop: s.loops[0], time: time.Now()}
	g.loop.clock = func() time.Time { return g.time }
	g.turn()
	t.Cleanup(func() {
		g.loop.end()
		if err := g.loop.poller.Close(); err != nil {
			t.Error(err)
		}
		if n := s.sockets.Load(); n != 0 {
			t.Errorf("%d sockets are left", n)
		}
	})
	return g
}

// turn runs the loop until nothing is left to do.
func (g *rig) turn() {
	g.t.Helper()
	for quiet := 0; quiet < 3; quiet++ { // adopting a socket shows only in the turn after
		before := g.loop.stats
		if err := g.loop.turn(0); err != nil {
			g.t.Fatal(err)
		}
		g.loop.rest()
		before.Turns = g.loop.stats.Turns
		if before != g.loop.stats || g.loop.woken.first != nil || len(g.loop.inbox) > 0 {
			quiet = 0
		}
	}
}

// pass lets time go by, in steps in which timers come when they are due.
func (g *rig) pass(d time.Duration) {
	g.t.Helper()
	for end := g.time.Add(d); g.time.Before(end); {
		g.time = g.time.Add(min(tick, end.Sub(g.time)))
		g.turn()
	}
}

// socket connects without a word.
func (g *rig) socket() *client {
	g.t.Helper()
	near, far := socketpair(g.t)
	conn, err := poll.NetConn(far)
	if err != nil {
		g.t.Fatal(err)
	}
	g.loop.server.sockets.Add(1)
	g.loop.arrive(arrival{fd: near, peer: netip.MustParseAddrPort("192.0.2.1:1234")})
	g.turn()
	return wrap(g.t, conn)
}

func socketpair(t testing.TB) (int, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}

// connect upgrades.
func (g *rig) connect() *client {
	g.t.Helper()
	c := g.socket()
	c.raw(handshake())
	g.turn()
	if r := c.response(); r.StatusCode != 101 {
		g.t.Fatal(r.Status)
	}
	return c
}

// silent reports whether nothing is there to be read.
func (c *client) silent() bool {
	c.t.Helper()
	if c.r.Buffered() > 0 {
		return false
	}
	if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
		c.t.Fatal(err)
	}
	_, err := c.r.Peek(1)
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
	timeout, ok := err.(net.Error) //nolint:errorlint // what a Conn returns is not wrapped
	return ok && timeout.Timeout()
}

func TestTimerNeverFiresEarly(t *testing.T) {
	var conn *Conn
	var fired []time.Duration
	g := newRig(t, &script{
		open:  func(c *Conn, _ *Request) { conn = c },
		timer: func(c *Conn) { fired = append(fired, c.Loop().Now()) },
	}, nil)
	g.connect()
	start := g.loop.now
	at := start + 20*time.Second
	conn.SetTimer(start + time.Second)
	conn.SetTimer(at)
	g.pass(at - start - 1)
	if len(fired) > 0 {
		t.Fatalf("fired after %s", fired[0]-start)
	}
	g.pass(200 * time.Millisecond)
	if len(fired) != 1 || fired[0] < at || fired[0] > at+100*time.Millisecond {
		t.Fatalf("set for %s, fired at %v", at, fired)
	}
	conn.SetTimer(g.loop.now + time.Hour)
	conn.SetTimer(g.loop.now + time.Second) // nearer
	g.pass(1200 * time.Millisecond)
	if len(fired) != 2 {
		t.Fatalf("the nearer time was not kept: %v", fired)
	}
	conn.SetTimer(g.loop.now + time.Second)
	conn.SetTimer(0)
	g.pass(time.Minute)
	if len(fired) != 2 {
		t.Fatalf("fired after it was taken back: %v", fired)
	}
}

func TestWallClockJumpsMoveNoTimer(t *testing.T) {
	var conn *Conn
	fired := false
	g := newRig(t, &script{open: func(c *Conn, _ *Request) { conn = c }, timer: func(*Conn) { fired = true }}, nil)
	g.connect()
	conn.SetTimer(g.loop.now + time.Minute)
	// time.Now carries a monotonic reading, which a jump of the wall clock leaves alone; UTC strips nothing.
	g.pass(time.Second)
	if fired {
		t.Error("fired early")
	}
	if g.loop.Wall() != g.time.UnixMilli() {
		t.Errorf("Wall %d, want %d", g.loop.Wall(), g.time.UnixMilli())
	}
}

func TestHandshakeTimeout(t *testing.T) {
	g := newRig(t, &script{open: func(*Conn, *Request) { t.Error("opened") }}, nil)
	silent, drip := g.socket(), g.socket()
	drip.raw("GET / HTTP/1.1\r\n")
	for range 9 {
		g.pass(time.Second)
		drip.raw("X") // one byte at a time does not help
	}
	if !silent.silent() || !drip.silent() {
		t.Fatal("ended early")
	}
	g.pass(1200 * time.Millisecond)
	if r := drip.response(); r.StatusCode != 408 {
		t.Errorf("slow head: %s", r.Status)
	}
	silent.expectEnd()
	g.pass(2 * time.Second)
	if n := g.loop.server.sockets.Load(); n != 0 {
		t.Errorf("%d sockets live", n)
	}
	if n := g.loop.stats.Refused[RefusedRequest]; n != 2 {
		t.Errorf("%d are counted", n)
	}
}

func TestFrameTimeout(t *testing.T) {
	var reason CloseReason
	messages := 0
	g := newRig(t, &script{
		message: func(*Conn, []byte) { messages++ },
		closed:  func(_ *Conn, r CloseReason) { reason = r },
	}, nil)
	for name, rest := range map[string][]byte{
		"half a frame":      text("hello")[:7],
		"half a header":     text("hello")[:1],
		"half a message":    frame(ws.OpText, false, []byte("a")),
		"half a ping":       frame(ws.OpPing, true, []byte("abc"))[:8],
		"message then half": join(text("a"), text("b")[:3]),
	} {
		t.Run(name, func(t *testing.T) {
			reason = CloseNone
			c := g.connect()
			g.pass(time.Hour) // at rest a connection may take its time
			c.raw(string(rest))
			g.pass(59 * time.Second)
			if strings.Contains(name, "message") && !strings.Contains(name, "then") {
				c.raw(string(frame(ws.OpPing, true, nil))) // a ping completes no message
				g.turn()
				c.expect(ws.OpPong, "")
			}
			if reason != CloseNone {
				t.Fatalf("closed early: %d", reason)
			}
			g.pass(2 * time.Second)
			if reason != CloseStalled {
				t.Errorf("reason %d", reason)
			}
			c.expectClose(1008)
		})
	}
	// Message after message, each one complete within its time, none at rest in between.
	reason, messages = CloseNone, 0
	c := g.connect()
	m := string(text("hello"))
	c.raw(m[:5])
	for range 10 {
		g.pass(40 * time.Second)
		c.raw(m[5:] + m[:5])
	}
	g.turn()
	if messages != 10 || reason != CloseNone {
		t.Errorf("%d messages, reason %d", messages, reason)
	}
}

func TestFrameTimeoutRestsWhileReadingIsStopped(t *testing.T) {
	var conn *Conn
	var reason CloseReason
	messages := 0
	g := newRig(t, &script{
		open:    func(c *Conn, _ *Request) { conn = c },
		message: func(c *Conn, _ []byte) { messages++; c.StopReading() },
		closed:  func(_ *Conn, r CloseReason) { reason = r },
	}, nil)
	c := g.connect()
	c.raw(string(text("a")) + string(text("b")[:3]))
	g.pass(time.Hour)
	if messages != 1 || reason != CloseNone {
		t.Fatalf("%d messages, reason %d", messages, reason)
	}
	conn.ResumeReading()
	g.pass(30 * time.Second)
	c.raw(string(text("b")[3:]))
	g.pass(time.Hour)
	if messages != 2 || reason != CloseNone {
		t.Errorf("%d messages, reason %d", messages, reason)
	}
}

func TestWriteTimeout(t *testing.T) {
	var conn *Conn
	var reason CloseReason
	g := newRig(t, &script{
		open:   func(c *Conn, _ *Request) { conn = c },
		closed: func(_ *Conn, r CloseReason) { reason = r },
	}, func(c *Config) { c.Limits.Output = 64 << 20 })
	c := g.connect()
	const size = 8 << 20
	conn.Send(make([]byte, size))
	g.turn()
	if conn.Waiting() == 0 {
		t.Fatal("the socket took everything")
	}
	// A reader that is slow, but reads, may go on for long.
	buf := make([]byte, 64<<10)
	for range 20 {
		g.pass(8 * time.Second)
		if _, err := c.Read(buf); err != nil {
			t.Fatal(err)
		}
		g.turn()
	}
	if reason != CloseNone {
		t.Fatalf("closed with %d although output moved", reason)
	}
	g.pass(8 * time.Second)
	if reason != CloseNone {
		t.Fatalf("closed early: %d", reason)
	}
	g.pass(3 * time.Second)
	if reason != CloseSlow {
		t.Errorf("reason %d", reason)
	}
	if g.loop.stats.OutputWaiting != 0 {
		t.Errorf("%d bytes are still counted", g.loop.stats.OutputWaiting)
	}
}

func TestPongsThatWaitAreFew(t *testing.T) {
	var conn *Conn
	g := newRig(t, &script{open: func(c *Conn, _ *Request) { conn = c }}, func(c *Config) { c.Limits.Output = 64 << 20 })
	c := g.connect()
	for i := range 10 {
		c.raw(string(frame(ws.OpPing, true, fmt.Append(nil, i))))
	}
	g.turn()
	for i := range 10 {
		c.expect(ws.OpPong, fmt.Sprint(i))
	}
	const size = 2 << 20
	conn.Send(make([]byte, size))
	g.turn()
	waiting := conn.Waiting()
	if waiting == 0 {
		t.Fatal("the socket took everything")
	}
	var pings []byte
	for i := range 900 {
		pings = append(pings, frame(ws.OpPing, true, fmt.Append(nil, i))...)
	}
	c.raw(string(pings))
	g.turn()
	if conn.Waiting() > waiting+maxPongs*5 {
		t.Errorf("%d bytes wait after the pings, %d before", conn.Waiting(), waiting)
	}
	done := make(chan ws.Frame)
	go func() { done <- c.next() }()
	var f ws.Frame
	for f.Payload == nil {
		g.turn()
		select {
		case f = <-done:
		default:
		}
	}
	if len(f.Payload) != size {
		t.Fatalf("%d bytes", len(f.Payload))
	}
	g.turn()
	for i := range maxPongs {
		c.expect(ws.OpPong, fmt.Sprint(i))
	}
	c.expect(ws.OpPong, "899")
	if !c.silent() {
		t.Error("more than one pong")
	}
}

func TestControlFramesAreLimited(t *testing.T) {
	for name, op := range map[string]ws.OpCode{"ping": ws.OpPing, "pong": ws.OpPong} {
		t.Run(name, func(t *testing.T) {
			var reason CloseReason
			g := newRig(t, &script{closed: func(_ *Conn, r CloseReason) { reason = r }}, nil)
			c := g.connect()
			for range 20 { // within the limit, for long
				c.raw(strings.Repeat(string(frame(op, true, nil)), 500))
				g.pass(time.Second)
				for op == ws.OpPing && !c.silent() {
					c.expect(ws.OpPong, "")
				}
			}
			if reason != CloseNone {
				t.Fatalf("closed with %d", reason)
			}
			for range 10 {
				c.raw(strings.Repeat(string(frame(op, true, nil)), 300))
				g.turn()
				if reason != CloseNone {
					break
				}
			}
			if reason != CloseFlood {
				t.Errorf("reason %d", reason)
			}
		})
	}
}

func TestCloseEndsAfterASecond(t *testing.T) {
	var conn *Conn
	var reason CloseReason
	g := newRig(t, &script{
		open:   func(c *Conn, _ *Request) { conn = c },
		closed: func(_ *Conn, r CloseReason) { reason = r },
	}, nil)
	c := g.connect()
	conn.Close(1012, "", CloseDrain)
	g.pass(closeTimeout - 2*tick)
	c.expectClose(1012)
	if reason != CloseNone {
		t.Fatalf("closed early: %d", reason)
	}
	g.pass(4 * tick)
	if reason != CloseDrain {
		t.Errorf("reason %d", reason)
	}
	c.expectEnd()
}

// A peer that answered with its close frame and then neither reads nor goes does not keep its socket.
func TestLingeringEnds(t *testing.T) {
	g := newRig(t, &script{}, nil)
	c := g.connect()
	c.raw(string(closing(1000, "")))
	g.turn()
	if n := g.loop.server.sockets.Load(); n != 1 {
		t.Fatalf("%d sockets: the peer's end of stream was not awaited", n)
	}
	for range 5 {
		g.pass(closeTimeout / 5)
		c.raw(strings.Repeat("x", 10_000)) // thrown away
	}
	g.pass(4 * tick)
	if n := g.loop.server.sockets.Load(); n != 0 {
		t.Errorf("%d sockets live", n)
	}
}

// The steady state: a message comes, one goes to another connection that is woken, a timer moves.
func TestVisitsAllocateNothing(t *testing.T) {
	var conns []*Conn
	reply := []byte(`["sync",1,{"type":"a"},{"id":1,"time":1}]`)
	g := newRig(t, &script{
		open: func(c *Conn, _ *Request) { conns = append(conns, c) },
		message: func(c *Conn, _ []byte) {
			c.SetTimer(c.Loop().Now() + 20*time.Second)
			for _, other := range conns {
				other.Wake()
			}
		},
		flush: func(c *Conn) { c.Send(reply) },
	}, nil)
	a, b := g.connect(), g.connect()
	g.turn()
	message := []byte(string(text(`["synced",1]`)))
	fda, fdb := rawFD(t, a), rawFD(t, b)
	buf := make([]byte, 64<<10)
	task := taskFunc(func(*Loop) { conns[1].Send(reply) })
	if n := testing.AllocsPerRun(200, func() {
		copy(buf, message)
		if _, err := poll.Write(fda, buf[:len(message)]); err != nil {
			t.Fatal(err)
		}
		g.loop.Post(task)
		for range 3 {
			if err := g.loop.turn(0); err != nil {
				t.Fatal(err)
			}
			g.loop.rest()
		}
		for _, fd := range []int{fda, fdb} {
			if n, err := poll.Read(fd, buf); err != nil || n == 0 {
				t.Fatal(n, err)
			}
		}
	}); n > 0.1 {
		t.Errorf("%v allocations", n)
	}
}

// rawFD is a descriptor of c's socket that Go's poller does not know.
func rawFD(t testing.TB, c *client) int {
	t.Helper()
	fd, err := poll.Take(c.Conn.(poll.Socket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { poll.Close(fd) })
	return fd
}
