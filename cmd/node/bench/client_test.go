package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// serve runs a server that treats every connection, once it is upgraded, as talk does.
func serve(t *testing.T, talk func(conn net.Conn)) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = conn.Close() }()
				if _, err := ws.Upgrade(conn); err == nil {
					talk(conn)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}

// accept lets a client in as PROTOCOL section 2 says.
func accept(conn net.Conn) {
	if _, err := wsutil.ReadClientText(conn); err == nil {
		_ = wsutil.WriteServerText(conn, []byte(`["connected",5,"server:x",[1000,1000]]`))
	}
}

// What the server does to the first client is why there is no load.
func TestFirstClientIsRefused(t *testing.T) {
	for say, talk := range map[string]func(net.Conn){
		"the server says wrong-credentials": func(conn net.Conn) {
			_, _ = wsutil.ReadClientText(conn)
			_ = wsutil.WriteServerText(conn, []byte(`["error","wrong-credentials"]`))
		},
		"not accepted: the server closed it with 1013: busy": func(conn net.Conn) {
			_, _ = wsutil.ReadClientText(conn)
			_ = ws.WriteFrame(conn, ws.NewCloseFrame(ws.NewCloseFrameBody(1013, "busy")))
		},
		"not accepted: the server closed it without a word":      func(conn net.Conn) { _, _ = wsutil.ReadClientText(conn) },
		"not accepted: the server sent what is no Logux message": func(conn net.Conn) { _ = wsutil.WriteServerText(conn, []byte(`hello`)) },
		"not accepted: a frame of the server is masked":          func(conn net.Conn) { _, _ = conn.Write([]byte{0x81, 0x80, 0, 0, 0, 0}) },
		"connection lost: the server closed it with 1001: goodbye": func(conn net.Conn) {
			accept(conn)
			_ = ws.WriteFrame(conn, ws.NewCloseFrame(ws.NewCloseFrameBody(1001, "goodbye")))
		},
	} {
		c := good(t, serve(t, talk))
		c.Channels = []Template{template(t, "room")} // it is never ready
		r, err := Run(t.Context(), c, nil)
		var refused *RefusedError
		if r != nil || !errors.As(err, &refused) || refused.Fault != say {
			t.Errorf("%s: %v", say, err)
		}
	}
}

// A message may come in several frames, and with pings between them.
func TestMessageInParts(t *testing.T) {
	addr := serve(t, func(conn net.Conn) {
		_, _ = wsutil.ReadClientText(conn)
		text := `["connected",5,"server:x",[1000,1000]]`
		_ = ws.WriteFrame(conn, ws.NewFrame(ws.OpText, false, []byte(text[:10])))
		_ = ws.WriteFrame(conn, ws.NewPingFrame([]byte("there?")))
		_ = ws.WriteFrame(conn, ws.NewFrame(ws.OpContinuation, true, []byte(text[10:])))
		for {
			if _, op, err := wsutil.ReadClientData(conn); err != nil || op == ws.OpClose {
				return
			}
		}
	})
	r, err := Run(t.Context(), good(t, addr), nil)
	if err != nil || r.Clients.Connected != 2 || r.ErrorCount != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// What was not acknowledged when the connection was lost is sent again on the next one, with the same ID, and what was is not.
func TestComesBack(t *testing.T) {
	texts := make(chan string, 100)
	var connections int
	var mu sync.Mutex
	addr := serve(t, func(conn net.Conn) {
		mu.Lock()
		connections++
		number := connections
		mu.Unlock()
		accept(conn)
		for {
			data, err := wsutil.ReadClientText(conn)
			if err != nil {
				return
			}
			text := string(data)
			if !strings.HasPrefix(text, `["sync",`) {
				continue
			}
			texts <- fmt.Sprint(number, " ", text)
			if number == 1 {
				if strings.HasPrefix(text, `["sync",2,`) {
					return
				}
				_ = wsutil.WriteServerText(conn, []byte(`["synced",1]`))
			}
		}
	})
	c := good(t, addr)
	c.Clients, c.Reconnect, c.ActionRate, c.Duration = 1, true, 10, 150*time.Millisecond
	c.Action = template(t, `{"type":"a","n":%n}`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan *Report, 1)
	go func() {
		r, err := Run(ctx, c, nil)
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	first, second, again := <-texts, <-texts, <-texts
	cancel()
	r := <-done
	if !strings.HasPrefix(first, `1 ["sync",1,{"type":"a","n":1},`) || !strings.HasPrefix(second, `1 ["sync",2,{"type":"a","n":2},`) {
		t.Errorf("first came %s and %s", first, second)
	}
	if again != "2"+second[1:] {
		t.Errorf("then came %s, after %s", again, second)
	}
	if r.Clients.Lost != 1 || r.Clients.Reconnects != 1 || r.Actions.Open != 2 || !r.Interrupted {
		t.Errorf("%+v", r)
	}
}

// Two outcomes of one action on one connection are an error.
func TestTwoOutcomes(t *testing.T) {
	b := newBook(1, 0, 0, false)
	l := &load{config: &Config{}, run: "run", book: b}
	c := &client{load: l, node: "u:run-0:0", stage: ready, times: 1}
	c.pending = []pending{{number: b.send(0, -1, -1, now()), ms: 5}}
	for range 2 {
		c.outcomeLocked("5 u:run-0:0 1", false, "", now())
	}
	c.outcomeLocked("5 other:run-1:0 1", false, "", now())
	if b.processed != 1 || b.faults["an action got two outcomes"] != 1 || len(b.faults) != 1 {
		t.Errorf("%d processed, faults are %v", b.processed, b.faults)
	}
}

func TestKindsOfFaultsAreBounded(t *testing.T) {
	b := newBook(1, 0, 0, false)
	for i := range 10 * maxKinds {
		b.fault(fmt.Sprint("undone: ", i))
	}
	if len(b.faults) > maxKinds+1 || b.faults["others"] != 9*maxKinds {
		t.Errorf("%d kinds, %d others", len(b.faults), b.faults["others"])
	}
}
