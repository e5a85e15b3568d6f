package fleet

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/gobwas/ws"

	"logux-proxy/cmd/node/bench/frame"
	"logux-proxy/e2e/history"
)

// A client's connections: made, read and lost.

// run lives until ctx ends.
func (c *Client) run(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil {
		if c.present() {
			c.live(ctx, r)
		} else {
			c.tries = 0
		}
		wait := min(longest, firstRetry<<min(c.tries, 4))
		c.tries++
		wait = time.Duration(float64(wait) * (0.9 + 0.6*r.Float64()))
		select {
		case <-ctx.Done():
		case <-time.After(min(wait, longest)):
		}
	}
}

// live is one connection from its beginning to its end.
func (c *Client) live(ctx context.Context, r *rand.Rand) {
	conn, name := c.crowd.dial(ctx, r)
	if conn == nil {
		return
	}
	defer func() {
		if !c.crowd.isVanished(conn) {
			_ = conn.Close()
		}
	}()
	stop := context.AfterFunc(ctx, func() {
		c.Drop(Reset)
		_ = conn.Close()
	})
	defer stop()
	if rest, err := c.upgrade(conn); err == nil {
		c.read(conn, name, rest)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == conn {
		c.endLocked("")
		c.conn = nil
	}
}

// endLocked notes the end of the connection; code is the one that the server closed it with, or "".
func (c *Client) endLocked(code string) {
	if c.conn != nil && !c.ended {
		c.ended = true
		c.crowd.Record.Add(history.Event{Kind: history.Disconnected, Client: c.ID, Conn: c.number, Node: c.name, Result: code})
	}
}

// upgrade makes conn a WebSocket and sends connect.
func (c *Client) upgrade(conn net.Conn) (rest []byte, err error) {
	_ = conn.SetDeadline(time.Now().Add(handshake))
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", conn.RemoteAddr()); err != nil {
		return nil, err
	}
	buf := make([]byte, 0, 1024)
	for {
		head, rest, complete := bytes.Cut(buf, []byte("\r\n\r\n"))
		if complete {
			if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
				return nil, errors.New("no upgrade")
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			connect := fmt.Sprintf(`["connect",4,%q,%d,{"token":"t","subprotocol":"1.0.0"}]`, c.node, c.got)
			_, err := conn.Write(frame.Append(nil, ws.OpText, []byte(connect)))
			return rest, err
		}
		if len(buf) == cap(buf) {
			return nil, errors.New("too long a head")
		}
		n, err := conn.Read(buf[len(buf):cap(buf)])
		if err != nil {
			return nil, err
		}
		buf = buf[:len(buf)+n]
	}
}

// read handles what comes until the connection ends.
func (c *Client) read(conn net.Conn, name string, in []byte) {
	_ = conn.SetWriteDeadline(time.Time{})
	last := time.Now()
	buf := make([]byte, clientShort)
	for {
		var ok bool
		if in, ok = c.consume(conn, name, in); !ok {
			return
		}
		if !c.waitLonger(conn) {
			return
		}
		n, err := conn.Read(buf)
		switch {
		case err == nil:
			last = time.Now()
			in = append(in, buf[:n]...)
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Since(last) < timeout && c.ping(conn):
		default:
			return
		}
	}
}

// waitLonger sets the time for the next read, unless the connection was dropped.
func (c *Client) waitLonger(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == conn && c.ended {
		return false
	}
	_ = conn.SetReadDeadline(time.Now().Add(pingAfter))
	return true
}

func (c *Client) ping(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != conn || c.ended {
		return false // it was not accepted in time, or was dropped
	}
	return c.writeLocked(fmt.Appendf(nil, `["ping",%d]`, c.added))
}

// consume handles the whole frames in data and returns the rest. All answers leave in one write.
func (c *Client) consume(conn net.Conn, name string, data []byte) (rest []byte, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []byte
	for {
		got, size, err := frame.Next(data)
		if err != nil {
			c.crowd.fail("%s: %v", c.ID, err)
			return nil, false
		}
		if size == 0 {
			break
		}
		data = data[size:]
		payload := got.Payload
		switch got.Op {
		case ws.OpText:
			out = c.receiveLocked(conn, name, payload, out)
		case ws.OpPing:
			out = frame.Append(out, ws.OpPong, payload)
		case ws.OpClose:
			code := ""
			if len(payload) >= 2 {
				code = strconv.Itoa(int(binary.BigEndian.Uint16(payload)))
			}
			c.endLocked(code)
			_, _ = conn.Write(frame.Append(out, ws.OpClose, payload))
			return nil, false
		}
	}
	if len(out) > 0 {
		if _, err := conn.Write(out); err != nil {
			return nil, false
		}
	}
	return slices.Clone(data), true
}
