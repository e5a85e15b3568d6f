package transport

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"logux-proxy/gateway/transport/poll"
)

// A Server accepts connections and runs the loops.
type Server struct {
	// Static
	config   Config
	addr     net.Addr
	listener *listener
	loops    []*Loop
	http     *http.Server
	handover *handover // where connections that are no WebSockets go

	turns    atomic.Uint32 // sockets dealt out to loops
	sockets  atomic.Int64
	accepted atomic.Int64
	overfull atomic.Int64 // sockets beyond the limit, alive to be told so
	badTLS   atomic.Int64
	pipes    sync.WaitGroup // goroutines of connections

	// Guarded by mu
	mu      sync.Mutex
	running bool // the listener is the loop's or its goroutine's, and not StopAccepting's, to close
}

// New checks c and opens the listener; it starts nothing.
func New(c Config) (*Server, error) {
	c.defaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	s := &Server{config: c}
	ln, err := listen(&s.config)
	if err != nil {
		return nil, err
	}
	s.addr, s.listener = ln.addr, ln
	s.handover = newHandover(ln.addr)
	s.http = newFallback(s)
	for i := range c.Loops {
		s.loops = append(s.loops, newLoop(s, i))
	}
	return s, nil
}

// Addr is the address that New bound.
func (s *Server) Addr() net.Addr { return s.addr }

// Loops returns the loops, in order of their Index.
func (s *Server) Loops() []*Loop { return s.loops }

// Run serves until ctx ends, then closes every connection with 1001 and returns when all
// goroutines are gone. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.running {
		s.mu.Unlock()
		return errors.New("transport: Run called twice")
	}
	s.running = true
	s.mu.Unlock()
	ln := s.listener

	if err := s.openPollers(); err != nil {
		ln.abandon()
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, len(s.loops)+2)
	var running sync.WaitGroup
	running.Go(func() { errs <- s.serveFallback(ctx) })
	if s.config.Goroutines {
		running.Go(func() { errs <- ln.run(ctx, s) })
	} else {
		s.loops[0].listener = ln
		ln.open(s.loops[0])
	}
	for _, l := range s.loops {
		running.Go(func() {
			err := l.run()
			cancel() // one that fails takes the others with it
			errs <- err
		})
	}
	<-ctx.Done()
	for _, l := range s.loops {
		l.Post(stop{})
	}
	running.Wait()
	s.pipes.Wait()
	s.handover.drain()
	close(errs)
	var err error
	for e := range errs {
		err = errors.Join(err, e)
	}
	for _, l := range s.loops {
		err = errors.Join(err, l.poller.Close())
	}
	return err
}

func (s *Server) openPollers() error {
	for i, l := range s.loops {
		p, err := poll.New()
		if err != nil {
			for _, opened := range s.loops[:i] {
				err = errors.Join(err, opened.poller.Close())
			}
			return err
		}
		l.poller = p
	}
	return nil
}

// StopAccepting closes the listener; connections live on. Any goroutine may call it.
func (s *Server) StopAccepting() {
	s.mu.Lock()
	if !s.running {
		s.listener.abandon()
	}
	running := s.running
	s.mu.Unlock()
	if running {
		s.listener.stop(s)
	}
}

// turn returns the loop that gets the next socket.
func (s *Server) turn() *Loop { return s.loops[int(s.turns.Add(1)-1)%len(s.loops)] }

// Stats sums up the counters of all loops. Any goroutine may call it.
func (s *Server) Stats() Stats {
	sum := Stats{Sockets: s.sockets.Load(), Accepted: s.accepted.Load()}
	sum.Refused[RefusedLimit] = s.overfull.Load()
	sum.Refused[RefusedTLS] = s.badTLS.Load()
	for _, l := range s.loops {
		l.mu.Lock()
		sum.add(&l.published)
		l.mu.Unlock()
	}
	return sum
}
