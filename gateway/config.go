package gateway

import (
	"errors"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"logux-proxy/gateway/session"
	"logux-proxy/wire"
)

// Backend is asked about clients and actions. *backend.Client is one. Neither method blocks; the
// callbacks come on other goroutines and must not block.
type Backend interface {
	// Authenticate calls done once: with the back-end's answer, or with an error when it could
	// not be asked.
	Authenticate(a *wire.Auth, done func(wire.Answer, error))
	// Process calls answer for each Resend (the first), Approved and Action, in a legal order and
	// one at a time, then done once, with the final answer or an error.
	Process(c *wire.Command, answer func(wire.Answer), done func(wire.Answer, error))
}

// Bus carries envelopes between servers. *cluster.Port is one. No method blocks.
type Bus interface {
	// Join calls done once, perhaps before it returns, when envelopes for topic are sure to
	// arrive. Joins count; each needs one Leave, also a failed one.
	Join(topic wire.Topic, done func(error))
	Leave(topic wire.Topic)
	// Publish reaches every other server with an interest in one of e's topics, each at most once.
	Publish(e *wire.Envelope) error
	// PublishThen is Publish. Done is called once, perhaps before it returns, when e would survive the end of this process,
	// or nobody can tell how long that takes. With an error it is not called.
	PublishThen(e *wire.Envelope, done func()) error
	// Announce publishes e, which has one topic, and calls done once, perhaps before it returns, with how many other
	// servers have got it: -1 when that is not known.
	Announce(e *wire.Envelope, done func(others int))
	// CaughtUp calls then once, perhaps before it returns, when nothing is missing any more that others published while this
	// server stood still, or nobody can tell how long that takes.
	CaughtUp(then func())
}

// Attempts counts wrong credentials by address. *backend.Attempts is one.
type Attempts interface {
	Blocked(ip netip.Addr) bool
	Failed(ip netip.Addr)
}

// Config says what a Gateway works with. A zero limit means the default in brackets.
type Config struct {
	Session  session.Config
	Backend  Backend
	Bus      Bus
	Attempts Attempts

	// Life names this life of the server among others; "" when there will never be another one. Then the rest of this
	// group is not used.
	Life wire.ServerID
	// Handovers is for what must outlive this server; nil when nothing is to.
	Handovers Handovers
	// Alive reports whether the gossip knows another server, and Peers how many it knows; nil without gossip.
	Alive func(wire.ServerID) bool
	Peers func() int

	MaxQueue         int           // actions of a client without an outcome, before nothing more is read from it [1,000]
	MaxQueueBytes    int           // bytes of their bodies, likewise [1 MiB]
	MaxSubscriptions int           // subscriptions of a client [1,000]
	MaxOutput        int           // bytes that wait for a client, here and in the transport [1 MiB]
	MaxHeld          int           // bytes kept for a client while the back-end thinks about its subscriptions [1 MiB]
	ActionRate       int           // actions per second of a client, before nothing more is read from it for a moment [1,000]
	MaxDepth         int           // nesting of JSON [64]
	Remember         time.Duration // how long a client that left may come back to its outcomes [5 min]

	// ActionDone and AuthDone, when set, are told of each outcome and how long it took. They must not block.
	ActionDone func(outcome string, took time.Duration)
	AuthDone   func(outcome string, took time.Duration)
	Tracer     Tracer // nil traces nothing
	Log        *zap.Logger
}

func (c *Config) defaults() {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.MaxQueue, 1_000)
	set(&c.MaxQueueBytes, 1<<20)
	set(&c.MaxSubscriptions, 1_000)
	set(&c.MaxOutput, 1<<20)
	set(&c.MaxHeld, 1<<20)
	set(&c.ActionRate, 1_000)
	set(&c.MaxDepth, 64)
	if c.Remember == 0 {
		c.Remember = 5 * time.Minute
	}
	if c.ActionDone == nil {
		c.ActionDone = func(string, time.Duration) {}
	}
	if c.AuthDone == nil {
		c.AuthDone = func(string, time.Duration) {}
	}
	if c.Alive == nil {
		c.Alive = func(wire.ServerID) bool { return true }
	}
	if c.Peers == nil {
		c.Peers = func() int { return 0 }
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	s := &c.Session
	set(&s.MaxPreAuth, 64<<10)
	set(&s.MaxHeaders, 8<<10)
	set(&s.MaxToken, 16<<10)
	duration := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	duration(&s.Ping, 20*time.Second)
	duration(&s.Timeout, 70*time.Second)
	duration(&s.ConnectTimeout, 70*time.Second)
	duration(&s.AckLimit, 15*time.Second)
}

func (c *Config) validate() error {
	switch {
	case c.Backend == nil:
		return errors.New("gateway: no back-end")
	case c.Bus == nil:
		return errors.New("gateway: no bus")
	case c.Attempts == nil:
		return errors.New("gateway: no count of wrong attempts")
	case c.Life != "" && (!c.Life.Valid() || c.Life.Node() != c.Session.Server):
		return errors.New("gateway: the name of the server's life is not of its node ID")
	case c.Handovers != nil && c.Life == "":
		return errors.New("gateway: without a name for the server's life nothing can be handed over")
	case c.Session.Server.User() != wire.ServerUser:
		return errors.New("gateway: the server's node ID has another user than server")
	}
	return nil
}
