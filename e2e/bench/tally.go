package main

import "logux-proxy/cmd/node/bench/latency"

// A tally knows what was published and what arrived. Every delivery is counted: each subscriber
// has to get each publication of its channel once.
type tally struct {
	publications []publication
	channels     []channelTally

	open       int // publications that have not reached everybody
	delivered  int64
	lost       int64
	duplicated int64
	wrong      int64 // of another channel
	overtaken  int64 // deliveries before one that was published earlier
	latency    latency.Histogram
	sides      [2]latency.Histogram // latency of those on the node that was published through, and of all others
}

type publication struct {
	at   int64 // when the publisher began, as of now()
	left int32 // deliveries still to come
}

type channelTally struct {
	published   int64
	subscribers int32
}

func newTally(channels int) *tally { return &tally{channels: make([]channelTally, channels)} }

// publish returns the mark of the next publication on channel.
func (t *tally) publish(channel int, at int64) mark {
	c := &t.channels[channel]
	m := mark{channel: int64(channel), seq: c.published, publication: int64(len(t.publications))}
	c.published++
	t.publications = append(t.publications, publication{at: at, left: c.subscribers})
	if c.subscribers > 0 {
		t.open++
	}
	return m
}

// A place is how far one subscriber is in its channel. Publications under way at the same time may
// overtake each other, so that it remembers which of the next ones it has.
type place struct {
	next  int64  // the first sequence that is missing
	ahead uint64 // bit i: next+i is here
	side  int8   // 1 on another node than the one that is published through
}

// maxWindow is how far ahead of a missing publication others may be.
const maxWindow = 64

// deliver counts one delivery to a subscriber of channel.
func (t *tally) deliver(channel int, p *place, m mark, at int64) {
	if m.channel != int64(channel) || m.publication >= int64(len(t.publications)) {
		t.wrong++
		return
	}
	if m.seq < p.next || m.seq < p.next+maxWindow && p.ahead>>(m.seq-p.next)&1 != 0 {
		t.duplicated++
		return
	}
	for m.seq >= p.next+maxWindow {
		t.skip(p)
	}
	if m.seq > p.next {
		t.overtaken++
	}
	p.ahead |= 1 << (m.seq - p.next)
	for p.ahead&1 != 0 {
		p.ahead >>= 1
		p.next++
	}
	t.delivered++
	pub := &t.publications[m.publication]
	t.latency.Add(at - pub.at)
	t.sides[p.side].Add(at - pub.at)
	if pub.left--; pub.left == 0 {
		t.open--
	}
}

// skip gives up waiting for the first publication that is missing.
func (t *tally) skip(p *place) {
	if p.ahead&1 == 0 {
		t.lost++
	}
	p.ahead >>= 1
	p.next++
}

// finish counts what a subscriber still misses when everything should be there.
func (t *tally) finish(channel int, p *place) {
	for p.next < t.channels[channel].published {
		t.skip(p)
	}
}

// restart forgets the latencies and counts of deliveries, for the next measure with the same subscribers.
func (t *tally) restart() {
	t.delivered = 0
	t.latency, t.sides = latency.Histogram{}, [2]latency.Histogram{}
}
