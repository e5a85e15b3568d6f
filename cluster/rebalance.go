package cluster

import (
	"math"
	"slices"
	"time"

	"logux-proxy/wire"
)

// RebalanceConfig says when a server that has more clients than the others lets some of them go to those. Nothing has a default here.
type RebalanceConfig struct {
	Rate    int           // clients a second that are let go, at most
	Margin  int           // per cent above the mean that are nothing to mend
	Minimum int           // clients that a server keeps in any case
	Delay   time.Duration // of quiet after a member came, went, began to drain or fell ill
}

// RebalanceEvery is the time between two calls of Step. When calls are late, fewer clients go.
const RebalanceEvery = 100 * time.Millisecond

// Times and sizes of rebalancing.
const (
	// rebalanceLag is how old the counts of others may be: they are told once a second, and the news take a moment to get around. The own count
	// is compared as it was then, or a server would take itself for the fullest while all of them fill up.
	rebalanceLag = 3 * time.Second
	// rebalanceAway is how long clients count that are nowhere to be seen. Those that were let go are between two servers for some seconds, and
	// must not make the mean smaller than it will be; where servers are so small that it matters, they are even within this time.
	rebalanceAway = 2 * time.Minute
	// rebalanceSure is how long a server has to be above the margin before it does something.
	rebalanceSure = 3 * time.Second
	// A server goes down to this part of the margin. Some of the clients that are on their way then come back to it.
	rebalanceClose = 10
	// For so long after it let clients go a server begins again at half the margin: those that others let go come to it too.
	rebalanceAgain = time.Minute
	// rebalanceShare is the share of its clients that a server lets go in a second at most, where that is less than the rate.
	rebalanceShare = 0.05
	// A few clients go first, so many for each member, and more when the members that lack some got some of them within rebalanceWait. If they did
	// not, a load balancer does not find them, and clients would be sent to and fro for ever: the server rests.
	rebalanceTrial  = 20
	rebalanceGrowth = 4
	rebalanceWait   = 4 * time.Second
	rebalanceRest   = 5 * time.Minute
)

// RebalanceState says what a Rebalancer does.
type RebalanceState uint8

// The states.
const (
	RebalanceQuiet  RebalanceState = iota // members change or are not well, or there are no others
	RebalanceIdle                         // there is nothing to mend
	RebalanceSheds                        // clients are let go
	RebalanceWaits                        // it is seen whether that helps
	RebalanceRests                        // it did not help
	RebalanceStates                       // how many there are
)

// A Rebalancer decides how many clients a server lets go, from the counts that the gossip brings: those above the mean of the cluster, when they are
// more than a margin. It knows no clock and closes nothing. One goroutine may call its methods.
//
// Two servers never send the same clients to and fro: who is below the margin does nothing, nobody goes below the mean, and a server whose clients come
// back to it stops.
type Rebalancer struct {
	cfg  RebalanceConfig
	self wire.ServerID

	last   time.Time
	roster map[wire.ServerID]condition
	quiet  time.Time // until then
	own    peak      // the lowest of the own counts
	total  peak      // the highest of the sums

	state  RebalanceState
	target int
	above  time.Time // since when it is above the margin; zero when it is not
	calm   time.Time // since when it is not
	credit float64   // clients that may go now

	// The trial under way: how much those below the mean lacked when it began, how many clients may go in it, and how many went.
	lacked           float64
	allowance, spent int
	lastShed         time.Time
	rest             time.Time // until then
}

// A condition is what may not change while clients are moved.
type condition struct{ draining, well bool }

// NewRebalancer makes the one of the server self.
func NewRebalancer(self wire.ServerID, c RebalanceConfig) *Rebalancer {
	return &Rebalancer{cfg: c, self: self, own: peak{sign: -1, length: rebalanceLag}, total: peak{sign: 1, length: rebalanceAway}}
}

// State is what the last Step decided.
func (r *Rebalancer) State() RebalanceState { return r.state }

// Target is how many clients the server aims at while it lets some go, and is content with otherwise; 0 while it is quiet.
func (r *Rebalancer) Target() int { return r.target }

// Shed says how many of the clients that Step let go were closed indeed. The others may go later.
func (r *Rebalancer) Shed(now time.Time, n int) {
	if n > 0 {
		r.spent += n
		r.lastShed = now
	}
	r.credit = max(r.credit-float64(n), 0)
}

