package transport

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func TestEcho(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		s := serve(t, &script{message: echo}, mode)
		c := dial(t, s)
		for _, n := range []int{0, 1, 125, 126, 127, 128, 4095, 65535, 65536, 65537, 300_000} {
			p := strings.Repeat("x", n)
			go c.send(p)
			c.expect(ws.OpText, p)
			go c.raw(string(frame(ws.OpBinary, true, []byte(p))))
			c.expect(ws.OpBinary, p)
		}
	})
}

func TestBytesBehindTheHeadAreHandledAfterThe101(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		s := serve(t, &script{message: echo}, mode)
		c := dialRaw(t, s)
		c.raw(handshake() + string(text("early")) + string(text("bird")[:3]))
		if r := c.response(); r.StatusCode != http.StatusSwitchingProtocols {
			t.Fatal(r.Status)
		}
		c.expect(ws.OpText, "early")
		c.raw(string(text("bird")[3:]))
		c.expect(ws.OpText, "bird")
	})
}

func TestHeadMayArriveByteByByte(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		s := serve(t, &script{message: echo}, mode)
		c := dialRaw(t, s)
		for _, b := range []byte(handshake() + string(text("hello"))) {
			c.raw(string([]byte{b}))
		}
		if r := c.response(); r.StatusCode != http.StatusSwitchingProtocols {
			t.Fatal(r.Status)
		}
		c.expect(ws.OpText, "hello")
	})
}

func TestOpenMaySend(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		s := serve(t, &script{open: func(c *Conn, r *Request) {
			c.Send([]byte(r.Cookie + " " + r.Origin + " " + r.UserAgent + " " + r.RemoteAddr.String()))
		}}, mode)
		c := dial(t, s, "Cookie: a=1", "Origin: https://example.com", "User-Agent: test", "Cookie: b=2")
		c.expect(ws.OpText, "a=1; b=2 https://example.com test 127.0.0.1")
	})
}

func TestTasksRunInOrderAndTheirOutputIsOneWrite(t *testing.T) {
	opened := make(chan *Conn, 1)
	s := serve(t, &script{open: func(c *Conn, _ *Request) { opened <- c }}, nil)
	c := dial(t, s)
	conn := receive(t, opened)
	before := s.Stats().Writes
	block := make(chan struct{})
	conn.Loop().Post(taskFunc(func(*Loop) { <-block }))
	const n = 50
	done := make(chan struct{})
	for i := range n {
		conn.Loop().Post(taskFunc(func(*Loop) {
			conn.Send(fmt.Append(nil, i))
			if i == n-1 {
				close(done)
			}
		}))
	}
	close(block)
	for i := range n {
		c.expect(ws.OpText, fmt.Sprint(i))
	}
	receive(t, done)
	await(t, "statistics", func() bool { return s.Stats().MessagesOut == n })
	if writes := s.Stats().Writes - before; writes > 2 {
		t.Errorf("%d messages of one turn took %d writes", n, writes)
	}
}

func TestFlushEndsEachVisit(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		opened := make(chan *Conn, 1)
		said := ""
		s := serve(t, &script{
			open:    func(c *Conn, _ *Request) { said += "open "; opened <- c },
			message: func(_ *Conn, p []byte) { said += "message:" + string(p) + " " },
			timer:   func(*Conn) { said += "timer " },
			flush: func(c *Conn) {
				if said != "" {
					c.Send([]byte(said + "flush"))
					said = ""
				}
			},
		}, mode)
		c := dial(t, s)
		c.expect(ws.OpText, "open flush")
		c.raw(string(text("a")) + string(text("b")))
		c.expect(ws.OpText, "message:a message:b flush")
		conn := receive(t, opened)
		conn.Loop().Post(taskFunc(func(*Loop) { said = "woken "; conn.Wake(); conn.Wake() }))
		c.expect(ws.OpText, "woken flush")
		conn.Loop().Post(taskFunc(func(l *Loop) { conn.SetTimer(l.Now() + time.Millisecond) }))
		c.expect(ws.OpText, "timer flush")
	})
}

