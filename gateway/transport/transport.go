package transport

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"time"

	"go.uber.org/zap"
)

// A Handler is what a connection's bytes are for. One Handler serves the connections of one
// loop; all its methods are called on that loop's goroutine and must not block.
type Handler interface {
	// Open is called when the 101 response is written. req is valid for the Conn's life.
	Open(c *Conn, req *Request)
	// Message is called with each whole text message (binary frames are text too: PROTOCOL section
	// 3, small print). The text is valid until Message returns.
	Message(c *Conn, text []byte)
	// Timer is called when the time given to Conn.SetTimer has come.
	Timer(c *Conn)
	// Flush ends each visit: the handler sends what it has for c. See the package comment.
	Flush(c *Conn)
	// Closed is called once, after which c is never passed again; not for a connection that Open
	// was not called for.
	Closed(c *Conn, reason CloseReason)
}

// A Request is what is kept of the upgrade request.
type Request struct {
	RemoteAddr netip.Addr // the client's own address, from a trusted proxy's word where there is one
	Cookie     string     // the Cookie header
	Origin     string
	UserAgent  string
}

// A Task is work for a loop; Run is called on its goroutine.
type Task interface{ Run(l *Loop) }

// Config says how a Server listens. The zero value of a limit means its default.
type Config struct {
	Addr string // host:port
	// TLS, when set, makes the listener speak TLS.
	TLS *tls.Config
	// Loops is how many loops run; 0 means GOMAXPROCS.
	Loops int
	// NewHandler makes the handler of one loop; called once per loop by New.
	NewHandler func(l *Loop) Handler
	// Fallback serves every well-formed request that is not a WebSocket upgrade, on the same port.
	Fallback http.Handler
	// CheckOrigin decides on an upgrade's Origin ("" when there is none) by host, the request's own Host.
	CheckOrigin    func(origin, host string) bool
	TrustedProxies []netip.Prefix
	Compression    bool
	Limits         Limits
	Log            *zap.Logger
	// Goroutines makes every connection use goroutines, as on systems without epoll. For tests.
	Goroutines bool
}

// Limits bound what peers can make us spend. Zero means the default in brackets.
type Limits struct {
	Connections      int           // at once, upgraded or not [1,000,000]; more get 503 with Retry-After
	ConnectRate      int           // accepts per second [5,000]; beyond it they wait in the kernel's queue
	Message          int           // bytes of a message, all fragments [1 MiB]; more closes with 1009
	Fragments        int           // frames of a message [1,024]; more closes with 1008
	Head             int           // bytes of an HTTP request's head [16 KiB]; more gets 431
	HandshakeTimeout time.Duration // from accept to the end of the request's head [10 s]
	FrameTimeout     time.Duration // from a message's first byte to its last [60 s]
	Output           int           // bytes waiting for one connection [1 MiB]
	WriteTimeout     time.Duration // without progress of waiting output [10 s]
}

// A Server accepts connections and runs the loops.
type Server struct{}

// New checks c and opens the listener; it starts nothing.
func New(c Config) (*Server, error) { panic("transport") }

// Addr is the address that New bound.
func (s *Server) Addr() net.Addr { panic("transport") }

// Run serves until ctx ends, then closes every connection with 1001 and returns when all
// goroutines are gone.
func (s *Server) Run(ctx context.Context) error { panic("transport") }

// StopAccepting closes the listener; connections live on. Any goroutine may call it.
func (s *Server) StopAccepting() { panic("transport") }

// Loops returns the loops, in order of their Index.
func (s *Server) Loops() []*Loop { panic("transport") }

// Stats sums up the counters of all loops. Any goroutine may call it.
func (s *Server) Stats() Stats { panic("transport") }

// A Loop owns connections. Its methods but Post are for its own goroutine.
type Loop struct{}

// Index is the loop's number, from 0.
func (l *Loop) Index() int { panic("transport") }

// Handler returns what NewHandler made for l.
func (l *Loop) Handler() Handler { panic("transport") }

// Post hands t to the loop. Tasks run in the order of posting. Any goroutine may call it; it never
// blocks. It reports false when the loop has ended, and t will not run.
func (l *Loop) Post(t Task) bool { panic("transport") }

// Now is the monotonic time of this turn, since an arbitrary start.
func (l *Loop) Now() time.Duration { panic("transport") }

// Wall is the time of this turn in milliseconds since 1970.
func (l *Loop) Wall() int64 { panic("transport") }

// Each calls f for every upgraded connection of the loop.
func (l *Loop) Each(f func(c *Conn)) { panic("transport") }

// A Conn is one upgraded connection. Its methods are for its loop's goroutine only.
type Conn struct {
	// Data belongs to the handler.
	Data any
}

// Loop returns the owner; any goroutine may call it.
func (c *Conn) Loop() *Loop { panic("transport") }

// Send queues one text message for the end of this visit (or of the next, outside of one). The
// payload is copied.
func (c *Conn) Send(payload []byte) { panic("transport") }

// Wake asks for a visit of c at the end of this turn, whose Flush is then called unless output waits.
func (c *Conn) Wake() { panic("transport") }

// Waiting is how many bytes of output wait for the socket.
func (c *Conn) Waiting() int { panic("transport") }

// SetTimer asks for Handler.Timer at about (never before) at; a second call replaces the first; 0
// takes it back. Granularity is 100 ms or finer.
func (c *Conn) SetTimer(at time.Duration) { panic("transport") }

// Close sends what waits, then a close frame with code and text, and ends the connection when the
// peer answered it or after a second. Handler.Closed follows later with reason. Message is not
// called any more.
func (c *Conn) Close(code uint16, text string, reason CloseReason) { panic("transport") }

// Closing reports whether Close was called or the peer is closing.
func (c *Conn) Closing() bool { panic("transport") }

// StopReading keeps the loop from reading c until ResumeReading: the brake on a peer that sends
// more than it may.
func (c *Conn) StopReading() { panic("transport") }

// ResumeReading ends StopReading.
func (c *Conn) ResumeReading() { panic("transport") }
