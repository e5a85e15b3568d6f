package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"time"

	"go.uber.org/zap"

	"logux-proxy/gateway/transport/poll"
)

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
	// nil answers 404. ClientAddr tells it who asks.
	Fallback http.Handler
	// CheckOrigin decides on an upgrade's Origin ("" when there is none) by host, the request's own
	// Host; nil allows all. It is called on loops and must not block.
	CheckOrigin func(origin, host string) bool
	// TrustedProxies are the peers whose X-Forwarded-For and PROXY protocol header are believed.
	TrustedProxies []netip.Prefix
	// Compression lets clients negotiate permessage-deflate, without context takeover.
	Compression bool
	Limits      Limits
	Log         *zap.Logger
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

// What is fixed because nobody has a reason to change it.
const (
	// closeTimeout is how long a peer may take to answer a close frame, and after that to end its
	// stream.
	closeTimeout = time.Second
	// maxControls is how many control frames a peer may send in a second.
	maxControls = 1000
	// notSentLowat keeps output that a peer does not read here, where it is counted, rather than in
	// the kernel.
	notSentLowat = 128 << 10
	// userTimeout ends a connection whose peer has stopped acknowledging.
	userTimeout = 60 * time.Second
	keepAlive   = 60 * time.Second
)

func (c *Config) defaults() {
	if c.Loops == 0 {
		c.Loops = runtime.GOMAXPROCS(0)
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.TLS != nil || !poll.Native {
		c.Goroutines = true
	}
	if c.Fallback == nil {
		c.Fallback = http.NotFoundHandler()
	}
	if c.CheckOrigin == nil {
		c.CheckOrigin = func(string, string) bool { return true }
	}
	l := &c.Limits
	or(&l.Connections, 1_000_000)
	or(&l.ConnectRate, 5_000)
	or(&l.Message, 1<<20)
	or(&l.Fragments, 1024)
	or(&l.Head, 16<<10)
	or(&l.HandshakeTimeout, 10*time.Second)
	or(&l.FrameTimeout, 60*time.Second)
	or(&l.Output, 1<<20)
	or(&l.WriteTimeout, 10*time.Second)
}

func or[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

func (c *Config) validate() error {
	l := &c.Limits
	switch {
	case c.NewHandler == nil:
		return errors.New("transport: no handler")
	case c.Loops < 0:
		return fmt.Errorf("transport: %d loops", c.Loops)
	case min(l.Connections, l.ConnectRate, l.Message, l.Fragments, l.Head, l.Output) < 0,
		min(l.HandshakeTimeout, l.FrameTimeout, l.WriteTimeout) < 0:
		return errors.New("transport: a limit is negative")
	}
	return nil
}
