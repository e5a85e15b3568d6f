package cluster

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// A publisher is the connection that publishes on one Redis server. It reads the ring with a cursor of its own and sends
// what is there in one pipeline, then the next: while one is under way the following grows, so that the dearer a
// round trip is the more travel in it. What was not answered well is sent again, from the first on, which keeps the order.
type publisher struct {
	// Static.
	node *redisNode
	wake chan struct{}

	// Owned by run.
	client  *redis.Client
	beat    time.Time // of the last heartbeat
	entries []ringEntry

	mu struct {
		sync.Mutex
		cursor      uint64    // everything up to it is with Redis
		interrupted bool      // what is under way does not move the cursor
		lost        uint64    // up to this some went out of the ring before Redis took them
		busy        time.Time // since when a pipeline is under way; zero: none
		errText     string    // why the last pipeline failed; "": it did not
		ended       bool      // it publishes nothing any more
		waiting     []waiter  // by seq
	}
}

// A delivery waits until all servers of Redis that it goes to have an envelope.
type delivery struct {
	left atomic.Int32
	done func()
}

func (d *delivery) arrived() {
	if d.left.Add(-1) == 0 {
		d.done()
	}
}

// A waiter is the part of a delivery that one server of Redis has.
type waiter struct {
	seq uint64
	d   *delivery
}

// await tells d when Redis has everything up to seq, or does not take anything.
func (p *publisher) await(seq uint64, d *delivery) {
	p.mu.Lock()
	// One that does not answer any more holds up nobody for long.
	stuck := !p.mu.busy.IsZero() && time.Since(p.mu.busy) > p.node.bus.cfg.Heartbeat/2
	wait := p.mu.cursor < seq && p.mu.errText == "" && !p.mu.ended && !stuck
	var arrived []waiter
	switch {
	case wait:
		p.mu.waiting = append(p.mu.waiting, waiter{seq, d})
	case stuck:
		arrived = p.arrivedLocked(math.MaxUint64)
	}
	p.mu.Unlock()
	tell(arrived)
	if !wait {
		d.arrived()
	}
}

// arrivedLocked takes those that wait for nothing beyond seq.
func (p *publisher) arrivedLocked(seq uint64) (arrived []waiter) {
	// Two that publish at once may come here the other way round.
	waiting := p.mu.waiting[:0]
	for _, w := range p.mu.waiting {
		if w.seq <= seq {
			arrived = append(arrived, w)
		} else {
			waiting = append(waiting, w)
		}
	}
	clear(p.mu.waiting[len(waiting):])
	p.mu.waiting = waiting
	return arrived
}

func tell(arrived []waiter) {
	for _, w := range arrived {
		w.d.arrived()
	}
}

// Bounds of a pipeline. Redis makes room for all of it in the buffers of its subscribers before it sends any.
const (
	pipelineEntries = 512
	pipelineBytes   = 256 << 10
)

func newPublisher(n *redisNode) *publisher { return &publisher{node: n, wake: make(chan struct{}, 1)} }

// kick says that there may be something to publish. It does not block.
func (p *publisher) kick() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// cursor is the seq up to which everything is with Redis.
func (p *publisher) cursor() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.cursor
}

// interrupt makes the answer to what is under way not count, and returns the cursor.
func (p *publisher) interrupt() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.interrupted = true
	return p.mu.cursor
}

// rewind makes it publish from a seq on.
func (p *publisher) rewind(seq uint64) {
	p.mu.Lock()
	p.mu.cursor, p.mu.interrupted = seq, true
	p.mu.Unlock()
	p.kick()
}

// failing reports whether Redis does not take what is published, or has not for too long.
func (p *publisher) failing(now time.Time, patience time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.errText != "" || !p.mu.busy.IsZero() && now.Sub(p.mu.busy) > patience
}

