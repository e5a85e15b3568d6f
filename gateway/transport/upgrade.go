package transport

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws"
	"go.uber.org/zap"
)

// readHead gathers the request's head from data and answers it.
func (c *Conn) readHead(data []byte) {
	l := c.loop
	in := c.in
	if len(in.rest) > 0 {
		in.rest = append(l.pool.grow(in.rest, len(data), len(in.rest)+len(data)), data...)
		data = in.rest
	}
	if !in.proxied && l.server.trusts(in.peer.Addr()) {
		peer, n, r := readProxyHeader(data)
		switch {
		case r != nil:
			c.refuse(r, RefusedRequest)
			return
		case n < 0:
			c.keepHead(data)
			return
		}
		if peer.IsValid() {
			in.peer = peer
		}
		data = data[n:]
		if in.rest != nil {
			in.rest = in.rest[:copy(in.rest, data)]
			data = in.rest
		}
	}
	in.proxied = true

	end, r := headEnd(data, in.scanned)
	in.scanned = len(data)
	switch {
	case r != nil:
		c.refuse(r, RefusedRequest)
		return
	case end > l.limits.Head, end == 0 && len(data) > l.limits.Head:
		c.refuse(tooLong, RefusedRequest)
		return
	case end == 0:
		c.keepHead(data)
		return
	}
	h, r := parseHead(data[:end])
	if r != nil {
		c.refuse(r, RefusedRequest)
		return
	}
	if h.seen&hasUpgrade == 0 {
		c.passOn(data)
		return
	}
	if r := h.checkUpgrade(); r != nil {
		c.refuse(r, RefusedRequest)
		return
	}
	if !l.server.config.CheckOrigin(string(h.origin), string(h.host)) {
		l.originLog.Do(func() {
			l.log.Warn("connection refused: its page's origin is not allowed",
				zap.ByteString("origin", clip(h.origin)), zap.ByteString("host", clip(h.host)), zap.Stringer("address", in.peer.Addr()))
		})
		c.refuse(badOrigin, RefusedOrigin)
		return
	}
	c.upgrade(&h, data[:end], data[end:])
}

// clip bounds what a peer can make a log line of.
func clip(p []byte) []byte { return p[:min(len(p), 256)] }

// keepHead keeps an incomplete head.
func (c *Conn) keepHead(data []byte) {
	in := c.in
	if len(in.rest) == 0 && len(data) > 0 {
		in.rest = append(c.loop.pool.grow(in.rest, len(data), len(data)), data...)
	}
}

// upgrade answers the request with 101 and opens the connection. early is what the client sent
// without waiting for the answer.
func (c *Conn) upgrade(h *head, raw, early []byte) {
	l := c.loop
	u := l.upgrader
	u.request, u.extension = raw, 0
	if _, err := u.Upgrade(u); err != nil {
		// Whatever the checks before let through, the refusal is ours: one form for all.
		l.out = l.out[:0]
		c.refuse(badUpgrade, RefusedRequest)
		return
	}
	in := c.in
	req := &Request{
		RemoteAddr: l.server.clientAddr(in.peer.Addr(), h.forwardedFor),
		Cookie:     string(bytes.Join(h.cookies, []byte("; "))),
		Origin:     string(h.origin),
		UserAgent:  string(h.userAgent),
	}
	c.windowBits = u.extension
	// From here on the connection rests whenever no frame is incomplete. early may lie in rest.
	rest := in.rest
	in.rest = nil
	c.releaseInbound()
	c.phase = phaseOpen
	c.known = true
	l.stats.Upgraded++
	l.stats.Connections++
	l.handler.Open(c, req)
	if len(early) > 0 {
		c.readFrames(early)
	}
	if rest != nil {
		l.pool.put(rest)
	}
}

// An upgrader runs the library's handshake over bytes that are in memory. Each loop has one.
type upgrader struct {
	ws.Upgrader
	loop      *Loop
	request   []byte
	extension uint8 // the window bits negotiated, 0 without compression
}

func newUpgrader(l *Loop) *upgrader {
	u := &upgrader{loop: l}
	if l.server.config.Compression {
		u.Negotiate = func(offer httphead.Option) (httphead.Option, error) {
			if u.extension != 0 {
				return httphead.Option{}, nil // the first acceptable offer counts
			}
			answer, bits := negotiateDeflate(offer)
			u.extension = bits
			return answer, nil
		}
	}
	return u
}

// Read gives the library the request.
func (u *upgrader) Read(p []byte) (int, error) {
	if len(u.request) == 0 {
		return 0, io.EOF
	}
	n := copy(p, u.request)
	u.request = u.request[n:]
	return n, nil
}

// Write takes the response; it leaves with the visit's output.
func (u *upgrader) Write(p []byte) (int, error) {
	u.loop.out = append(u.loop.out, p...)
	return len(p), nil
}

// refuse answers a request with an error and ends the connection.
func (c *Conn) refuse(r *refusal, why Refusal) {
	l := c.loop
	l.stats.Refused[why]++
	l.out = append(l.out, r.response()...)
	c.linger(CloseNone)
}

// headTimeout ends a connection whose request did not arrive in time. One that never said anything is
// closed without a word: browsers open connections ahead of need, and would take an answer for that of their next
// request.
func (c *Conn) headTimeout() {
	c.loop.stats.Refused[RefusedRequest]++
	if len(c.in.rest) == 0 {
		c.doom(CloseNone)
		return
	}
	c.loop.out = append(c.loop.out, tooLate.response()...)
	c.linger(CloseNone)
}

// response is the HTTP response that r stands for.
func (r *refusal) response() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %s\r\n",
		r.status, http.StatusText(r.status), strconv.Itoa(len(r.text)+1))
	switch r.status {
	case http.StatusUpgradeRequired:
		// Section 4.4 of RFC 6455 wants the versions, section 7.8 of RFC 9110 the protocol.
		b.WriteString("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
	case http.StatusServiceUnavailable:
		b.WriteString("Retry-After: 5\r\n")
	}
	b.WriteString("\r\n" + r.text + "\n")
	return []byte(b.String())
}
