//go:build linux

package transport

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/gobwas/ws"

	"logux-proxy/gateway/transport/poll"
)

// 100 connections send random frames, cut anywhere, until they are thrown out, and come back; another
// connection is served all the while, and in the end nothing is left.
func TestNoiseDisturbsNobody(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		s := serve(t, &script{message: echo}, func(c *Config) {
			mode(c)
			c.Limits.Message, c.Limits.Fragments = 4096, 16
			c.Limits.ConnectRate = 1 << 20
		})
		bystander := dial(t, s)
		before := runtime.NumGoroutine()
		var noise sync.WaitGroup
		done := make(chan struct{})
		const attackers, rounds = 100, 4
		for i := range attackers {
			noise.Go(func() {
				r := rand.New(rand.NewPCG(uint64(i), 38))
				for range rounds {
					c := dialRaw(t, s)
					if _, err := io.WriteString(c, handshake()); err != nil {
						continue
					}
					for range 20 {
						f := randomFrame(r)
						cut := r.IntN(len(f) + 1)
						if _, err := c.Write(f[:cut]); err != nil {
							break // thrown out
						}
						if _, err := c.Write(f[cut:]); err != nil {
							break
						}
					}
					_ = c.Close()
				}
			})
		}
		go func() { noise.Wait(); close(done) }()
		for served := 0; ; served++ {
			bystander.send("are you there?")
			bystander.expect(ws.OpText, "are you there?")
			select {
			case <-done:
				await(t, "end of the noise", func() bool { return s.Stats().Sockets == 1 })
				await(t, "end of its goroutines", func() bool { return runtime.NumGoroutine() <= before })
				if st := s.Stats(); st.OutputWaiting != 0 || st.Connections != 1 {
					t.Errorf("left: %d bytes, %d connections", st.OutputWaiting, st.Connections)
				}
				return
			default:
			}
		}
	})
}

// Slow heads: what one that drips holds before it is known to be anybody.
func TestSlowHeadsAreSmall(t *testing.T) {
	const n = 2000
	g := newRig(t, &script{}, nil)
	drip := func(k int) []int {
		fds := make([]int, k)
		for i := range fds {
			a, b := socketpair(t)
			g.loop.server.sockets.Add(1)
			g.loop.arrive(arrival{fd: a})
			if _, err := poll.Write(b, []byte("GET / HTTP/1.1\r\nHost: example.com\r\nX: ")); err != nil {
				t.Fatal(err)
			}
			fds[i] = b
		}
		g.turn()
		for range 50 {
			for _, fd := range fds {
				if _, err := poll.Write(fd, []byte("y")); err != nil {
					t.Fatal(err)
				}
			}
			g.turn()
		}
		return fds
	}
	defer closeAll(drip(10))
	before := liveHeap()
	defer closeAll(drip(n))
	if each := (liveHeap() - before) / n; each > 2048 {
		t.Errorf("a slow head holds %d bytes", each)
	}
}