// Step returns how many clients may go now, by who the members are (this server among them) and how many clients are here. It is to be called each
// RebalanceEvery.
func (r *Rebalancer) Step(now time.Time, connections int, members []Member) int {
	passed := min(now.Sub(r.last), RebalanceEvery)
	r.last = now
	sum, serving, calm := r.look(now, connections, members)
	own := int(r.own.add(now, float64(connections)))
	total := r.total.add(now, float64(sum))
	if !calm {
		r.state, r.target, r.credit, r.above = RebalanceQuiet, 0, 0, time.Time{}
		r.allowance = 0 // what was learnt was about other members
		return 0
	}
	mean := total / float64(serving)
	margin := mean * float64(r.cfg.Margin) / 100
	r.target = max(int(math.Ceil(mean+margin/rebalanceClose)), r.cfg.Minimum)
	limit := mean + margin
	if now.Sub(r.lastShed) < rebalanceAgain {
		limit = mean + margin/2
	}
	r.decide(now, own, limit, lack(r.self, members, mean), serving)
	if r.state != RebalanceSheds {
		r.credit = 0
		return 0
	}
	pace := min(float64(r.cfg.Rate), max(1, rebalanceShare*float64(own)))
	r.credit = min(r.credit+pace*passed.Seconds(), max(1, pace*RebalanceEvery.Seconds()))
	return max(min(int(r.credit), own-r.target, r.allowance-r.spent), 0)
}

// look sums up the clients of all members that serve some, and reports whether nothing has changed among the members for some time, none is ill and
// there is another one.
func (r *Rebalancer) look(now time.Time, connections int, members []Member) (sum, serving int, calm bool) {
	roster := make(map[wire.ServerID]condition, len(members))
	calm = true
	here := false
	for i := range members {
		m := &members[i]
		is := condition{draining: m.Meta.Draining, well: m.Meta.Bus == BusOK}
		roster[m.ID] = is
		if was, known := r.roster[m.ID]; !known || was != is {
			r.quiet = now.Add(r.cfg.Delay)
		}
		calm = calm && !is.draining && is.well
		serving++
		if m.ID == r.self {
			here = true
			sum += connections
		} else {
			sum += m.Meta.Connections
		}
	}
	if len(roster) != len(r.roster) {
		r.quiet = now.Add(r.cfg.Delay)
	}
	r.roster = roster
	return sum, serving, calm && here && serving > 1 && !now.Before(r.quiet)
}

// lack is how many clients the others have less than the mean, those that have less.
func lack(self wire.ServerID, members []Member, mean float64) (sum float64) {
	for i := range members {
		if m := &members[i]; m.ID != self {
			sum += max(mean-float64(m.Meta.Connections), 0)
		}
	}
	return sum
}

// decide finds the state. Limit is what the server may have before something is to be mended.
func (r *Rebalancer) decide(now time.Time, own int, limit, lacking float64, members int) {
	over := float64(own) > limit && own > r.target
	switch {
	case !over:
		r.above = time.Time{}
		if r.calm.IsZero() {
			r.calm = now
		}
	case r.above.IsZero():
		r.above, r.calm = now, time.Time{}
	}
	switch {
	case r.state == RebalanceRests && now.Before(r.rest):
		return
	case r.state == RebalanceWaits && now.Sub(r.lastShed) < rebalanceWait:
		return
	case r.state == RebalanceWaits:
		r.judge(now, own, lacking, members)
	case r.state == RebalanceSheds && own > r.target:
		if r.spent >= r.allowance {
			r.state = RebalanceWaits
		}
	case over && now.Sub(r.above) >= rebalanceSure:
		if r.allowance == 0 {
			r.lacked, r.allowance, r.spent = lacking, rebalanceTrial*members, 0
		}
		r.state = RebalanceSheds
	default:
		r.state = RebalanceIdle
		if !over && now.Sub(r.calm) >= rebalanceRest {
			r.allowance = 0
		}
	}
}

// judge says whether the clients that went have come to where some lacked. A load balancer that chooses at random sends at least one of so many
// as there are members to one of those; a quarter of that is more than chance.
func (r *Rebalancer) judge(now time.Time, own int, lacking float64, members int) {
	if r.lacked-lacking < float64(r.spent)/float64(4*members) {
		r.state, r.rest, r.allowance = RebalanceRests, now.Add(rebalanceRest), 0
		return
	}
	if r.state = RebalanceIdle; own > r.target {
		r.state = RebalanceSheds
	}
	r.lacked, r.allowance, r.spent = lacking, r.allowance*rebalanceGrowth, 0
}

// A peak keeps the highest of the values of some time; with sign -1 the lowest.
type peak struct {
	sign   float64
	length time.Duration
	kept   []timed // ever lower ones, the highest first
}

type timed struct {
	at    time.Time
	value float64
}

// add takes a value and returns the highest.
func (p *peak) add(now time.Time, value float64) float64 {
	value *= p.sign
	n := len(p.kept)
	for n > 0 && p.kept[n-1].value <= value {
		n--
	}
	p.kept = append(p.kept[:n], timed{now, value})
	first := 0
	for now.Sub(p.kept[first].at) > p.length {
		first++
	}
	p.kept = slices.Delete(p.kept, 0, first)
	return p.kept[0].value * p.sign
}
