package transport

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"logux-proxy/gateway/transport/poll"
)

const (
	// listenerToken is the listener's in the first loop's poller; no slot has it.
	listenerToken = math.MaxUint64 - 1
	// acceptsPerTurn leaves the loop's own connections their share while a crowd comes in.
	acceptsPerTurn = 64
	// acceptPause is how long accepting rests when there is no descriptor, or no permit for another connection.
	acceptPause = 100 * time.Millisecond
	// maxOverfull is how many sockets beyond Limits.Connections may be alive at once to hear 503.
	maxOverfull = 256
)

// A listener accepts connections and deals them out to the loops in turn. With raw descriptors it
// belongs to the first loop; else it has a goroutine.
type listener struct {
	// Static
	addr  net.Addr
	rate  *rate.Limiter
	limit int64
	log   *zap.Logger
	net   net.Listener // for goroutines
	once  sync.Once

	// Owned by the loop or goroutine that accepts
	server   *Server
	fd       int // -1 once closed
	timer    timer
	lastLog  time.Time // of a failure; more than one a second says nothing new
	watching bool
}

// listen binds c.Addr.
func listen(c *Config) (*listener, error) {
	options := poll.Options{NotSentLowat: notSentLowat, UserTimeout: userTimeout, KeepAlive: keepAlive}
	lc := net.ListenConfig{Control: options.Control, KeepAlive: keepAlive}
	lc.SetMultipathTCP(false) // its sockets cost more, and nobody's client speaks it to us
	ln, err := lc.Listen(context.Background(), "tcp", c.Addr)
	if err != nil {
		return nil, fmt.Errorf("transport: listening on %s: %w", c.Addr, err)
	}
	// Connections come in bursts after an outage; what a tenth of a second may bring is let in at once.
	burst := max(1, c.Limits.ConnectRate/10)
	l := &listener{
		addr:  ln.Addr(),
		rate:  rate.NewLimiter(rate.Limit(c.Limits.ConnectRate), burst),
		limit: int64(c.Limits.Connections),
		log:   c.Log,
		fd:    -1,
	}
	l.timer.kind = timerAccept
	if c.Goroutines {
		l.net = ln
		return l, nil
	}
	if l.fd, err = poll.Take(ln.(*net.TCPListener)); err != nil {
		return nil, errors.Join(fmt.Errorf("transport: listening on %s: %w", c.Addr, err), ignoreClosed(ln.Close()))
	}
	return l, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// abandon closes a listener that nobody runs.
func (n *listener) abandon() {
	n.once.Do(func() {
		if n.net != nil {
			_ = n.net.Close()
		} else {
			poll.Close(n.fd)
			n.fd = -1
		}
	})
}

// stop asks whoever runs the listener to close it.
func (n *listener) stop(s *Server) {
	if n.net != nil {
		n.abandon()
		return
	}
	s.loops[0].Post(stopAccepting{})
}

// stopAccepting is the task that closes the listener.
type stopAccepting struct{}

// Run implements Task.
func (stopAccepting) Run(l *Loop) { l.listener.close(l) }

// open begins to accept on l, which does not run yet.
func (n *listener) open(l *Loop) {
	n.server = l.server
	if n.fd >= 0 {
		n.resume(l)
	}
}

func (n *listener) close(l *Loop) {
	l.wheel.clear(&n.timer)
	n.abandon()
}

// resume watches the listener again.
func (n *listener) resume(l *Loop) {
	if n.fd < 0 || n.watching {
		return
	}
	if err := l.poller.Add(n.fd, listenerToken, poll.In); err != nil {
		n.pause(l, err)
		return
	}
	n.watching = true
}

// pause stops watching for a while; connections wait in the kernel's queue.
func (n *listener) pause(l *Loop, err error) {
	if err != nil {
		n.complain(err)
	}
	if n.watching {
		// A descriptor that cannot be removed would be reported again, and lead here again.
		_ = l.poller.Remove(n.fd)
		n.watching = false
	}
	l.wheel.set(&n.timer, l.now+acceptPause)
}

func (n *listener) complain(err error) {
	if t := time.Now(); t.Sub(n.lastLog) >= time.Second {
		n.lastLog = t
		n.log.Error("no connections are accepted for the moment", zap.Error(err), zap.Duration("pause", acceptPause))
	}
}

// accept takes connections until none waits.
func (n *listener) accept(l *Loop) {
	for range acceptsPerTurn {
		if n.fd < 0 {
			return
		}
		if n.rate.Tokens() < 1 {
			n.pause(l, nil)
			return
		}
		fd, peer, err := poll.Accept(n.fd)
		switch {
		case errors.Is(err, poll.ErrAgain):
			return
		case err != nil:
			n.pause(l, err)
			return
		}
		n.rate.Allow()
		full, ok := n.admit()
		if !ok {
			poll.Close(fd)
			continue
		}
		if !n.server.turn().arrive(arrival{fd: fd, peer: peer, full: full}) {
			poll.Close(fd)
			n.server.sockets.Add(-1)
		}
	}
}

// admit counts an accepted socket. It is full when it can only be told to come later, and not ok when there are many
// of these already.
func (n *listener) admit() (full, ok bool) {
	s := n.server
	s.accepted.Add(1)
	count := s.sockets.Add(1)
	if count > n.limit+maxOverfull {
		s.sockets.Add(-1)
		s.overfull.Add(1)
		return true, false
	}
	return count > n.limit, true
}

// run accepts for connections with goroutines until ctx ends or the listener is closed.
func (n *listener) run(ctx context.Context, s *Server) error {
	n.server = s
	unblock := context.AfterFunc(ctx, n.abandon)
	defer unblock()
	for {
		if err := n.rate.Wait(ctx); err != nil {
			return nil //nolint:nilerr // ctx has ended
		}
		conn, err := n.net.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			n.complain(err)
			if !sleep(ctx, acceptPause) {
				return nil
			}
			continue
		}
		full, ok := n.admit()
		if !ok {
			_ = conn.Close()
			continue
		}
		if full && s.config.TLS != nil {
			// Telling it so would take a handshake, the dearest thing of all.
			s.overfull.Add(1)
			s.sockets.Add(-1)
			_ = conn.Close()
			continue
		}
		peer, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
		peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
		newPipe(s, conn, peer, full)
	}
}

// sleep waits for d; it returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