// run publishes until ctx ends and then what is left, if Redis takes it at once.
func (p *publisher) run(ctx context.Context) {
	b := p.node.bus
	heartbeat := time.NewTicker(b.cfg.Heartbeat / 2)
	defer heartbeat.Stop()
	defer p.hangUp()
	retry := retryAfter(b.cfg.Heartbeat)
	for {
		more, err := p.publish(ctx)
		p.note(err, ctx.Err() != nil)
		switch {
		case ctx.Err() != nil:
			p.finish(context.WithoutCancel(ctx))
			return
		case err != nil:
			b.feeds.failed()
			retry.wait(ctx)
			continue
		}
		retry.reset()
		if more {
			continue
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-heartbeat.C:
		}
	}
}

// finish publishes what waits when the server stops.
func (p *publisher) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, p.node.bus.cfg.silence())
	defer cancel()
	for more := true; more; {
		var err error
		if more, err = p.publish(ctx); err != nil {
			p.node.bus.log.Warn("Not everything was published before the end", zap.String("redis", p.node.name), zap.Error(err))
			return
		}
	}
}

func (p *publisher) hangUp() {
	p.mu.Lock()
	p.mu.ended = true
	arrived := p.arrivedLocked(math.MaxUint64)
	p.mu.Unlock()
	tell(arrived)
	if p.client != nil {
		_ = p.client.Close()
		p.client = nil
	}
}

// note keeps how a pipeline ended, and tells the log when that changes.
func (p *publisher) note(err error, end bool) {
	text := ""
	if err != nil && !end {
		text = err.Error()
	}
	p.mu.Lock()
	before := p.mu.errText
	p.mu.errText, p.mu.busy = text, time.Time{}
	var arrived []waiter
	if text != "" {
		arrived = p.arrivedLocked(math.MaxUint64)
	}
	p.mu.Unlock()
	tell(arrived)
	log, name := p.node.bus.log, zap.String("redis", p.node.name)
	switch {
	case text != "" && text != before:
		log.Warn("Redis does not take what is published; servers tell each other directly", name, zap.Error(err))
	case text == "" && before != "" && !end:
		log.Info("Redis takes what is published", name)
	}
}

// A sent is a command of a pipeline.
type sent struct {
	cmd *redis.IntCmd
	seq uint64 // of the envelope; 0 for a heartbeat
}

// publish sends a pipeline, and reports whether there is more.
func (p *publisher) publish(ctx context.Context) (more bool, err error) {
	b := p.node.bus
	now := time.Now()
	p.mu.Lock()
	from := p.mu.cursor
	p.mu.interrupted, p.mu.busy = false, now
	p.mu.Unlock()
	l := b.layout.Load() // after that: what a move interrupts may still be of the old layout
	entries, lost := b.ring.after(p.entries[:0], from, pipelineEntries, pipelineBytes)
	p.entries = entries
	defer clear(entries)
	to := from
	if lost > 0 {
		b.stats.expired.Add(int64(lost - from))
		to = lost
	}
	if len(entries) > 0 {
		to = entries[len(entries)-1].seq
	}
	var all []sent
	announced := false
	if now.Sub(p.beat) >= b.cfg.Heartbeat {
		all = append(all, sent{cmd: p.heartbeat(ctx, now, lost)})
	}
	for i := range entries {
		for _, t := range entries[i].topics {
			if l.owner[t.partition] == p.node {
				cmd := redis.NewIntCmd(ctx, p.verb(), b.channelName(t.partition, string(t.topic)), entries[i].data)
				announced = b.given(entries[i].seq) || announced
				all = append(all, sent{cmd, entries[i].seq})
			}
		}
	}
	if len(all) > 0 {
		// Before and after: a server that begins or ceases to listen meanwhile may not have been there.
		var listeners []*redis.MapStringIntCmd
		if announced {
			listeners = []*redis.MapStringIntCmd{p.countListeners(ctx), p.countListeners(ctx)}
		}
		done, err := p.exec(ctx, all, listeners)
		if announced {
			whole := err == nil && p.allListen(listeners[0]) && p.allListen(listeners[1])
			for i := range all {
				b.counted(all[i].seq, all[i].cmd.Val(), whole)
			}
		}
		if err != nil {
			p.advance(min(done, to), lost)
			return false, err
		}
		if all[0].seq == 0 {
			p.beat = now
			if s := p.node.current.Load(); s != nil {
				s.heartbeatPublished()
			}
		}
	}
	p.advance(to, lost)
	return len(entries) > 0, nil
}

