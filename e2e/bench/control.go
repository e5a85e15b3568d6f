//go:build linux

package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A control publishes actions through the server's control API, on a few connections that stay
// open. Each has one request under way at most.
type control struct {
	// Static.
	f       *fleet
	servers []netip.AddrPort // each connection goes to the next
	heads   []string         // of a request to each, up to the value of Content-Length
	secret  string
	padding string // makes an action as large as asked

	conns []controlConn

	// How to publish; on channel after channel.
	only   []int // these channels; nil: all
	window int   // so many publications that did not reach everybody yet; 0: no such limit
	every  int64 // nanoseconds from one publication to the next; 0: as soon as the window allows
	on     bool
	due    int64
	turn   int

	progress   int64 // deliveries when something last arrived, and when that was
	progressAt int64
	stalls     int // times when publications were given up because nothing arrived any more
	answered   int64
	body       []byte
}

// A controlConn is one HTTP connection.
type controlConn struct {
	fd   int
	busy bool
	out  []byte // what the socket did not take yet
	in   []byte // of a response that is not complete
}

// stallAfter is how long publications that reach nobody hold up the next ones.
const stallAfter = int64(2 * time.Second)

// newControl prepares requests to path on servers; an action is about size bytes long.
func newControl(f *fleet, servers []netip.AddrPort, path, secret string, size, conns int) *control {
	c := &control{
		f: f, servers: servers, secret: secret, conns: make([]controlConn, conns),
		padding: strings.Repeat("x", max(size-len(`{"type":"bench/note","m":"00.0000.0000","text":""}`), 0)),
	}
	for i := range c.conns {
		c.conns[i].fd = -1
	}
	for _, server := range servers {
		c.heads = append(c.heads, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: ", path, server))
	}
	return c
}

func (c *control) close() {
	for i := range c.conns {
		if c.conns[i].fd >= 0 {
			reset(int32(c.conns[i].fd))
		}
	}
}

// start begins to publish with a window, or at a rate per second when that is not 0.
func (c *control) start(window int, rate float64) {
	c.window, c.every, c.on = window, 0, true
	c.due = now()
	c.progressAt = c.due
	if rate > 0 {
		c.window, c.every = 0, int64(float64(time.Second)/rate)
	}
}

func (c *control) stop() { c.on = false }

// settled reports whether all publications reached everybody and are answered.
func (c *control) settled() bool {
	for i := range c.conns {
		if c.conns[i].busy {
			return false
		}
	}
	return c.f.tally.open == 0
}

// work publishes what is due, and returns how long nothing is.
func (c *control) work(at int64) (idle int64) {
	const long = int64(time.Second)
	if !c.on {
		return long
	}
	t := c.f.tally
	if t.delivered != c.progress || t.open == 0 {
		c.progress, c.progressAt = t.delivered, at
	} else if at-c.progressAt > stallAfter {
		// What is missing will be counted as lost; the next ones shall not wait for it.
		t.open, c.progressAt = 0, at
		c.stalls++
	}
	for {
		if c.window > 0 && t.open >= c.window {
			return long
		}
		if at < c.due {
			return c.due - at
		}
		i := c.free()
		if i < 0 {
			return long
		}
		if c.only != nil {
			c.publish(i, c.only[c.turn%len(c.only)])
		} else {
			c.publish(i, c.turn%len(t.channels))
		}
		c.turn++
		if c.every > 0 {
			c.due += c.every
		}
	}
}

func (c *control) free() int {
	for i := range c.conns {
		if !c.conns[i].busy {
			return i
		}
	}
	return -1
}

// publish sends one action for a channel on connection i.
func (c *control) publish(i, channel int) {
	m := c.f.tally.publish(channel, now())
	kind, name := "channels", c.f.channelName(channel)
	if c.f.direct {
		kind, name = "clients", strings.TrimSuffix(c.f.nodeID(channel), ":t")
	}
	c.body = fmt.Appendf(c.body[:0], `{"version":4,"secret":"%s","commands":[{"command":"action","action":{"type":"bench/note","m":"%d.%d.%d","text":"%s"},"meta":{"%s":["%s"]}}]}`,
		c.secret, m.channel, m.seq, m.publication, c.padding, kind, name)
	conn := &c.conns[i]
	conn.busy = true
	conn.out = append(conn.out[:0], c.heads[i%len(c.heads)]...)
	conn.out = strconv.AppendInt(conn.out, int64(len(c.body)), 10)
	conn.out = append(conn.out, "\r\n\r\n"...)
	conn.out = append(conn.out, c.body...)
	if conn.fd < 0 {
		fd, err := dial(c.servers[i%len(c.servers)], 0)
		if err != nil {
			c.f.fail("control API: %v", err)
			return
		}
		conn.fd = fd
		event := unix.EpollEvent{Fd: int32(i), Pad: aboutControl, Events: unix.EPOLLIN | unix.EPOLLOUT}
		if err := unix.EpollCtl(c.f.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
			c.f.fail("epoll: %v", err)
		}
		return
	}
	if c.flush(conn); len(conn.out) > 0 {
		c.watch(i, unix.EPOLLIN|unix.EPOLLOUT)
	}
}

func (c *control) watch(i int, events uint32) {
	event := unix.EpollEvent{Fd: int32(i), Pad: aboutControl, Events: events}
	if err := unix.EpollCtl(c.f.epoll, unix.EPOLL_CTL_MOD, c.conns[i].fd, &event); err != nil {
		c.f.fail("epoll: %v", err)
	}
}

// flush writes what the socket takes.
func (c *control) flush(conn *controlConn) {
	n, err := unix.Write(conn.fd, conn.out)
	if err != nil && err != unix.EAGAIN {
		c.f.fail("control API: write: %v", err)
		return
	}
	conn.out = append(conn.out[:0], conn.out[max(n, 0):]...)
}

func (c *control) event(i int, events uint32) {
	conn := &c.conns[i]
	if conn.fd < 0 {
		return
	}
	if events&unix.EPOLLOUT != 0 {
		if c.flush(conn); len(conn.out) == 0 {
			c.watch(i, unix.EPOLLIN)
		}
	}
	if events&^unix.EPOLLOUT == 0 {
		return
	}
	n, err := unix.Read(conn.fd, c.f.in)
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if err != nil || n == 0 {
		// A server may close a connection at rest; a request without its answer is a failure.
		if conn.busy {
			c.f.fail("control API: the connection ended without an answer: %v", err)
		}
		_ = unix.Close(conn.fd)
		*conn = controlConn{fd: -1}
		return
	}
	conn.in = append(conn.in, c.f.in[:n]...)
	if status, size := response(conn.in); size > 0 {
		if status != 200 {
			c.f.fail("control API: %s", conn.in)
		}
		conn.in = conn.in[:0]
		conn.busy = false
		c.answered++
	}
}

// response reads the status of an HTTP response and how long it is; the size is 0 while it is not
// complete. Responses of the control API are short: a chunked one ends with the first empty chunk.
func response(data []byte) (status, size int) {
	head, body, complete := bytes.Cut(data, []byte("\r\n\r\n"))
	if !complete || len(head) < len("HTTP/1.1 200") {
		return 0, 0
	}
	code, _ := number(head[len("HTTP/1.1 "):])
	size = len(head) + len("\r\n\r\n")
	fields := bytes.ToLower(head)
	if _, value, found := bytes.Cut(fields, []byte("\r\ncontent-length: ")); found {
		length, _ := number(value)
		if size += int(length); len(data) < size {
			return 0, 0
		}
	} else if bytes.Contains(fields, []byte("\r\ntransfer-encoding: chunked")) {
		const last = "0\r\n\r\n"
		end := bytes.Index(body, []byte(last))
		if end < 0 {
			return 0, 0
		}
		size += end + len(last)
	}
	return int(code), size
}
