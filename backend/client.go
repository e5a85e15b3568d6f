package backend

import (
	"context"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"logux-proxy/wire"
)

// A Client sends commands to the back-end.
//
// One goroutine serves one request, and takes the next batch from the line when it is through; there are at most
// Config.Concurrency of them and none while nothing is to be done. One timer serves everything that waits.
type Client struct {
	// Static.

	cfg       Config
	log       *zap.Logger
	transport http.RoundTripper
	header    http.Header   // of every request; read only
	patience  time.Duration // how long a command waits for a free request

	ctx    context.Context // of every request
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // the goroutines; Add only under mu and before closed

	count counters

	mu sync.Mutex
	// Guarded by mu.

	closed   bool
	line     line
	gate     gate
	inFlight int
	timer    *time.Timer // runs tick; nil before the first need
	timerAt  time.Time   // when it fires; zero when it is not armed
	expiry   time.Time   // no command in the line expires before; zero when none does
}

// New checks c. Nothing runs until the first command.
func New(c Config) (*Client, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	return &Client{
		cfg:       c,
		log:       sampled(c.Log),
		transport: newTransport(c),
		header:    newHeader(c),
		patience:  max(2*c.Timeout, c.Hold),
		ctx:       ctx,
		cancel:    cancel,
	}, nil
}

// sampled keeps a back-end in trouble from filling the log: of equal messages the first ten in a second and every hundredth.
func sampled(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Second, 10, 100)
	}))
}

// Authenticate asks whether a may come in and returns at once. done is called exactly once, on a
// goroutine of the Client, and must not block: with an answer of kind Authenticated, Denied,
// WrongSubprotocol or Error, or with an *Error when the back-end could not be asked (unreachable,
// 5xx, 429, time-out, unreadable or empty answer: PROTOCOL section 5, "A back-end in trouble").
func (c *Client) Authenticate(a *wire.Auth, done func(wire.Answer, error)) {
	c.submit(newAuthCall(a, done))
}

// Process sends cmd and returns at once. answer is called for each legal answer in a legal order,
// on one goroutine of the Client at a time, and must not block; then done exactly once, after
// which nothing follows: with the final answer (Processed, Forbidden, UnknownAction, UnknownChannel,
// or Error with the back-end's Details) or with an *Error for every other end: all those that PROTOCOL
// section 3 rule 6 lists under reason "error". answer sees Resend (the first one only, before
// Approved), Approved and Action. Every final answer but Processed may come before and after Approved.
// One command per action ID may be under way at once.
func (c *Client) Process(cmd *wire.Command, answer func(wire.Answer), done func(wire.Answer, error)) {
	k := newCommandCall(cmd, answer, done)
	c.follow(k)
	c.submit(k)
}

// Close ends all commands with an *Error of kind Closed and returns when no goroutine is left. No
// callback may call it.
func (c *Client) Close() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		c.wg.Wait()
		return
	}
	c.closed = true
	waiting := c.line.drain()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		for _, k := range waiting {
			k.fail(KindClosed, 0, errClosed)
		}
	}()
	c.mu.Unlock()

	c.cancel(errClosed)
	c.wg.Wait()
	if t, ok := c.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

func (c *Client) submit(k *call) {
	c.count.commands.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		go k.fail(KindClosed, 0, errClosed)
		return
	}
	c.waitLocked(k, time.Now())
	c.dispatchLocked()
}

// waitLocked puts k at the end of the line.
func (c *Client) waitLocked(k *call, now time.Time) {
	k.queued = now
	c.line.push(k)
	c.expiry = earlier(c.expiry, c.expiryLocked(k))
}

// expiryLocked is when k gives up waiting in the line: Hold after its first attempt while the back-end is
// away, or after it would have been its turn.
func (c *Client) expiryLocked(k *call) time.Time {
	if !c.gate.closed {
		return k.queued.Add(c.patience)
	}
	from := k.first
	if from.IsZero() {
		from = latest(k.queued, c.gate.since)
	}
	return from.Add(max(c.cfg.Hold, 0))
}

// dispatchLocked starts as many requests as may go now, and sets the timer for what may not.
func (c *Client) dispatchLocked() {
	for r := c.nextLocked(); r != nil; r = c.nextLocked() {
		c.wg.Add(1)
		go c.serve(r)
	}
	c.armLocked()
}

// nextLocked takes the commands for one more request off the line, or returns nil.
func (c *Client) nextLocked() *request {
	free := c.cfg.Concurrency - c.inFlight
	if c.closed || free <= 0 || c.line.waiting() == 0 {
		return nil
	}
	now := time.Now()
	c.line.promote(now)
	waiting := c.line.len()
	if waiting == 0 {
		return nil
	}
	r := &request{}
	switch {
	case !c.gate.closed:
		// As long as there are requests for everybody each command has its own; else they share evenly.
		share := (waiting + free - 1) / free
		r.calls = c.line.batch(min(share, c.cfg.Batch), c.cfg.BatchBytes)
	case c.gate.mayProbe(now):
		k := c.line.probe(c.gate.cause.class == unsure)
		if k.first.IsZero() {
			k.first = latest(k.queued, c.gate.since) // it has waited for the back-end before
		}
		r.calls = []*call{k}
		r.round = c.gate.probe(now)
	default:
		return nil
	}
	r.open = len(r.calls)
	for _, k := range r.calls {
		k.tries++
		if k.first.IsZero() {
			k.first = now
		}
	}
	c.inFlight++
	return r
}