func TestCloseWaitsForThePeersAnswer(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		closed := make(chan CloseReason, 1)
		s := serve(t, &script{
			message: func(c *Conn, p []byte) {
				if c.Closing() {
					t.Error("Message after Close")
				}
				c.Send([]byte("last words"))
				c.Close(1012, "drain", CloseDrain)
				c.Send([]byte("too late"))
				if !c.Closing() {
					t.Error("not closing")
				}
			},
			closed: func(_ *Conn, r CloseReason) { closed <- r },
		}, mode)
		c := dial(t, s)
		c.raw(string(text("a")) + string(text("b")))
		c.expect(ws.OpText, "last words")
		f := c.next()
		if code, text := ws.ParseCloseFrameData(f.Payload); code != 1012 || text != "drain" {
			t.Fatal(describe(f.Header.OpCode, f.Payload))
		}
		select {
		case r := <-closed:
			t.Fatalf("closed with %d before the answer", r)
		default:
		}
		c.raw(string(text("ignored")) + string(closing(1012, "")))
		if r := receive(t, closed); r != CloseDrain {
			t.Errorf("reason %d", r)
		}
		c.expectEnd()
	})
}

func TestCloseEndsWithoutAnAnswer(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		closed := make(chan CloseReason, 1)
		s := serve(t, &script{
			open:   func(c *Conn, _ *Request) { c.Close(1013, "", CloseBackendAway) },
			closed: func(_ *Conn, r CloseReason) { closed <- r },
		}, mode)
		c := dial(t, s)
		c.expectClose(1013)
		if r := receive(t, closed); r != CloseBackendAway {
			t.Errorf("reason %d", r)
		}
		c.expectGone()
	})
}

func TestPeersCloseIsEchoed(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		closed := make(chan CloseReason, 1)
		s := serve(t, &script{message: echo, closed: func(_ *Conn, r CloseReason) { closed <- r }}, mode)
		c := dial(t, s)
		c.raw(string(text("a")) + string(closing(3210, "bye")) + string(text("b")))
		c.expect(ws.OpText, "a")
		c.expectClose(3210)
		c.expectEnd()
		if r := receive(t, closed); r != ClosePeer {
			t.Errorf("reason %d", r)
		}
	})
}

func TestEndOfStreamAndReset(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		closed := make(chan CloseReason, 1)
		s := serve(t, &script{closed: func(_ *Conn, r CloseReason) { closed <- r }}, mode)
		_ = dial(t, s).Close()
		if r := receive(t, closed); r != ClosePeer {
			t.Errorf("end of stream: reason %d", r)
		}
		if s.config.TLS != nil {
			return // a reset of the socket below is the same to the pipe
		}
		c := dial(t, s)
		if err := c.Conn.(*net.TCPConn).SetLinger(0); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		if r := receive(t, closed); r != CloseNetwork {
			t.Errorf("reset: reason %d", r)
		}
	})
}

func TestStopReadingHoldsMessagesBack(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		got := make(chan string, 100)
		opened := make(chan *Conn, 1)
		s := serve(t, &script{
			open: func(c *Conn, _ *Request) { opened <- c },
			message: func(c *Conn, p []byte) {
				got <- string(p)
				c.StopReading()
			},
		}, mode)
		c := dial(t, s)
		conn := receive(t, opened)
		var all []byte
		const n = 20
		for i := range n {
			all = append(all, text(fmt.Sprint(i))...)
		}
		c.raw(string(all[:len(all)-3]))
		for i := range n {
			if m := receive(t, got); m != fmt.Sprint(i) {
				t.Fatalf("message %d is %q", i, m)
			}
			do(t, conn.Loop(), func(*Loop) {})
			select {
			case m := <-got:
				t.Fatalf("%q came while the reading was stopped", m)
			default:
			}
			if i == n-2 {
				c.raw(string(all[len(all)-3:]))
			}
			conn.Loop().Post(taskFunc(func(*Loop) { conn.ResumeReading() }))
		}
	})
}

