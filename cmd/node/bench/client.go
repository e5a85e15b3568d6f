package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"logux-proxy/cmd/node/bench/frame"
)

// What real clients do (PROTOCOL section 7).
const (
	pingAfter    = 10 * time.Second
	silence      = 70 * time.Second // after which the server is taken for gone
	firstRetry   = time.Second
	longestRetry = 5 * time.Second
)

// Bounds of a client, in bytes and time.
const (
	readBytes     = 512 // what it holds while nothing comes
	maxWhole      = frame.MaxPayload
	writePatience = 10 * time.Second
	byePatience   = 2 * time.Second
)

// A client is one client and, while it has one, its connection.
type client struct {
	load   *load
	number int
	node   string // node ID

	mu sync.Mutex
	// Guarded by mu.

	conn    net.Conn // nil without one
	broken  error    // of the connection, when a write failed
	stage   stage
	leaving bool   // the end was asked for
	final   bool   // the server said something after which real clients do not come back
	blame   string // what the server said before it closed
	since   int64  // begin of the connection, as of now()
	base    int64  // of the connection, ms since 1970
	added   int64  // last number of an own action
	got     int64  // last number of the server's
	lastID  int64  // ms of the last own ID
	joins   int    // subscriptions without an outcome
	times   int32  // connections that were accepted
	ready   bool   // it was ready at least once
	pending []pending
}

// A stage is how far a connection is.
type stage uint8

const (
	away stage = iota
	connecting
	joining
	ready
)

// pending is an own action without an outcome.
type pending struct {
	number int64 // counter of its ID; 0 for a subscription
	ms     int64 // of its ID
	added  int64
	at     int64  // when it was sent, as of now()
	body   []byte // nil once it is acknowledged
	place  int    // of a subscription among the client's channels
}

// run lives until the end is asked for, or the client gives up.
func (c *client) run(ctx context.Context) {
	for tries := 0; ; tries++ {
		accepted := c.live(ctx)
		if c.done(ctx) {
			return
		}
		if accepted {
			tries = 0
		}
		wait := min(longestRetry, firstRetry<<min(tries, 4))
		timer := time.NewTimer(time.Duration(float64(wait) * (0.75 + 0.5*rand.Float64())))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// done reports whether the client does not come back, and counts one that does not want to.
func (c *client) done(ctx context.Context) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil || c.leaving {
		return true
	}
	if c.final || !c.load.config.Reconnect {
		c.load.book.gaveUp()
		return true
	}
	return false
}

// live is one connection from its beginning to its end. It reports whether the server accepted it.
func (c *client) live(ctx context.Context) (accepted bool) {
	since := now()
	conn, rest, err := c.load.dial(ctx, c.number)
	if err != nil {
		if ctx.Err() == nil {
			c.load.book.disconnected(c.number, false, false, "connect: "+cause(err))
		}
		return false
	}
	c.mu.Lock()
	if c.leaving {
		c.mu.Unlock()
		reset(conn)
		return false
	}
	c.conn, c.broken, c.stage, c.since, c.blame = conn, nil, connecting, since, ""
	err = c.writeLocked(c.hello())
	c.mu.Unlock()
	if err == nil {
		err = c.read(conn, rest)
	}
	return c.end(conn, err)
}

// end takes the connection away and counts its end.
func (c *client) end(conn net.Conn, err error) (accepted bool) {
	reset(conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	accepted = c.stage > connecting
	wasReady := c.stage == ready
	c.conn, c.stage, c.joins = nil, away, 0
	// Subscriptions are made anew on the next connection.
	c.pending = slices.DeleteFunc(c.pending, func(p pending) bool { return p.number == 0 })
	if c.leaving {
		return accepted
	}
	if c.broken != nil {
		err = c.broken
	}
	kind := c.blame
	if kind == "" {
		kind = "connection lost: " + cause(err)
		if !accepted {
			kind = "not accepted: " + cause(err)
		}
	}
	c.load.book.disconnected(c.number, wasReady, accepted, kind)
	return accepted
}

// hello is the connect message.
func (c *client) hello() []byte {
	l := c.load
	options := []byte(`{"subprotocol":`)
	options = append(options, l.config.Subprotocol...)
	if token := l.config.Token.of(c.number); token != "" {
		options = append(options, `,"token":`...)
		options = append(options, jsonString(token)...)
	}
	text := append([]byte(nil), `["connect",`...)
	text = strconv.AppendInt(text, int64(l.config.Protocol), 10)
	text = append(append(append(text, ','), jsonString(c.node)...), ',')
	text = strconv.AppendInt(text, c.got, 10)
	text = append(append(append(text, ','), options...), "}]"...)
	return frame.Append(nil, ws.OpText, text)
}

// read handles what comes until the connection ends. It returns why.
func (c *client) read(conn net.Conn, in []byte) error {
	begin, last, asked := time.Now(), time.Now(), false
	buf := make([]byte, readBytes)
	var whole []byte // the beginning of a message in several frames
	for {
		var err error
		if in, whole, err = c.consume(in, whole); err != nil {
			return err
		}
		atWork, err := c.arm(begin, last, asked)
		if err != nil {
			return err
		}
		n, err := conn.Read(buf)
		if n > 0 {
			last, asked = time.Now(), false
			in = append(in, buf[:n]...)
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && atWork && !asked && c.ping() == nil:
			asked = true
		case errors.Is(err, os.ErrDeadlineExceeded):
			return errSilent
		case errors.Is(err, io.EOF):
			return errGone
		default:
			return err
		}
		buf = fitted(buf, n)
	}
}

// arm sets the time for the next read, unless the end was asked for, which has set one. It reports whether the client is ready,
// and fails when a write has failed.
func (c *client) arm(begin, last time.Time, asked bool) (atWork bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.broken != nil:
		return false, c.broken
	case c.leaving:
		return false, nil
	case c.stage < ready:
		return false, c.conn.SetReadDeadline(begin.Add(c.load.config.Patience))
	case asked:
		return true, c.conn.SetReadDeadline(last.Add(silence))
	}
	return true, c.conn.SetReadDeadline(last.Add(pingAfter))
}

// fitted is a buffer for the next read: larger while much comes, small while little does.
func fitted(buf []byte, n int) []byte {
	switch {
	case n == len(buf) && n < 64<<10:
		return make([]byte, 4*n)
	case n < readBytes && len(buf) > readBytes:
		return make([]byte, readBytes)
	}
	return buf
}

// writeLocked sends frames.
func (c *client) writeLocked(frames []byte) error {
	if len(frames) == 0 {
		return nil
	}
	err := c.conn.SetWriteDeadline(time.Now().Add(writePatience))
	if err == nil {
		_, err = c.conn.Write(frames)
	}
	if err != nil && c.broken == nil {
		c.broken = fmt.Errorf("writing: %w", err)
		_ = c.conn.SetReadDeadline(time.Unix(1, 0)) // the reader ends it
	}
	return err
}

// leave asks for the end: politely, so that the server closes the connection.
func (c *client) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving = true
	if c.conn == nil {
		return
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(byePatience))
	_ = c.conn.SetWriteDeadline(time.Now().Add(byePatience))
	_, _ = c.conn.Write(frame.Append(nil, ws.OpClose, ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))
}
