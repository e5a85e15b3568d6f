package cluster

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"logux-proxy/wire"
)

// ErrQueueFull is returned when too many calls wait for the store.
var ErrQueueFull = errors.New("cluster: too many calls wait for the store")

// A HandoverQueue does the calls of a Handovers in the background: those about one client one after another, in their
// order, so that a record is written before it is confirmed. No method blocks; the callbacks come on goroutines of
// Run and must not block. When the store is away a call fails after a second.
type HandoverQueue struct {
	handovers *Handovers
	seed      maphash.Seed
	start     time.Time
	timedOut  atomic.Int64  // when a call last ran into the limit, in nanoseconds since start
	done      chan struct{} // closed when Run is told to end
	lanes     [handoverLanes]handoverLane
}

const (
	handoverLanes    = 32 // calls to the store at one time
	handoverWaiting  = 4096
	handoverPatience = time.Second
	// After a call ran into that, the others fail at once for a moment: they would all wait for nothing.
	handoverPause = 500 * time.Millisecond
	// A record that could not be written is written again for so long.
	handoverRetry = 30 * time.Second
)

type handoverLane struct {
	wake chan struct{}

	mu sync.Mutex
	// Guarded by mu.

	waiting []func(context.Context)
	turns   uint64
	storing map[wire.ClientID]uint64 // the last Store for a client, until it ends
}

// NewHandoverQueue returns a queue that works once Run runs. Calls may be made before.
func NewHandoverQueue(h *Handovers) *HandoverQueue {
	q := &HandoverQueue{handovers: h, seed: maphash.MakeSeed(), start: time.Now(), done: make(chan struct{})}
	q.timedOut.Store(-int64(handoverPause))
	for i := range q.lanes {
		q.lanes[i].wake = make(chan struct{}, 1)
		q.lanes[i].storing = make(map[wire.ClientID]uint64)
	}
	return q
}

// Run does the calls until ctx ends, and then those that wait already.
func (q *HandoverQueue) Run(ctx context.Context) {
	var running sync.WaitGroup
	for i := range q.lanes {
		running.Go(func() { q.run(ctx, &q.lanes[i]) })
	}
	<-ctx.Done()
	close(q.done)
	running.Wait()
}

func (q *HandoverQueue) run(ctx context.Context, l *handoverLane) {
	for {
		l.mu.Lock()
		calls := l.waiting
		l.waiting = nil
		l.mu.Unlock()
		for _, call := range calls {
			q.call(context.WithoutCancel(ctx), call)
		}
		if len(calls) > 0 {
			continue
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			l.mu.Lock()
			left := len(l.waiting)
			l.mu.Unlock()
			if left == 0 {
				return
			}
		}
	}
}

// call does one call within the limit.
func (q *HandoverQueue) call(ctx context.Context, call func(context.Context)) {
	limited, cancel := context.WithTimeout(ctx, handoverPatience)
	defer cancel()
	if time.Since(q.start)-time.Duration(q.timedOut.Load()) < handoverPause {
		cancel()
		call(limited)
		return
	}
	call(limited)
	if limited.Err() != nil {
		q.timedOut.Store(int64(time.Since(q.start)))
	}
}

func (q *HandoverQueue) lane(client wire.ClientID) *handoverLane {
	return &q.lanes[maphash.String(q.seed, string(client))%handoverLanes]
}

// do queues a call about client, or reports that too many wait.
func (q *HandoverQueue) do(client wire.ClientID, call func(context.Context)) bool {
	l := q.lane(client)
	l.mu.Lock()
	if len(l.waiting) >= handoverWaiting {
		l.mu.Unlock()
		return false
	}
	l.waiting = append(l.waiting, call)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return true
}

// Store is Handovers.Store. Done hears of the first try; one that failed is made again for a while, until the next Store
// or Fetch for the client: a record is all that a server knows, and an older one would tell of actions that are done with.
// An empty record only ends such tries.
func (q *HandoverQueue) Store(r wire.Record, done func(error)) {
	turn := q.turn(r.Client, !r.Empty())
	if r.Empty() {
		done(nil)
		return
	}
	q.store(r, turn, time.Now().Add(handoverRetry), done)
}