// advance moves the cursor forward.
func (p *publisher) advance(to, lost uint64) {
	p.mu.Lock()
	if p.mu.interrupted {
		p.mu.Unlock()
		return
	}
	p.mu.cursor = max(p.mu.cursor, to)
	p.mu.lost = max(p.mu.lost, lost)
	arrived := p.arrivedLocked(p.mu.cursor)
	p.mu.Unlock()
	tell(arrived)
}

func (p *publisher) verb() string {
	if p.node.bus.cfg.Redis.cluster {
		return "spublish"
	}
	return "publish"
}

func (p *publisher) heartbeat(ctx context.Context, now time.Time, lost uint64) *redis.IntCmd {
	b := p.node.bus
	p.mu.Lock()
	lost = max(lost, p.mu.lost)
	p.mu.Unlock()
	h := heartbeat{origin: b.cfg.Server, epoch: b.epoch, upTo: b.withRedis(), lost: lost, sent: now.UnixMilli()}
	return redis.NewIntCmd(ctx, p.verb(), *p.node.heartbeat.Load(), h.append(nil))
}

// countListeners asks how many servers Redis brings everything to: they subscribe to the channel of heartbeats last.
func (p *publisher) countListeners(ctx context.Context) *redis.MapStringIntCmd {
	numsub := "numsub"
	if p.node.bus.cfg.Redis.cluster {
		numsub = "shardnumsub"
	}
	return redis.NewMapStringIntCmd(ctx, "pubsub", numsub, *p.node.heartbeat.Load())
}

// allListen reports whether those are all servers that the mesh knows, and this one.
func (p *publisher) allListen(listeners *redis.MapStringIntCmd) bool {
	n := int64(0)
	for _, count := range listeners.Val() {
		n += count
	}
	mesh := p.node.bus.cfg.Mesh
	return n > 0 && (mesh == nil || n > int64(len(mesh.Peers())))
}

// exec sends commands, between the two of around if there are any, and returns the seq up to which Redis took everything. It
// does not matter whether Redis likes those of around.
func (p *publisher) exec(ctx context.Context, all []sent, around []*redis.MapStringIntCmd) (done uint64, err error) {
	if p.client == nil {
		opt, err := p.node.dial(ctx)
		if err != nil {
			return 0, err
		}
		p.client = redis.NewClient(opt)
	}
	pipe := p.client.Pipeline()
	if len(around) > 0 {
		if err := pipe.Process(ctx, around[0]); err != nil {
			return 0, fmt.Errorf("cluster: publishing: %w", err)
		}
	}
	for i := range all {
		if err := pipe.Process(ctx, all[i].cmd); err != nil {
			return 0, fmt.Errorf("cluster: publishing: %w", err)
		}
	}
	if len(around) > 0 {
		if err := pipe.Process(ctx, around[1]); err != nil {
			return 0, fmt.Errorf("cluster: publishing: %w", err)
		}
	}
	_, failed := pipe.Exec(ctx)
	if failed == nil {
		return 0, nil
	}
	for i := range all {
		if err = all[i].cmd.Err(); err != nil {
			// An envelope with several topics counts once all of its commands did.
			if all[i].seq > 0 {
				done = all[i].seq - 1
			}
			break
		}
	}
	var refused redis.Error
	if err == nil {
		if errors.As(failed, &refused) { // one of around was
			return 0, nil
		}
		err = failed
	}
	if !errors.As(err, &refused) {
		p.hangUp() // another server may be the right one by now
		return done, err
	}
	if text := refused.Error(); p.node.bus.cfg.Redis.cluster && (strings.HasPrefix(text, "MOVED") || strings.HasPrefix(text, "CLUSTERDOWN")) {
		p.node.bus.lookAgain(p.node)
	} else {
		p.hangUp()
	}
	return done, err
}
