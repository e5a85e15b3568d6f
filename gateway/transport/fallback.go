package transport

import (
	"context"
	"errors"
	"net"
	"net/http"
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
	fallbackBacklog = 128
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

// newFallback returns the server of everything that is not a WebSocket.
func newFallback(s *Server) *http.Server {
	c := &s.config
	errorLog, err := zap.NewStdLogAt(c.Log, zap.DebugLevel)
	if err != nil {
		panic(err) // only a level that does not exist
	}
	return &http.Server{
		Handler:           c.Fallback,
		ReadHeaderTimeout: c.Limits.HandshakeTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout,
		IdleTimeout:       fallbackIdle,
		MaxHeaderBytes:    c.Limits.Head,
		ErrorLog:          errorLog,
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
	for {
		select {
		case c := <-s.handover.conns:
			_ = c.Close()
			continue
		default:
		}
		break
	}
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
	var conn net.Conn
	if c.pipe != nil {
		conn = c.pipe.release()
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
	r := &replayed{Conn: conn, early: early, peer: net.TCPAddrFromAddrPort(peer), gone: func() { l.server.sockets.Add(-1) }}
	if !l.server.handover.offer(r) {
		l.stats.Refused[RefusedLimit]++
		_ = r.Close()
	}
}

// replayed is a connection of which the loop has read the beginning.
type replayed struct {
	net.Conn
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
