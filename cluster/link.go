package cluster

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// How long an acknowledgement is waited for, and how long after a message that could not be sent. Both double.
const (
	linkAckTime   = time.Second
	linkRetryTime = 100 * time.Millisecond
	linkRetryMost = 5 * time.Second
)

// linkOverhead is what a frame is taken to cost in the queue beside its bytes.
const linkOverhead = 64

// A link is the connection to one other server.
type link struct {
	// Static.
	links  *Links
	to     Member
	stream uint64
	wake   chan struct{}      // the sender has something to do
	inbox  chan *incoming     // one message that is to be dealt with
	cancel context.CancelFunc // ends both goroutines

	mu sync.Mutex
	// Guarded by mu: what goes out.
	queue  []outgoing
	queued int    // bytes in queue and under way
	seq    uint64 // of the message under way, or the last one
	flight *flight
	// Guarded by mu: what comes in.
	theirs    uint64 // their stream
	taken     uint64 // last message of it that was taken
	processed uint64 // last message of it that was dealt with
	ackDue    bool
}

type outgoing struct {
	kind Kind
	data []byte // what is left of the frame
	rest bool   // its beginning has gone already
}

// A flight is a message that waits for its acknowledgement.
type flight struct {
	pieces []byte
	frames int // that end in it
	size   int // bytes it takes off the queue
	tries  int
	due    time.Time // when to send it again
}

// incoming are the pieces of one message.
type incoming struct {
	stream, seq uint64
	pieces      []byte
}

func newLink(l *Links, to Member) *link {
	return &link{links: l, to: to, stream: l.streams.Add(1), wake: make(chan struct{}, 1), inbox: make(chan *incoming, 1)}
}

// push queues a frame, if there is room.
func (k *link) push(kind Kind, frame []byte) bool {
	k.mu.Lock()
	cost := len(frame) + linkOverhead
	if k.queued > 0 && k.queued+cost > k.links.cfg.MaxQueue {
		k.mu.Unlock()
		return false
	}
	k.queued += cost
	k.queue = append(k.queue, outgoing{kind: kind, data: frame})
	k.mu.Unlock()
	k.kick()
	return true
}

func (k *link) kick() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *link) waiting() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.queued
}

// runSend sends what is queued and what is to be acknowledged until ctx ends.
func (k *link) runSend(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	defer k.drop()
	for {
		msg, data, wait := k.next(time.Now())
		if msg == nil {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return
			case <-k.wake:
			case <-timer.C:
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		err := k.links.members.send(&k.to, msg)
		if err != nil {
			k.links.log.Debug("Sending to a server failed; it is tried again", zap.Error(err))
		}
		if data {
			k.sent(err, time.Now())
		}
	}
}

// next returns the message to send now, and whether there are pieces in it; or how long there is none.
func (k *link) next(now time.Time) (msg []byte, data bool, wait time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.flight == nil && len(k.queue) > 0 {
		k.departLocked()
	}
	f := k.flight
	data = f != nil && !now.Before(f.due)
	if !data && !k.ackDue {
		if f != nil {
			return nil, false, f.due.Sub(now)
		}
		return nil, false, time.Hour
	}
	h := linkHeader{from: k.links.members.Self(), to: k.to.ID, stream: k.stream, acked: k.theirs, ack: k.processed}
	k.ackDue = false
	var pieces []byte
	if data {
		if f.tries++; f.tries > 1 {
			k.links.stats.resent.Add(1)
		}
		h.seq, pieces = k.seq, f.pieces
	}
	return append(h.append(make([]byte, 0, 2*wire.MaxServerID+len(pieces))), pieces...), data, 0
}

// departLocked makes a message of what is queued.
func (k *link) departLocked() {
	f := &flight{}
	limit := k.links.cfg.MaxMessage
	n := 0
	for ; n < len(k.queue) && len(f.pieces) < limit; n++ {
		out := &k.queue[n]
		room := limit - len(f.pieces)
		flags := byte(0)
		if !out.rest {
			flags |= pieceFirst
		}
		if len(out.data) > room {
			f.pieces = appendPiece(f.pieces, out.kind, flags, out.data[:room])
			f.size += room
			out.data, out.rest = out.data[room:], true
			break
		}
		f.pieces = appendPiece(f.pieces, out.kind, flags|pieceLast, out.data)
		f.size += len(out.data) + linkOverhead
		f.frames++
	}
	clear(k.queue[:n])
	if k.queue = k.queue[n:]; len(k.queue) == 0 {
		k.queue = nil
	}
	k.seq++
	k.flight = f
}

// sent notes how sending went: when to do it again.
func (k *link) sent(err error, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.flight
	if f == nil {
		return // it was acknowledged meanwhile
	}
	wait := linkAckTime
	if err != nil {
		wait = linkRetryTime
	}
	f.due = now.Add(min(wait<<min(f.tries-1, 8), linkRetryMost))
}

// receive takes a message in. It does not block.
func (k *link) receive(h *linkHeader, pieces []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f := k.flight; f != nil && h.acked == k.stream && h.ack == k.seq {
		k.queued -= f.size
		k.links.stats.sent.Add(int64(f.frames))
		k.flight = nil
		k.kick()
	}
	if h.seq == 0 || h.stream < k.theirs {
		return
	}
	if h.stream > k.theirs {
		// A new stream, from its beginning or from where the other server was when this one forgot about it.
		k.theirs, k.taken, k.processed = h.stream, h.seq-1, h.seq-1
	}
	switch {
	case h.seq <= k.processed:
		k.ackDue = true // the acknowledgement was lost
		k.kick()
	case h.seq == k.taken+1 && k.taken == k.processed:
		select {
		case k.inbox <- &incoming{stream: h.stream, seq: h.seq, pieces: append([]byte(nil), pieces...)}:
			k.taken = h.seq
		default: // of the stream before; this one comes again
		}
	}
}

// runReceive deals with messages until ctx ends.
func (k *link) runReceive(ctx context.Context) {
	var a assembler
	var stream uint64
	for {
		select {
		case <-ctx.Done():
			return
		case in := <-k.inbox:
			if in.stream != stream {
				a, stream = assembler{}, in.stream
			}
			k.deal(in, &a)
		}
	}
}

func (k *link) deal(in *incoming, a *assembler) {
	stats := &k.links.stats
	for pieces := in.pieces; len(pieces) > 0; {
		kind, flags, data, rest, ok := cutPiece(pieces)
		if !ok {
			stats.malformed.Add(1) // it would come again the same
			break
		}
		frame, done, lost := a.add(kind, flags, data, k.links.cfg.MaxFrame)
		if lost {
			stats.malformed.Add(1)
		}
		if done {
			k.links.deliver(k.to.ID.Node(), kind, frame)
		}
		pieces = rest
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.theirs == in.stream {
		k.processed = in.seq
		k.ackDue = true
		k.kick()
	}
}

// drop counts what is never sent.
func (k *link) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	dropped := len(k.queue)
	if k.flight != nil {
		dropped += k.flight.frames
	}
	k.links.stats.dropped.Add(int64(dropped))
	k.queue, k.flight, k.queued = nil, nil, 0
}
