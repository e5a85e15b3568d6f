package backend

import (
	"math/rand/v2"
	"time"
)

const (
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 5 * time.Second
	// refusedPause is how long nothing is sent after a 403: libraries lock a caller out after three wrong secrets in one to
	// five seconds.
	refusedPause = time.Second
	// retryAfterMost bounds what a back-end's Retry-After may impose on us.
	retryAfterMost = time.Minute
	// unsureInRow requests that failed in a way that may be one command's fault, and none that did not, mean that
	// the back-end is away.
	unsureInRow = 3
)

// backoff is how long to wait before try number tries+2: doubling, and jittered so that many proxies do not
// come back together.
func backoff(tries int) time.Duration {
	d := backoffMost
	if tries < 6 {
		d = min(backoffFirst<<tries, backoffMost)
	}
	return d/2 + rand.N(d/2)
}

// A gate closes while the back-end is known to be away, or refuses our secret. Everything waits
// in the line then, and one command at a time goes out to see whether the back-end is back. Client.mu guards it.
type gate struct {
	closed bool
	since  time.Time
	cause  *failure
	// refused is set while the back-end does not accept our secret.
	refused bool
	next    time.Time // no probe before
	tries   int       // probes that failed
	// probing is how many probes are under way: one, or more when it takes long. A slow command must not
	// hide from all the others that the back-end is back.
	probing  int
	probedAt time.Time
	// round changes whenever the gate opens, so that a probe of an earlier round means nothing.
	round uint64
	// unsure counts requests in a row that failed in a way that may be one command's fault.
	unsure int
}

// mayProbe reports whether a probe may go through the closed gate now.
func (g *gate) mayProbe(now time.Time) bool {
	return !now.Before(g.wake())
}

// wake is when the next probe may go through the closed gate.
func (g *gate) wake() time.Time {
	if g.probing == 0 {
		return g.next
	}
	again := g.probedAt.Add(backoffMost)
	if again.Before(g.next) {
		return g.next
	}
	return again
}

// probe counts a probe that goes out and returns its round.
func (g *gate) probe(now time.Time) uint64 {
	g.probing++
	g.probedAt = now
	return g.round + 1
}

// reached notes that the back-end answered a request (round is 0 for one that was no probe). It reports whether
// that opened the gate.
func (g *gate) reached(round uint64) (opened bool) {
	g.unsure = 0
	if !g.closed || round != g.round+1 {
		return false
	}
	*g = gate{round: g.round + 1}
	return true
}

// failed notes that a request failed with f without having reached the back-end. It reports whether that closed the gate.
func (g *gate) failed(now time.Time, round uint64, f *failure) (closed bool) {
	if !g.closed {
		if f.class == unsure {
			if g.unsure++; g.unsure < unsureInRow {
				return false
			}
		}
		g.closed, g.since, g.tries, closed = true, now, 0, true
		g.next = now.Add(backoff(0))
	} else if round == g.round+1 {
		g.probing--
		g.tries++
		g.next = now.Add(backoff(g.tries))
	}
	g.cause = f
	if f.kind == KindRefused {
		g.refused = true
		g.next = latest(g.next, now.Add(refusedPause))
	}
	g.next = latest(g.next, now.Add(min(f.after, retryAfterMost)))
	return closed
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
