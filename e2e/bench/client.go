//go:build linux

package main

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"logux-proxy/cmd/node/bench/frame"
)

// A client is one connection that behaves like a real Logux client: it authenticates, subscribes
// to one channel, answers each sync with synced and each ping with pong.
type client struct {
	fd      int32
	channel int32 // subscribed to; -1: none
	state   state
	stuck   bool  // reads nothing any more
	busy    bool  // has an action without an outcome
	sent    int64 // own actions so far
	place   place // in the channel
	since   int64 // begin of the connection or the action, as of now()

	in  []byte // the beginning of a frame that is not complete; nil for most
	out []byte // what the socket did not take; nil for most
}

// A state is how far a client is.
type state uint8

const (
	unopened state = iota
	dialing
	upgrading
	authenticating
	subscribing
	ready
	gone
)

func (f *fleet) writable(i int, c *client) {
	if c.state == dialing {
		if code, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR); err != nil || code != 0 {
			f.lose(c, "connect: %v", unix.Errno(code))
			return
		}
		c.state = upgrading
		f.watch(i, c, unix.EPOLLIN)
		f.write(i, c, fmt.Appendf(f.out[:0], "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"+
			"User-Agent: bench\r\n\r\n", f.path, f.server(i)))
		return
	}
	waiting := c.out
	c.out = nil
	f.write(i, c, waiting)
	if c.fd >= 0 && c.out == nil {
		f.watch(i, c, unix.EPOLLIN)
	}
}

// maxWaiting is how much a client keeps for a server that does not read, in bytes.
const maxWaiting = 1 << 20

// write sends data, and keeps what the socket does not take.
func (f *fleet) write(i int, c *client, data []byte) {
	if len(c.out) > 0 {
		if c.out = append(c.out, data...); len(c.out) > maxWaiting {
			f.lose(c, "the server reads nothing: %d bytes wait for it", len(c.out))
		}
		return
	}
	n, err := unix.Write(int(c.fd), data)
	if err != nil && err != unix.EAGAIN {
		f.lose(c, "write: %v", err)
		return
	}
	if n = max(n, 0); n < len(data) {
		c.out = append([]byte(nil), data[n:]...)
		f.watch(i, c, unix.EPOLLIN|unix.EPOLLOUT)
	}
}

func (f *fleet) readable(i int, c *client) {
	if c.stuck {
		// Not asked for: an error or the end of the connection.
		c.state = gone
		f.connected--
		_ = unix.Close(int(c.fd))
		c.fd = -1
		return
	}
	n, err := unix.Read(int(c.fd), f.in)
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if err != nil || n == 0 {
		f.lose(c, "the server closed the connection in state %d: %v", c.state, err)
		return
	}
	data := f.in[:n]
	if c.in != nil {
		data = append(c.in, data...)
		c.in = nil
	}
	if rest := f.consume(i, c, data); len(rest) > 0 && c.fd >= 0 {
		c.in = append([]byte(nil), rest...)
	}
}

// consume handles what data holds whole, and returns the rest.
func (f *fleet) consume(i int, c *client, data []byte) (rest []byte) {
	if c.state == upgrading {
		head, rest, complete := bytes.Cut(data, []byte("\r\n\r\n"))
		if !complete {
			return data
		}
		if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
			line, _, _ := bytes.Cut(head, []byte("\r\n"))
			f.lose(c, "upgrade: %s", line)
			return nil
		}
		data = rest
		c.state = authenticating
		f.send(i, c, fmt.Appendf(f.message[:0], `["connect",4,"%s",0,{"token":"token","subprotocol":"1.0.0"}]`, f.nodeID(i)))
	}
	// All answers to what arrived in one read leave in one write.
	f.out = f.out[:0]
	for c.fd >= 0 {
		got, size, err := frame.Next(data)
		if err != nil {
			f.lose(c, "the server in state %d: %v", c.state, err)
			return nil
		}
		if size == 0 {
			break
		}
		data = data[size:]
		switch got.Op {
		case ws.OpText:
			f.receive(i, c, got.Payload)
		case ws.OpPing:
			f.out = frame.Append(f.out, ws.OpPong, got.Payload)
		case ws.OpClose:
			code, reason := ws.ParseCloseFrameData(got.Payload)
			f.lose(c, "the server closed the connection in state %d: %d %s", c.state, code, reason)
			return nil
		}
	}
	if c.fd >= 0 && len(f.out) > 0 {
		f.write(i, c, f.out)
	}
	return data
}

var (
	syncStart      = []byte(`["sync",`)
	pingStart      = []byte(`["ping",`)
	pongStart      = []byte(`["pong",`)
	errorStart     = []byte(`["error",`)
	connectedStart = []byte(`["connected",`)
	processed      = []byte(`"logux/processed"`)
	undo           = []byte(`"logux/undo"`)
)

// receive handles one message; answers are added to f.out.
func (f *fleet) receive(i int, c *client, text []byte) {
	switch {
	case bytes.HasPrefix(text, syncStart):
		added, rest := number(text[len(syncStart):])
		f.answer(`["synced",`, added)
		f.receiveActions(c, rest)
	case bytes.HasPrefix(text, pingStart):
		added, _ := number(text[len(pingStart):])
		f.answer(`["pong",`, added)
	case bytes.HasPrefix(text, pongStart):
		f.pongs++
	case bytes.HasPrefix(text, errorStart):
		f.lose(c, "the server says %s", text)
	case bytes.HasPrefix(text, connectedStart) && c.state == authenticating:
		if c.channel < 0 || f.direct {
			f.becomeReady(c)
			return
		}
		c.state = subscribing
		f.message = fmt.Appendf(f.message[:0], `{"type":"logux/subscribe","channel":"%s"}`, f.channelName(int(c.channel)))
		f.act(c, f.message)
	}
}