func (q *HandoverQueue) store(r wire.Record, turn uint64, until time.Time, done func(error)) {
	ok := q.do(r.Client, func(ctx context.Context) {
		if !q.current(r.Client, turn) && done == nil {
			return
		}
		err := q.handovers.Store(ctx, r)
		if done != nil {
			done(err)
		}
		if err == nil || errors.Is(err, ErrRecordSize) || time.Now().After(until) {
			q.end(r.Client, turn)
			return
		}
		time.AfterFunc(handoverPause, func() {
			select {
			case <-q.done:
			default:
				q.store(r, turn, until, nil)
			}
		})
	})
	if !ok {
		q.end(r.Client, turn)
		if done != nil {
			done(ErrQueueFull)
		}
	}
}

// turn begins a Store for a client and ends the tries of those before it.
func (q *HandoverQueue) turn(client wire.ClientID, keep bool) uint64 {
	l := q.lane(client)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turns++
	if keep {
		l.storing[client] = l.turns
	} else {
		delete(l.storing, client)
	}
	return l.turns
}

func (q *HandoverQueue) current(client wire.ClientID, turn uint64) bool {
	l := q.lane(client)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.storing[client] == turn
}

func (q *HandoverQueue) end(client wire.ClientID, turn uint64) {
	l := q.lane(client)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.storing[client] == turn {
		delete(l.storing, client)
	}
}

// Fetch is Handovers.Fetch, for a client that is here now.
func (q *HandoverQueue) Fetch(client wire.ClientID, done func(wire.Record, error)) {
	q.turn(client, false)
	if !q.do(client, func(ctx context.Context) { done(q.handovers.Fetch(ctx, client)) }) {
		done(wire.Record{Client: client}, ErrQueueFull)
	}
}

// Confirm is Handovers.Confirm. What cannot be confirmed goes with the record's time to live.
func (q *HandoverQueue) Confirm(client wire.ClientID, ids []wire.ActionID) {
	q.do(client, func(ctx context.Context) {
		_ = q.handovers.Confirm(ctx, client, ids...) // Handovers.Run says that the store is away
	})
}

// Settle is Handovers.Settle: done gets the outcome to give to the client.
func (q *HandoverQueue) Settle(client wire.ClientID, o wire.Outcome, done func(kept wire.Outcome)) {
	if !q.do(client, func(ctx context.Context) {
		if kept, ok, err := q.handovers.Settle(ctx, client, o); ok && err == nil {
			o = kept
		}
		done(o)
	}) {
		done(o)
	}
}

// Inquire is Handovers.Inquire.
func (q *HandoverQueue) Inquire(client wire.ClientID, f wire.InFlight, done func(o *wire.Outcome, lost bool, err error)) {
	if !q.do(client, func(ctx context.Context) { done(q.handovers.Inquire(ctx, client, f)) }) {
		done(nil, false, ErrQueueFull)
	}
}

// Held is Handovers.Held.
func (q *HandoverQueue) Held(client wire.ClientID, id wire.ActionID, done func(held bool)) {
	if held, fresh := q.handovers.holds(id); fresh {
		done(held)
		return
	}
	if !q.do(client, func(ctx context.Context) { done(q.handovers.Held(ctx, id)) }) {
		done(true)
	}
}

// Claim is Handovers.ClaimAction.
func (q *HandoverQueue) Claim(c wire.Claim, done func(error)) {
	if !q.do(c.Client, func(ctx context.Context) { done(q.handovers.ClaimAction(ctx, c)) }) {
		done(ErrQueueFull)
	}
}

// SettleClaim is Handovers.SettleClaim: done gets the outcome to give to the client, and taken when another server
// gives it.
func (q *HandoverQueue) SettleClaim(c wire.Claim, o wire.Outcome, done func(kept wire.Outcome, taken bool)) {
	call := func(ctx context.Context) {
		kept, err := q.handovers.SettleClaim(ctx, c, o)
		done(kept, errors.Is(err, ErrTaken))
	}
	if !q.do(c.Client, call) {
		// The claim is taken away later.
		canceled, cancel := context.WithCancel(context.Background())
		cancel()
		call(canceled)
	}
}
