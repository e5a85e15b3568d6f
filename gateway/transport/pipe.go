package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"logux-proxy/gateway/transport/poll"
)

const (
	pipeRead  = 4 << 10  // the reader's buffer, which an idle connection keeps
	pipeWrite = 16 << 10 // what the writer is given at once, and so the step of its progress
)

// A pipe stands for the socket of a connection that cannot be polled: one of TLS, or on a system
// without epoll. Its reader and its writer goroutine each hold one piece of data at most; the loop does
// everything else.
type pipe struct {
	// Static
	server *Server
	loop   *Loop
	raw    net.Conn // the socket
	conn   net.Conn // raw, or TLS on it
	done   chan struct{}
	resume chan struct{} // the reader may go on
	writes chan []byte   // nil = end of stream

	// The reader's while it reads, the loop's from readDone to resume
	buf []byte
	n   int
	err error

	// The writer's while it writes, the loop's else
	out      []byte
	writeErr error

	// Owned by the loop
	c        *Conn
	arrived  bool // buf has what was not looked at yet
	awaiting bool // the reader waits for resume
	writing  bool
	closed   bool
}

// newPipe starts the goroutines of an accepted connection. They end when the loop closes or
// releases the pipe, or before it has one when the handshake of TLS fails.
func newPipe(s *Server, raw net.Conn, peer netip.AddrPort, full bool) {
	p := makePipe(s, raw, raw)
	s.pipes.Go(func() {
		if s.config.TLS != nil {
			var err error
			if peer, err = p.handshake(peer); err != nil {
				s.badTLS.Add(1)
				s.sockets.Add(-1)
				_ = raw.Close()
				return
			}
		}
		p.serve(arrival{fd: -1, pipe: p, peer: peer, full: full})
	})
}

// adoptPipe does the same for a connection that the HTTP server gives back.
func adoptPipe(s *Server, raw, conn net.Conn, peer netip.AddrPort, early []byte) {
	p := makePipe(s, raw, conn)
	s.pipes.Go(func() { p.serve(arrival{fd: -1, pipe: p, peer: peer, early: early}) })
}

func makePipe(s *Server, raw, conn net.Conn) *pipe {
	return &pipe{
		server: s, loop: s.turn(), raw: raw, conn: conn,
		done:   make(chan struct{}),
		resume: make(chan struct{}, 1),
		writes: make(chan []byte, 2),
		buf:    make([]byte, pipeRead),
	}
}

// serve is the life of the goroutines.
func (p *pipe) serve(a arrival) {
	p.server.pipes.Go(p.writer)
	if !p.loop.arrive(a) {
		p.server.sockets.Add(-1)
		p.close()
		return
	}
	p.reader()
}

// handshake speaks TLS's, after the PROXY header of a trusted peer, which comes before it in the clear.
func (p *pipe) handshake(peer netip.AddrPort) (netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(context.Background(), p.server.config.Limits.HandshakeTimeout)
	defer cancel()
	under := p.raw
	if p.server.trusts(peer.Addr()) {
		if err := p.raw.SetReadDeadline(time.Now().Add(p.server.config.Limits.HandshakeTimeout)); err != nil {
			return peer, err
		}
		var data []byte
		for {
			n, err := p.raw.Read(p.buf[:min(len(p.buf), maxProxyV2)])
			if err != nil {
				return peer, err
			}
			data = append(data, p.buf[:n]...)
			named, size, r := readProxyHeader(data)
			if r != nil {
				return peer, errProxyHeader
			}
			if size < 0 {
				continue
			}
			if named.IsValid() {
				peer = named
			}
			under = &replayed{Conn: p.raw, early: data[size:], peer: p.raw.RemoteAddr(), gone: func() {}}
			break
		}
		if err := p.raw.SetReadDeadline(time.Time{}); err != nil {
			return peer, err
		}
	}
	conn := tls.Server(under, p.server.config.TLS)
	p.conn = conn
	return peer, conn.HandshakeContext(ctx)
}

var errProxyHeader = errors.New("transport: malformed PROXY header")

// reader reads a piece, lets the loop have it, and waits until the loop is through with it.
func (p *pipe) reader() {
	for {
		p.n, p.err = p.conn.Read(p.buf)
		failed := p.err != nil
		if !p.loop.Post((*readDone)(p)) || failed {
			return
		}
		select {
		case <-p.resume:
		case <-p.done:
			return
		}
	}
}

// writer writes what the loop hands it, a piece at a time.
func (p *pipe) writer() {
	for {
		select {
		case piece := <-p.writes:
			if piece == nil {
				if half, ok := p.conn.(interface{ CloseWrite() error }); ok {
					// A failure shows when the reader meets it.
					_ = half.CloseWrite()
				}
				continue
			}
			if p.writeErr = p.conn.SetWriteDeadline(time.Now().Add(p.server.config.Limits.WriteTimeout)); p.writeErr == nil {
				_, p.writeErr = p.conn.Write(piece)
			}
			if !p.loop.Post((*writeDone)(p)) {
				return
			}
		case <-p.done:
			return
		}
	}
}

// readDone is the task that hands the loop what was read.
type readDone pipe

// Run implements Task.
func (r *readDone) Run(*Loop) {
	p := (*pipe)(r)
	p.arrived = true
	if !p.closed {
		p.deliver(p.c)
	}
}

// writeDone is the task that tells the loop that a piece was written.
type writeDone pipe

// Run implements Task.
func (w *writeDone) Run(l *Loop) {
	p := (*pipe)(w)
	p.writing = false
	switch c := p.c; {
	case p.closed:
	case errors.Is(p.writeErr, os.ErrDeadlineExceeded):
		c.failed(CloseSlow)
	case p.writeErr != nil:
		c.failed(CloseNetwork)
	case c.blocked:
		l.writable(c)
	}
}

// deliver makes a visit of c with what was read, if anything was and c is to be read.
func (p *pipe) deliver(c *Conn) {
	if !p.arrived || c.paused {
		return
	}
	p.arrived = false
	p.awaiting = p.err == nil
	// The visit may let the reader go on, and then these are its own again.
	n, err := p.n, p.err
	if n > 0 {
		p.loop.received(c, p.buf[:n])
	}
	switch {
	case p.closed:
	case errors.Is(err, io.EOF):
		c.failed(ClosePeer)
	case err != nil:
		c.failed(CloseNetwork)
	default:
		p.watch()
	}
}

// watch lets the reader go on unless c is not to be read.
func (p *pipe) watch() {
	if p.awaiting && !p.c.paused {
		p.awaiting = false
		p.resume <- struct{}{}
	}
}

// write takes a piece of b, or none while the one before is being written.
func (p *pipe) write(b []byte) (int, error) {
	if p.writing {
		return 0, poll.ErrAgain
	}
	p.out = append(p.out[:0], b[:min(len(b), pipeWrite)]...)
	p.writing = true
	p.writes <- p.out
	return len(p.out), nil
}

// finishWrites ends our side of the stream behind what was written. It may be called once.
func (p *pipe) finishWrites() { p.writes <- nil }

// close ends the pipe and its goroutines.
func (p *pipe) close() {
	p.closed = true
	close(p.done)
	_ = p.raw.Close()
}

// release ends the goroutines and returns the connection, of which nothing was written yet. The caller is in deliver:
// the reader waits.
func (p *pipe) release() (conn, raw net.Conn) {
	p.closed = true
	close(p.done)
	return p.conn, p.raw
}