// armLocked sets the timer for the next moment at which something happens by itself.
func (c *Client) armLocked() {
	if c.closed || c.line.waiting() == 0 {
		return
	}
	at := c.expiry
	if c.inFlight < c.cfg.Concurrency { // else the end of a request looks after the line
		if c.gate.closed && c.line.len() > 0 {
			at = earlier(at, c.gate.wake())
		}
		if len(c.line.later) > 0 {
			at = earlier(at, c.line.later[0].notBefore)
		}
	}
	if at.IsZero() || !c.timerAt.IsZero() && !at.Before(c.timerAt) {
		return
	}
	c.timerAt = at
	if c.timer == nil {
		c.timer = time.AfterFunc(time.Until(at), c.tick)
	} else {
		c.timer.Reset(time.Until(at))
	}
}

// tick lets go who may go by now and ends the commands that waited too long. The timer calls it.
func (c *Client) tick() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.wg.Add(1)
	defer c.wg.Done()
	c.timerAt = time.Time{}
	now := time.Now()
	var expired []*call
	if !c.expiry.IsZero() && !now.Before(c.expiry) {
		expired, c.expiry = c.line.expire(now, c.expiryLocked)
	}
	var away *failure
	if c.gate.closed {
		away = c.gate.cause
	}
	c.dispatchLocked()
	c.mu.Unlock()

	for _, k := range expired {
		switch {
		case away != nil:
			k.fail(away.kind, away.status, away.err)
		case k.failed != nil:
			k.fail(k.failed.kind, k.failed.status, k.failed.err)
		default:
			k.fail(KindTimeout, 0, errLine)
		}
	}
}

// serve sends r, and then whatever waits.
func (c *Client) serve(r *request) {
	defer c.wg.Done()
	for r != nil {
		f := c.send(r)
		r = c.settle(r, f)
	}
}

// reached notes that the back-end answered r, even if its response breaks off later: if it was away, it is back.
func (c *Client) reached(r *request) {
	c.mu.Lock()
	since, cause := c.gate.since, c.gate.cause
	opened := c.gate.reached(r.round)
	if opened {
		c.dispatchLocked()
	}
	c.mu.Unlock()
	if opened {
		c.log.Info("The back-end is back",
			zap.Duration("after", time.Since(since)), zap.Stringer("was", cause.kind))
	}
}

// settle ends r: it lets the commands without an outcome wait for another request or ends them, and returns the
// next request for the same goroutine, or nil.
func (c *Client) settle(r *request, f *failure) (next *request) {
	now := time.Now()
	shared := len(r.calls) > 1
	var again []*call
	for _, k := range r.calls {
		if k.exchange.over {
			continue
		}
		if f == nil {
			k.fail(KindOrder, 0, k.exchange.end())
			continue
		}
		pause, ok := c.mayRetry(k, f, shared, now)
		if !ok {
			k.fail(f.kind, f.status, f.err)
			continue
		}
		k.failed = f
		k.alone = k.alone || f.written
		k.notBefore = now.Add(pause)
		again = append(again, k)
	}
	c.count.retries.Add(int64(len(again)))

	c.mu.Lock()
	c.inFlight--
	closed := f != nil && c.notReachedLocked(r, f, now)
	var orphans []*call
	if c.closed {
		orphans = again
	} else {
		for _, k := range again {
			if k.notBefore.After(now) {
				c.line.postpone(k)
				c.expiry = earlier(c.expiry, k.first.Add(c.cfg.Hold))
			} else {
				c.waitLocked(k, now)
			}
		}
	}
	next = c.nextLocked()
	c.dispatchLocked()
	c.mu.Unlock()

	for _, k := range orphans {
		k.fail(KindClosed, 0, errClosed)
	}
	if closed {
		c.log.Warn("The back-end is away; commands wait for it",
			zap.Stringer("kind", f.kind), zap.Error(f.err), zap.Duration("hold", c.cfg.Hold))
	}
	return next
}

// notReachedLocked closes the gate when f says that the back-end is away or refuses us. It reports
// whether it was open before.
func (c *Client) notReachedLocked(r *request, f *failure, now time.Time) (closed bool) {
	if f.class != unseen && f.class != unsure {
		return false
	}
	// Without a hold nothing waits for the back-end, but what it refuses is held back in any case.
	if c.cfg.Hold < 0 && f.kind != KindRefused {
		return false
	}
	closed = c.gate.failed(now, r.round, f)
	if closed {
		c.expiry = now // since expiries are others now
	}
	return closed
}
