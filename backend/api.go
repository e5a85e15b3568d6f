package backend

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// Retry says which commands may be sent again after a failure that may hide a processed one.
type Retry uint8

const (
	// RetrySafe sends again what cannot have been acted on, and auth and subscriptions.
	RetrySafe Retry = iota
	// RetryAll sends every command again: the back-end recognises a repeated meta.id.
	RetryAll
)

// Config says how the back-end is reached. The zero value of a number means its default.
type Config struct {
	URL     *url.URL // http or https
	Version int      // of the back-end protocol: 2, 3 or 4 [4]
	// Secrets are tried in order when a caller is checked; the first is sent.
	Secrets []string
	// SemverSubprotocol turns numbers into SemVer for the back-end and back (PROTOCOL section 5).
	SemverSubprotocol bool

	Concurrency      int           // requests in flight [64]
	Batch            int           // commands per request [50]; 1 turns batching off
	BatchBytes       int           // bytes per request that get no further command [1 MiB]
	Hold             time.Duration // how long a command waits for a back-end that is away [60 s]; negative: not at all
	Timeout          time.Duration // one command's time once it is sent [60 s]
	ConnectTimeout   time.Duration // [5 s]
	FirstByteTimeout time.Duration // from the request's end to the response's first byte [= Timeout]
	IdleTimeout      time.Duration // between two bytes of a response [= Timeout]
	ResponseBytes    int64         // of one response [64 MiB]
	ElementBytes     int64         // of one answer [10 MiB]
	Retry            Retry
	TLS              *tls.Config // own CA and client certificate; nil for the system's

	// Observe, when set, is told of every request that ended; it must not block.
	Observe func(r RequestInfo)
	Log     *zap.Logger
}

// RequestInfo says how one request to the back-end went.
type RequestInfo struct {
	Commands  int
	Status    int // 0 when there was no response
	Err       error
	FirstByte time.Duration // from sending to the response's head
	Total     time.Duration
}

// A Client sends commands to the back-end.
type Client struct{}

// New checks c. Nothing runs until the first command.
func New(c Config) (*Client, error) { panic("backend") }

// Authenticate asks whether a may come in and returns at once. done is called exactly once, on a
// goroutine of the Client, and must not block: with an answer of kind Authenticated, Denied,
// WrongSubprotocol or Error, or with an *Error when the back-end could not be asked (unreachable,
// 5xx, 429, time-out, unreadable or empty answer: PROTOCOL section 5, "A back-end in trouble").
func (c *Client) Authenticate(a *wire.Auth, done func(wire.Answer, error)) { panic("backend") }

// Process sends cmd and returns at once. answer is called for each legal answer in a legal order,
// on one goroutine of the Client at a time, and must not block; then done exactly once, after
// which nothing follows: with the final answer (Processed, Forbidden, UnknownAction, UnknownChannel,
// or Error with the back-end's Details) or with an *Error for every other end: all those that PROTOCOL
// section 3 rule 6 lists under reason "error". answer sees Resend (the first one only, before
// Approved), Approved and Action. One command per action ID may be under way at once.
func (c *Client) Process(cmd *wire.Command, answer func(wire.Answer), done func(wire.Answer, error)) {
	panic("backend")
}

// Close ends all commands with an *Error of kind Closed and returns when no goroutine is left.
func (c *Client) Close() { panic("backend") }

// Stats returns the counters of the client. Any goroutine may call it.
func (c *Client) Stats() Stats { panic("backend") }

// Stats are counters since the start and gauges of now.
type Stats struct {
	Waiting  int64 // gauge: commands not yet in a request
	InFlight int64 // gauge: requests
	Requests int64
	Commands int64
	Retries  int64
	// Ignored counts answers whose id is no waiting command's.
	Ignored int64
	// Locked is 1 while the back-end refuses our secret (403) and calls are slowed down to one a second.
	Locked int64
}

// A Deliverer takes the actions that the back-end sends of its own accord. *gateway.Gateway is one.
type Deliverer interface {
	// Deliver routes a to the receivers that t names. The action's ID, when it is "", and its Time, when 0, are made here. It returns when every
	// local receiver's loop and the bus have it.
	Deliver(a *wire.Action, t *wire.Targets) error
}

// ControlConfig says who may call the control API.
type ControlConfig struct {
	Secrets   []string
	Mask      []netip.Prefix
	Path      string // of POST; "" means any path
	MaxBody   int64  // bytes [10 MiB]; more gets 413
	MaxDepth  int
	Attempts  *Attempts
	Deliverer Deliverer
	// Addr finds the caller's address: the socket's peer, or what a trusted proxy says.
	Addr func(r *http.Request) netip.Addr
	Log  *zap.Logger
}

// NewControl returns the handler of everything on the public port that is no WebSocket: the
// control API, GET / and GET /health (PROTOCOL section 5, the control table).
func NewControl(c ControlConfig) http.Handler { panic("backend") }

// Attempts counts wrong secrets and wrong credentials by address: three within three seconds and
// further ones are refused; each is forgotten three seconds later. Any goroutine may use it.
type Attempts struct{}

// NewAttempts returns an empty count. now tells the time; nil means time.Now.
func NewAttempts(now func() time.Time) *Attempts { panic("backend") }

// Blocked reports whether ip has used up its attempts.
func (a *Attempts) Blocked(ip netip.Addr) bool { panic("backend") }

// Failed counts a wrong attempt of ip.
func (a *Attempts) Failed(ip netip.Addr) { panic("backend") }