func TestPingIsAnsweredBetweenFragments(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		s := serve(t, &script{message: echo}, mode)
		c := dial(t, s)
		c.raw(string(frame(ws.OpText, false, []byte("frag"))))
		c.raw(string(frame(ws.OpPing, true, []byte("p1"))))
		c.expect(ws.OpPong, "p1")
		c.raw(string(frame(ws.OpContinuation, true, []byte("ment"))))
		c.expect(ws.OpText, "fragment")
	})
}

func TestSlowReaderIsClosedAndDelaysNobody(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		closed := make(chan CloseReason, 2)
		opened := make(chan *Conn, 2)
		s := serve(t, &script{
			open:    func(c *Conn, _ *Request) { opened <- c },
			message: echo,
			closed:  func(_ *Conn, r CloseReason) { closed <- r },
		}, func(c *Config) {
			mode(c)
			c.Loops = 1
			c.Limits.Output = 256 << 10
		})
		slow := dial(t, s)
		conn := receive(t, opened)
		quick := dial(t, s)
		message := bytes.Repeat([]byte("x"), 8<<10)
		most := 0
		over := false
		for !over {
			do(t, conn.Loop(), func(*Loop) {
				conn.Send(message)
				over = conn.Closing()
				most = max(most, conn.Waiting())
			})
			quick.send("ping")
			quick.expect(ws.OpText, "ping")
		}
		if bound := s.config.Limits.Output + len(message) + 256; most > bound {
			t.Errorf("%d bytes waited, the bound is %d", most, bound)
		}
		if r := receive(t, closed); r != CloseSlow {
			t.Errorf("reason %d", r)
		}
		slow.expectGone()
		await(t, "release of the output", func() bool { return s.Stats().OutputWaiting == 0 })
		quick.send("still here")
		quick.expect(ws.OpText, "still here")
	})
}

func TestSlowReaderThatCatchesUpGetsEverything(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		opened := make(chan *Conn, 1)
		flushes := 0
		s := serve(t, &script{
			open: func(c *Conn, _ *Request) { opened <- c },
			flush: func(c *Conn) {
				if c.Waiting() > 0 {
					t.Error("Flush while output waits")
				}
				flushes++
			},
		}, func(c *Config) {
			mode(c)
			c.Limits.Output = 64 << 20
		})
		c := dial(t, s)
		conn := receive(t, opened)
		var want []string
		for i := range 200 {
			m := strings.Repeat(fmt.Sprint(i%10), i*317)
			want = append(want, m)
			conn.Loop().Post(taskFunc(func(*Loop) { conn.Send([]byte(m)) }))
		}
		do(t, conn.Loop(), func(*Loop) {})
		for _, m := range want {
			c.expect(ws.OpText, m)
		}
		await(t, "empty outbox", func() bool { return s.Stats().OutputWaiting == 0 })
		do(t, conn.Loop(), func(*Loop) {
			if flushes == 0 {
				t.Error("no Flush after the output had left")
			}
		})
	})
}

// One message may be larger than what may wait: its reader could never get it otherwise.
func TestOneMessageLargerThanTheOutputLimitArrives(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		opened := make(chan *Conn, 1)
		s := serve(t, &script{open: func(c *Conn, _ *Request) { opened <- c }}, func(c *Config) {
			mode(c)
			c.Limits.Output = 64 << 10
		})
		c := dial(t, s)
		conn := receive(t, opened)
		large := strings.Repeat("x", 8<<20)
		for range 3 {
			do(t, conn.Loop(), func(*Loop) { conn.Send([]byte(large)) })
			c.expect(ws.OpText, large)
			await(t, "empty outbox", func() bool { return s.Stats().OutputWaiting == 0 })
		}
	})
}

