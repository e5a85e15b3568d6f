package cluster

import (
	"slices"
	"time"

	"logux-proxy/wire"
)

// What a peer sends again begins a little before the break, so there may be envelopes on topics that were only joined
// since: from before the join, though newer ones of the topic have come. They are told from those that got lost by the order in
// which a server of Redis says things. Confirmations of joins are numbered; an origin notes the first envelope
// that came after a number. What it published before that one and has not come was published before the join.
//
// A topic that is joined during the break has no confirmation. But pages are in order and have no holes, so an envelope that
// is older than one of the same topic that came in a page was published before the topic was joined (newest).
//
// The bus does not promise that (see Bus): an envelope with another topic that it was to come on, or one on a topic
// that lingered, may still be such.

// A first is the seq of the first envelope that came through a server of Redis since the confirmation with a number.
type first struct{ confirmation, seq uint64 }

// maxFirsts bounds them. Without one, an envelope from before a join may come late.
const maxFirsts = 1024

// noteFirst takes the seq of what came through n.
func (v *view) noteFirst(n *redisNode, seq uint64) {
	c := n.confirmations.Load()
	if c == v.confirmation {
		return
	}
	v.confirmation = c
	v.firsts = append(v.firsts, first{c, seq})
	if len(v.firsts) > maxFirsts {
		v.forgetFirsts(v.firsts[0].seq)
	}
}

// forgetFirsts drops those up to a seq: nothing that is older is sent again.
func (v *view) forgetFirsts(seq uint64) {
	i := 0
	for ; i < len(v.firsts) && v.firsts[i].seq <= seq; i++ {
		v.forgotten = v.firsts[i].confirmation
	}
	v.firsts = slices.Delete(v.firsts, 0, i)
}

// before reports whether an envelope that has not come was published before a join was confirmed.
func (v *view) before(seq, confirmation uint64) bool {
	if confirmation <= v.forgotten {
		return false
	}
	i, _ := slices.BinarySearchFunc(v.firsts, confirmation, func(f first, c uint64) int {
		if f.confirmation < c {
			return -1
		}
		return 1 // the first that is not below
	})
	return i < len(v.firsts) && seq < v.firsts[i].seq
}

// missedLocked reports whether an envelope that has not come was to come.
func (o *origin) missedLocked(e *wire.Envelope) bool {
	l := o.bus.layout.Load()
	for _, topic := range e.Topics() {
		p := partitionOf(topic)
		confirmation, interested := o.bus.topics.interest(topic, p)
		if !interested {
			continue
		}
		n := l.owner[p]
		v := o.views[n]
		if confirmation == 0 || v == nil || n.changes() || !v.before(e.Seq, confirmation) {
			return true
		}
	}
	return false
}

// A newest notes the last envelope of an origin that came in a page, by topic, for as long as older ones may still be
// sent. The second map is the older one.
type newest struct {
	of    [2]map[wire.Topic]uint64
	since time.Time // of the first map
}

// maxNewest bounds each of the maps. Beyond it, an envelope from before a join may come late.
const maxNewest = 1 << 16

// note takes an envelope that comes in a page; keep is how long a server can send one again.
func (n *newest) note(e *wire.Envelope, now time.Time, keep time.Duration) {
	if n.of[0] == nil || now.Sub(n.since) > keep {
		n.of[0], n.of[1], n.since = make(map[wire.Topic]uint64), n.of[0], now
	}
	for _, topic := range e.Topics() {
		if len(n.of[0]) < maxNewest {
			n.of[0][topic] = e.Seq
		}
	}
}

// overtook reports whether newer ones have come in pages on each topic of e that this server listens to.
func (n *newest) overtook(e *wire.Envelope, t *topics) bool {
	if n.of[0] == nil {
		return false
	}
	for _, topic := range e.Topics() {
		if _, interested := t.interest(topic, partitionOf(topic)); interested && max(n.of[0][topic], n.of[1][topic]) < e.Seq {
			return false
		}
	}
	return true
}
