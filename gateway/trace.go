package gateway

import (
	"sync/atomic"
	"time"

	"logux-proxy/wire"
)

// A Tracer follows some of the actions on their way through this server; Config.Tracer is nil when nobody does. No method
// blocks; any goroutine may call them. What they return, where it is not nil, is ended once.
type Tracer interface {
	// Action decides whether an action of a client is followed, and returns nil if not, which costs next to nothing. It is
	// asked once for each action that is processed here, when its turn has come.
	Action(a ActionStart) ActionTrace
	// Publish begins to give an action to those whom t names, as a part of of.
	Publish(of *wire.Trace, a *wire.Action, t *wire.Targets) PublishTrace
	// Deliver begins to give an action to so many receivers at this server, as a part of its publication. The result is
	// called when each loop with some of them has its part.
	Deliver(of *wire.Trace, a *wire.Action, receivers int) (end func())
}

// An ActionStart says which action begins.
type ActionStart struct {
	Action  *wire.Action
	Channel string    // of a subscription
	Came    time.Time // when it came; it may have waited for the client's earlier actions since
}

// An ActionTrace is an action that is followed.
type ActionTrace interface {
	// Trace is for what is a part of it.
	Trace() *wire.Trace
	// End says with which outcome: one of Outcomes, or "takenOver" when another server gives it one. told says where the
	// outcome went: to the client's "connection", to the "server" where the client is, into its "record", or to "nobody".
	End(outcome, told string)
}

// A PublishTrace is a publication that is followed.
type PublishTrace interface {
	// Trace is for deliveries, here and at other servers.
	Trace() *wire.Trace
	// End says whether the bus was given it, which is not so where all receivers are here, and what it said.
	End(bus bool, err error)
}

// outcomeTaken is the outcome of a trace whose action gets one from another server.
const outcomeTaken = "takenOver"

// follow asks whether j is to be followed.
func (j *job) follow() {
	if j.g.cfg.Tracer == nil {
		return
	}
	s := ActionStart{Action: j.action, Came: j.came}
	if j.subscription != nil {
		s.Channel = j.subscription.Channel
	}
	j.steps = j.g.cfg.Tracer.Action(s)
}

// trace is for what is a part of j; nil when j is not followed.
func (j *job) trace() *wire.Trace {
	if j.steps == nil {
		return nil
	}
	return j.steps.Trace()
}

// followed ends what follow began. p is the connection that the outcome was given to, a where else it went.
func (j *job) followed(outcome string, p *peer, a away) {
	if j.steps == nil {
		return
	}
	told := "nobody"
	switch {
	case p != nil:
		told = "connection"
	case a.moved:
		told = "server"
	case a.recorded:
		told = "record"
	}
	j.steps.End(outcome, told)
}

// followedOrphan is followed for an orphan, whose outcome goes to wherever its client is.
func (j *job) followedOrphan(failed, taken bool) {
	switch {
	case taken:
		j.followed(outcomeTaken, nil, away{})
	case failed:
		j.followed(string(wire.ReasonError), nil, away{moved: true})
	default:
		j.followed(outcomeProcessed, nil, away{moved: true})
	}
}

// followDenied is for an action that is denied before there is a job.
func (g *Gateway) followDenied(a *wire.Action) {
	if g.cfg.Tracer == nil {
		return
	}
	if s := g.cfg.Tracer.Action(ActionStart{Action: a, Came: time.Now()}); s != nil {
		s.End(outcomeDenied, "connection")
	}
}

// publishing is a publication that is followed, or, without a step, one that is not.
type publishing struct{ step PublishTrace }

func (g *Gateway) publishing(of *wire.Trace, a *wire.Action, t *wire.Targets) publishing {
	if of == nil || g.cfg.Tracer == nil {
		return publishing{}
	}
	return publishing{g.cfg.Tracer.Publish(of, a, t)}
}

func (p publishing) trace() *wire.Trace {
	if p.step == nil {
		return nil
	}
	return p.step.Trace()
}

func (p publishing) end(bus bool, err error) {
	if p.step != nil {
		p.step.End(bus, err)
	}
}

// then is done after the end of p.
func (p publishing) then(done func()) func() {
	if p.step == nil {
		return done
	}
	return func() {
		p.step.End(true, nil)
		done()
	}
}

// delivering is the delivery of an action to the loops of its receivers here. A nil one is of an action that is not
// followed.
type delivering struct {
	left atomic.Int32 // parts that have not ended
	end  func()
}

func (g *Gateway) delivering(of *wire.Trace, a *wire.Action, receivers int) *delivering {
	if of == nil || g.cfg.Tracer == nil {
		return nil
	}
	d := &delivering{end: g.cfg.Tracer.Deliver(of, a, receivers)}
	d.left.Store(1)
	return d
}

// part is d for one more part.
func (d *delivering) part() *delivering {
	if d != nil {
		d.left.Add(1)
	}
	return d
}

func (d *delivering) ended() {
	if d != nil && d.left.Add(-1) == 0 {
		d.end()
	}
}