func TestShutdownClosesWith1001(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		closed := make(chan CloseReason, 1)
		h := &script{closed: func(_ *Conn, r CloseReason) { closed <- r }}
		s, stop := start(t, h, mode)
		c := dial(t, s)
		idle := dialRaw(t, s)
		if s.config.TLS == nil {
			idle.raw("GET / HT")
		}
		await(t, "both sockets", func() bool { return s.Stats().Accepted == 2 })
		ended := stop()
		c.expectClose(1001)
		c.raw(string(closing(1001, "")))
		if r := receive(t, closed); r != CloseShutdown {
			t.Errorf("reason %d", r)
		}
		_ = idle.Close()
		if err := receive(t, ended); err != nil {
			t.Error(err)
		}
		for _, l := range s.Loops() {
			if l.Post(taskFunc(func(*Loop) { t.Error("ran after the end") })) {
				t.Error("Post to a loop that has ended")
			}
		}
		if _, err := net.Dial("tcp", s.Addr().String()); err == nil {
			t.Error("still listening")
		}
	})
}

func TestStopAcceptingKeepsConnections(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		s := serve(t, &script{message: echo}, mode)
		c := dial(t, s)
		s.StopAccepting()
		s.StopAccepting()
		await(t, "closed listener", func() bool {
			conn, err := net.Dial("tcp", s.Addr().String())
			if err == nil {
				_ = conn.Close()
			}
			return err != nil
		})
		c.send("hello")
		c.expect(ws.OpText, "hello")
	})
}

func TestConnAfterItsEndIsHarmless(t *testing.T) {
	closed := make(chan *Conn, 1)
	s := serve(t, &script{closed: func(c *Conn, _ CloseReason) { closed <- c }}, nil)
	_ = dial(t, s).Close()
	old := receive(t, closed)
	await(t, "end of the socket", func() bool { return s.Stats().Sockets == 0 })
	next := dial(t, s)
	do(t, old.Loop(), func(l *Loop) {
		old.Send([]byte("x"))
		old.Wake()
		old.SetTimer(l.Now() + 1)
		old.StopReading()
		old.ResumeReading()
		old.Close(1000, "", CloseDrain)
		if old.Waiting() != 0 || !old.Closing() {
			t.Error("a connection that has ended lives")
		}
	})
	next.raw(string(frame(ws.OpPing, true, nil)))
	next.expect(ws.OpPong, "")
}

func TestEachVisitsOpenConnections(t *testing.T) {
	s := serve(t, &script{}, func(c *Config) { c.Loops = 1 })
	a, b := dial(t, s), dial(t, s)
	dialRaw(t, s)
	await(t, "three sockets", func() bool { return s.Stats().Sockets == 3 })
	count := 0
	do(t, s.Loops()[0], func(l *Loop) { l.Each(func(*Conn) { count++ }) })
	if count != 2 {
		t.Errorf("Each saw %d connections", count)
	}
	a.raw("")
	b.raw("")
}

func TestAddressTakenFailsAtNew(t *testing.T) {
	s := serve(t, &script{}, nil)
	_, err := New(Config{Addr: s.Addr().String(), NewHandler: func(*Loop) Handler { return &script{} }})
	if err == nil || !strings.Contains(err.Error(), s.Addr().String()) || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v", err)
	}
}

func TestWallAndNow(t *testing.T) {
	s := serve(t, &script{}, nil)
	before := time.Now().UnixMilli()
	do(t, s.Loops()[0], func(l *Loop) {
		if now := time.Now().UnixMilli(); l.Wall() < before-1000 || l.Wall() > now {
			t.Errorf("Wall %d, the clock says %d", l.Wall(), now)
		}
		if l.Index() != 0 || l.Handler() == nil {
			t.Error("first loop")
		}
	})
}