func (f *fleet) receiveActions(c *client, actions []byte) {
	at := now()
	if c.state == subscribing || c.channel < 0 {
		if bytes.Contains(actions, undo) {
			f.undone++
			f.fail("undone: %s", actions)
		}
	}
	if c.state == subscribing || c.busy {
		n := bytes.Count(actions, processed)
		switch {
		case n == 0:
		case c.state == subscribing:
			f.becomeReady(c)
		case c.busy:
			f.trips.Add(at - c.since)
			f.extra += n - 1
			c.busy = false
			if f.acting {
				f.act(c, roundTripAction)
				c.busy, c.since = true, at
			}
		}
	}
	if c.channel < 0 {
		return
	}
	for m, rest, ok := nextMark(actions); ok; m, rest, ok = nextMark(rest) {
		f.tally.deliver(int(c.channel), &c.place, m, at)
	}
}

var roundTripAction = []byte(`{"type":"bench/act","value":"0123456789012345678901234567890123456789"}`)

// act adds an action of c's own to f.out. Its ID and time are a millisecond after those of the one before.
func (f *fleet) act(c *client, action []byte) {
	c.sent++
	text := append(make([]byte, 0, 256), `["sync",`...)
	text = strconv.AppendInt(text, c.sent, 10)
	text = append(text, ',')
	text = append(text, action...)
	text = append(text, `,{"id":`...)
	text = strconv.AppendInt(text, c.sent, 10)
	text = append(text, `,"time":`...)
	text = strconv.AppendInt(text, c.sent, 10)
	text = append(text, "}]"...)
	f.out = frame.Append(f.out, ws.OpText, text)
}

// answer adds a message of a name and a number to f.out.
func (f *fleet) answer(start string, added int64) {
	f.message = append(f.message[:0], start...)
	f.message = strconv.AppendInt(f.message, added, 10)
	f.message = append(f.message, ']')
	f.out = frame.Append(f.out, ws.OpText, f.message)
}

func (f *fleet) send(i int, c *client, text []byte) {
	f.out = frame.Append(f.out[:0], ws.OpText, text)
	f.write(i, c, f.out)
}

func (f *fleet) becomeReady(c *client) {
	c.state = ready
	f.connecting--
	f.connected++
	f.ready.Add(now() - c.since)
	if c.channel >= 0 {
		f.tally.channels[c.channel].subscribers++
	}
}

func (f *fleet) ping(i int) {
	if c := &f.clients[i]; c.state == ready {
		f.out = f.out[:0]
		f.answer(`["ping",`, c.sent)
		f.write(i, c, f.out)
	}
}

// startActing sends the first action of every client.
func (f *fleet) startActing() {
	f.acting = true
	for i := range f.clients {
		c := &f.clients[i]
		if c.state != ready {
			continue
		}
		f.out = f.out[:0]
		f.act(c, roundTripAction)
		c.busy, c.since = true, now()
		f.write(i, c, f.out)
	}
}

// publishFrom makes client i have an action re-sent to the first channel.
func (f *fleet) publishFrom(i int) {
	c := &f.clients[i]
	if c.state != ready {
		return
	}
	m := f.tally.publish(0, now())
	f.message = fmt.Appendf(f.message[:0], `{"type":"bench/pub","channel":"%s","m":"%d.%d.%d"}`, f.channelName(0), m.channel, m.seq, m.publication)
	f.out = f.out[:0]
	f.act(c, f.message)
	f.write(i, c, f.out)
}

// busy is how many clients wait for an outcome.
func (f *fleet) busy() (n int) {
	for i := range f.clients {
		if f.clients[i].busy && f.clients[i].fd >= 0 {
			n++
		}
	}
	return n
}

// stick makes the first n clients read nothing any more. Nothing they miss is counted.
func (f *fleet) stick(n int) {
	for i := range f.clients[:n] {
		c := &f.clients[i]
		if c.state != ready {
			continue
		}
		c.stuck = true
		f.tally.channels[c.channel].subscribers--
		f.watch(i, c, 0)
	}
}

// unstick reads what still lies in the sockets of stuck clients and returns how many of them the server
// has closed.
func (f *fleet) unstick() (closed int) {
	for i := range f.clients {
		c := &f.clients[i]
		if !c.stuck {
			continue
		}
		for c.fd >= 0 {
			n, err := unix.Read(int(c.fd), f.in)
			if err == unix.EAGAIN {
				break
			}
			if n <= 0 {
				f.readable(i, c)
			}
		}
		if c.fd < 0 {
			closed++
		}
	}
	return closed
}

func (f *fleet) channelName(channel int) string {
	return "bench/" + f.name + "/" + strconv.Itoa(channel)
}

// finish counts what the clients that are still there have missed.
func (f *fleet) finish() {
	for i := range f.clients {
		if c := &f.clients[i]; c.state == ready && c.channel >= 0 && !c.stuck {
			f.tally.finish(int(c.channel), &c.place)
		}
	}
}
