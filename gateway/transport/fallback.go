package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"logux-proxy/gateway/transport/poll"
)

// Limits of the HTTP server behind the port; the head's are those of an upgrade.
const (
	requestTimeout  = 60 * time.Second // to read a request, to write its response
	fallbackIdle    = 75 * time.Second // between two requests
	fallbackBacklog = 4096
	fallbackGrace   = 2 * time.Second // at the end, for requests under way
)

// handover is the net.Listener of the HTTP server: its connections come from the loops.
type handover struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newHandover(addr net.Addr) *handover {
	return &handover{addr: addr, conns: make(chan net.Conn, fallbackBacklog), done: make(chan struct{})}
}

// Accept implements net.Listener.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

// Addr implements net.Listener.
func (h *handover) Addr() net.Addr { return h.addr }

// offer hands c over without waiting; it reports false when nobody can take it.
func (h *handover) offer(c net.Conn) bool {
	select {
	case <-h.done:
		return false
	default:
	}
	select {
	case h.conns <- c:
		return true
	default:
		return false
	}
}

// drain closes what was handed over too late.
func (h *handover) drain() {
	for {
		select {
		case c := <-h.conns:
			_ = c.Close()
		default:
			return
		}
	}
}

// newFallback returns the server of everything that is not a WebSocket.
func newFallback(s *Server) *http.Server {
	c := &s.config
	errorLog, err := zap.NewStdLogAt(c.Log, zap.DebugLevel)
	if err != nil {
		panic(err) // only a level that does not exist
	}
	return &http.Server{
		Handler:           http.HandlerFunc(s.serveRequest),
		ReadHeaderTimeout: c.Limits.HandshakeTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout,
		IdleTimeout:       fallbackIdle,
		MaxHeaderBytes:    c.Limits.Head,
		ErrorLog:          errorLog,
	}
}

// serveRequest is the HTTP server's handler.
func (s *Server) serveRequest(w http.ResponseWriter, r *http.Request) {
	if len(r.Header["Upgrade"]) > 0 {
		s.takeBack(w, r)
		return
	}
	s.config.Fallback.ServeHTTP(w, r)
}

// takeBack gives a connection on which an upgrade follows another request to a loop again. Browsers do not do that,
// but a proxy in front of us that keeps connections alive does.
func (s *Server) takeBack(w http.ResponseWriter, r *http.Request) {
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s %s\r\nHost: %s\r\n", r.Method, r.RequestURI, r.Proto, r.Host)
	// net/http takes these out of the header.
	if r.ContentLength > 0 {
		fmt.Fprintf(&head, "Content-Length: %d\r\n", r.ContentLength)
	}
	if len(r.TransferEncoding) > 0 {
		head.WriteString("Transfer-Encoding: chunked\r\n")
	}
	_ = r.Header.Write(&head) // a Buffer takes everything
	head.WriteString("\r\n")

	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "upgrade is not possible", http.StatusInternalServerError)
		return
	}
	_, err = io.CopyN(&head, buffered, int64(buffered.Reader.Buffered()))
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	back, ok := conn.(*replayed)
	if err != nil || !ok {
		_ = conn.Close()
		return
	}
	head.Write(back.early)
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	if s.config.Goroutines {
		// What the loop read at first was read by the HTTP server since.
		adoptPipe(s, back.raw, back.Conn, peer, head.Bytes())
		return
	}
	fd, err := poll.Take(back.Conn.(poll.Socket))
	if err != nil {
		_ = conn.Close()
		return
	}
	if !s.turn().arrive(arrival{fd: fd, peer: peer, early: head.Bytes()}) {
		poll.Close(fd)
		s.sockets.Add(-1)
	}
}

// serveFallback runs the HTTP server until ctx ends.
func (s *Server) serveFallback(ctx context.Context) error {
	var stopped sync.WaitGroup
	stopped.Go(func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), fallbackGrace)
		defer cancel()
		if s.http.Shutdown(grace) != nil {
			_ = s.http.Close()
		}
	})
	err := s.http.Serve(s.handover)
	stopped.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// passOn hands a connection whose request is no upgrade to the HTTP server, for good. data is what
// was read of it.
func (c *Conn) passOn(data []byte) {
	l := c.loop
	peer := c.in.peer
	early := slices.Clone(data)
	var conn, raw net.Conn
	if c.pipe != nil {
		conn, raw = c.pipe.release()
		c.detach()
	} else {
		// Out of the poller first: net.Conn is a copy of the descriptor, and the kernel keeps watching until
		// the last copy is gone.
		err := l.poller.Remove(int(c.fd))
		c.detach()
		if err == nil {
			conn, err = poll.NetConn(int(c.fd))
		}
		if err != nil {
			l.log.Error("request dropped: its connection cannot be handed over", zap.Error(err))
			l.server.sockets.Add(-1)
			return
		}
	}
	r := &replayed{Conn: conn, raw: raw, early: early, peer: net.TCPAddrFromAddrPort(peer), gone: func() { l.server.sockets.Add(-1) }}
	if !l.server.handover.offer(r) {
		l.stats.Refused[RefusedLimit]++
		_ = r.Close()
	}
}

// replayed is a connection of which the loop has read the beginning.
type replayed struct {
	net.Conn
	raw   net.Conn // what a pipe needs to be made again
	early []byte
	peer  net.Addr
	gone  func()
	once  sync.Once
}

// Read returns what the loop read, then what follows.
func (r *replayed) Read(p []byte) (int, error) {
	if len(r.early) > 0 {
		n := copy(p, r.early)
		if r.early = r.early[n:]; len(r.early) == 0 {
			r.early = nil
		}
		return n, nil
	}
	return r.Conn.Read(p)
}

// RemoteAddr is the peer's, or whom a believed PROXY header names.
func (r *replayed) RemoteAddr() net.Addr { return r.peer }

// Close implements net.Conn.
func (r *replayed) Close() error {
	r.once.Do(r.gone)
	return r.Conn.Close()
}