// Everything a peer may send, from the first byte on, cut anywhere: no panic, no message after the
// end, and nothing is left.
func FuzzConnection(f *testing.F) {
	f.Add([]byte(handshake()+string(text("hello"))+string(closing(1000, ""))), uint64(1), true)
	f.Add([]byte(handshake("Sec-WebSocket-Extensions: permessage-deflate")+string(withBits(frame(ws.OpText, true, deflate(f, []byte("hello"))), 4))), uint64(2), true)
	f.Add([]byte(handshake("Sec-WebSocket-Extensions: ;;,permessage-deflate=")), uint64(3), true)
	f.Add([]byte("PROXY TCP4 192.0.2.55 192.0.2.1 1000 443\r\n"+handshake()), uint64(4), false)
	f.Add([]byte(handshake()+string(sendPing("x"))+string(sendText(false, "a"))+string(sendCont(true, "b"))), uint64(5), false)
	f.Fuzz(func(t *testing.T, data []byte, seed uint64, compression bool) {
		r := rand.New(rand.NewPCG(seed, 9))
		open := 0
		g := newRig(t, &script{
			open: func(*Conn, *Request) { open++ },
			message: func(c *Conn, p []byte) {
				if open != 1 || c.Closing() {
					t.Fatal("a message out of place")
				}
				echo(c, p)
				switch r.IntN(8) {
				case 0:
					c.StopReading()
					g := c // resumed by a task of a later turn
					c.Loop().Post(taskFunc(func(*Loop) { g.ResumeReading() }))
				case 1:
					c.Close(1000, "", CloseDrain)
				}
			},
			closed: func(*Conn, CloseReason) { open-- },
		}, func(c *Config) {
			c.Compression = compression
			c.Limits.Message, c.Limits.Fragments, c.Limits.Head = 4096, 8, 2048
			c.TrustedProxies = loopback
		})
		a, b := socketpair(t)
		g.loop.server.sockets.Add(1)
		g.loop.arrive(arrival{fd: a, peer: tcpAddr("127.0.0.1:1").AddrPort()})
		g.turn()
		for len(data) > 0 {
			n := min(len(data), 1+r.IntN(1+r.IntN(200)))
			if _, err := poll.Write(b, data[:n]); err != nil {
				break
			}
			data = data[n:]
			g.turn()
		}
		poll.Close(b)
		g.turn()
		g.pass(2 * closeTimeout)
		// What went to the HTTP server is its own.
		select {
		case c := <-g.loop.server.handover.conns:
			_ = c.Close()
		default:
		}
		if n := g.loop.server.sockets.Load(); n != 0 || open != 0 || g.loop.stats.OutputWaiting != 0 || g.loop.stats.Connections != 0 {
			t.Fatalf("left: %d sockets, %d open, %d bytes", n, open, g.loop.stats.OutputWaiting)
		}
	})
}

func TestMalformedExtensionsAreRefused(t *testing.T) {
	s := serve(t, &script{}, func(c *Config) { c.Compression = true })
	for _, value := range []string{";;", "permessage-deflate; =", "permessage-deflate; server_max_window_bits=\""} {
		c := dialRaw(t, s)
		c.raw(handshake("Sec-WebSocket-Extensions: " + value))
		if r := c.response(); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %s", value, r.Status)
		}
		c.expectEnd()
	}
}

func TestNewRefusesWhatCannotBe(t *testing.T) {
	good := func() Config {
		return Config{Addr: "127.0.0.1:0", NewHandler: func(*Loop) Handler { return &script{} }}
	}
	for name, change := range map[string]func(c *Config){
		"no handler":       func(c *Config) { c.NewHandler = nil },
		"negative loops":   func(c *Config) { c.Loops = -1 },
		"negative limit":   func(c *Config) { c.Limits.Message = -1 },
		"negative timeout": func(c *Config) { c.Limits.FrameTimeout = -1 },
		"no port":          func(c *Config) { c.Addr = "127.0.0.1" },
		"foreign address":  func(c *Config) { c.Addr = "192.0.2.1:0" },
		"no such port":     func(c *Config) { c.Addr = "127.0.0.1:65536" },
	} {
		c := good()
		change(&c)
		if _, err := New(c); err == nil || !strings.HasPrefix(err.Error(), "transport: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStopAcceptingBeforeRun(t *testing.T) {
	for _, m := range modes {
		c := Config{Addr: "127.0.0.1:0", NewHandler: func(*Loop) Handler { return &script{} }}
		m.change(&c)
		s, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		s.StopAccepting()
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan struct{})
		if !s.Loops()[0].Post(taskFunc(func(*Loop) { close(ran) })) {
			t.Error("a task posted before Run was refused")
		}
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		receive(t, ran)
		if err := s.Run(ctx); err == nil {
			t.Error("Run twice")
		}
		cancel()
		if err := receive(t, ended); err != nil {
			t.Error(err)
		}
	}
}
