package gateway

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// A job is the life of one action of a client (PROTOCOL section 3).
type job struct {
	// Static
	g            *Gateway
	peer         *peer // the connection it came by
	action       *wire.Action
	headers      wire.RawJSON
	subscription *wire.Subscription
	wrongChannel bool
	came         time.Time

	// Owned by the one callback of the back-end that runs at a time
	targets wire.Targets
	resent  bool        // it was re-sent to targets, which are to hear of its undo
	gone    atomic.Bool // another server has taken it over
	reason  wire.Reason // of settle, while it waits for what is re-sent
	why     *cause
	asked   time.Time
	steps   ActionTrace // nil when the action is not traced

	leave atomic.Int32 // how far what is re-sent is

	early bool // it was claimed before it began; static from then on

	// Guarded by the ledger
	client     *client
	next, prev *job
	outcome    *wire.Outgoing
	via        *peer         // the connection it came by last; nil when that one ended
	added      int64         // number of the sync that carried the outcome to the live connection; 0 when none did
	proof      int64         // number of a sync written after our synced for it on via; 0 when that is not written
	counted    int           // bytes, while it counts as unconfirmed; else 0
	owner      wire.ServerID // who processes it, in jobElsewhere
	claimThen  func()        // what waits until the store was asked to claim it
	state      jobState
	has        bool // the client confirmed that it has the outcome
	recorded   bool // the store knows it, or may
	claimed    bool // it is claimed, or about to be
	claiming   bool // the store is about to be asked to claim it
	pending    bool // the store has not answered to that
	safe       bool // the store has the claim
	ending     bool // its outcome is known, and soon told
}

// run begins the work on j. It does not block; any goroutine may call it.
func (j *job) run() {
	j.asked = time.Now()
	j.follow()
	switch {
	case j.wrongChannel:
		j.settle(wire.ReasonWrongChannel, nil)
	case j.subscription != nil:
		j.peer.h.loop.Post(&subscribe{j: j})
	default:
		j.g.cfg.Bus.CaughtUp(j.begin)
	}
}

// begin asks the back-end about j, unless another server does.
func (j *job) begin() {
	if j.early {
		j.ifHeld(j.ask, j.takenOver)
	} else {
		j.ask()
	}
}

// ifHeld goes on with j, which is claimed, unless another server has taken it over while this one stood still.
func (j *job) ifHeld(then, otherwise func()) {
	j.g.cfg.Handovers.Held(j.client.id, j.action.ID, func(held bool) {
		if held && !j.gone.Load() { // that is said once
			then()
			return
		}
		j.gone.Store(true)
		otherwise()
	})
}

// mayBeGone reports whether another server may have taken j over since it was asked about.
func (j *job) mayBeGone() bool { return j.client != nil && j.g.ledger.isClaimed(j) }

// ask asks the back-end about j.
func (j *job) ask() {
	j.g.cfg.Backend.Process(&wire.Command{Action: j.action, Headers: j.headers, Trace: j.trace()}, j.answer, j.done)
}

// takenOver gives j up to the server that has taken it over while this one stood still, and may be done with it.
func (j *job) takenOver() {
	j.followed(outcomeTaken, nil, away{})
	client, f := j.client.id, wire.InFlight{ID: j.action.ID, Owner: j.g.cfg.Life}
	if next := j.g.ledger.giveUp(j); next != nil {
		next.run()
	}
	j.g.inquireOne(absence{client: client, InFlight: f}, false, func() {})
}

// answer takes what the back-end says before its final word.
func (j *job) answer(a wire.Answer) {
	switch a.Kind {
	case wire.AnswerResend:
		j.targets = a.Targets
	case wire.AnswerApproved:
		if !j.targets.Empty() {
			j.resent = true
			j.leave.Store(leaving)
			j.resend()
		}
	case wire.AnswerAction:
		if j.mayBeGone() {
			j.ifHeld(func() { j.g.answered(j, a) }, func() {}) // else whoever has it sends the like
		} else {
			j.g.answered(j, a)
		}
	}
}

// resend re-sends j to its targets, unless another server does.
func (j *job) resend() {
	if j.mayBeGone() {
		j.ifHeld(j.route, j.left)
	} else {
		j.route()
	}
}

func (j *job) route() { j.g.route(j.action, &j.targets, j.trace(), j.left) }

// answered sends an action that the back-end answered with to the targets in its meta.
func (g *Gateway) answered(j *job, a wire.Answer) {
	if err := g.Deliver(a.Action, &a.Targets, j.trace()); err != nil {
		g.log.Error("Action of the back-end could not be sent",
			zap.String("actionId", string(j.action.ID)), zap.String("type", a.Action.Type), zap.Error(err))
	}
}

// done takes the back-end's final word.
func (j *job) done(a wire.Answer, err error) {
	j.settle(judge(a, err))
}

// judge turns the back-end's final word into the reason of the undo, "" for none (PROTOCOL section 3,
// rule 6), and what is to be said about it.
func judge(a wire.Answer, err error) (wire.Reason, *cause) {
	switch {
	case err != nil:
		return wire.ReasonError, &cause{err: err}
	case a.Kind == wire.AnswerProcessed:
		return "", nil
	case a.Kind == wire.AnswerForbidden:
		return wire.ReasonDenied, nil
	case a.Kind == wire.AnswerUnknownAction:
		return wire.ReasonUnknownType, nil
	case a.Kind == wire.AnswerUnknownChannel:
		return wire.ReasonWrongChannel, nil
	default:
		return wire.ReasonError, &cause{details: a.Details}
	}
}

// A cause says why an action ended in an error. Details are the back-end's, often a stack trace: they go
// into the log and, in development, to the author; to nobody else.
type cause struct {
	err     error
	details string
}

// settle ends j: with logux/processed where reason is "", else with a logux/undo to its author and to
// everybody it went to. It lets the client's next action go on.
func (j *job) settle(reason wire.Reason, why *cause) {
	// Its author forgets the action when it has the outcome: not before the others are sure to get it.
	j.reason, j.why = reason, why
	if j.leave.CompareAndSwap(leaving, settling) {
		return
	}
	j.settleNow(reason, why)
}

// left says that what is re-sent survives the end of this process.
func (j *job) left() {
	if j.leave.Swap(hasLeft) == settling {
		j.settleNow(j.reason, j.why)
	}
}

// How far what is re-sent of a job is.
const (
	_ int32 = iota // nothing is re-sent
	leaving
	settling // the job is settled when it has left
	hasLeft
)

func (j *job) settleNow(reason wire.Reason, why *cause) {
	out := j.verdict(reason)
	claimed := j.g.ledger.end(j)
	switch {
	case j.gone.Load():
		j.takenOver()
		return
	case !claimed:
		j.conclude(out, reason, why)
		return
	}
	j.settleClaim(out, func(kept *wire.Outgoing, taken bool) {
		if taken {
			j.takenOver()
			return
		}
		j.conclude(kept, reason, why)
	})
}

// verdict makes the outcome of j for its author.
func (j *job) verdict(reason wire.Reason) *wire.Outgoing {
	if reason == "" {
		return j.g.processed(j.action.ID)
	}
	return j.g.undo(j.action, reason)
}

// retract tells everybody whom j went to if its outcome is an undo.
func (j *job) retract(out *wire.Outgoing) {
	if !j.resent || out.Action.Type != wire.TypeUndo {
		return
	}
	author := j.action.ID.Client()
	if err := j.g.publish(out, withoutAuthor(&j.targets, author), author, j.trace()); err != nil {
		j.g.log.Error("Undo could not be re-sent", zap.String("actionId", string(j.action.ID)), zap.Error(err))
	}
}

// conclude gives the outcome to the client and goes on with its next action.
func (j *job) conclude(out *wire.Outgoing, reason wire.Reason, why *cause) {
	if j.g.cfg.Life != "" { // WaitSettled is not to miss it between the ledger and the store
		j.g.settling.Add(1)
		defer j.g.settling.Add(-1)
	}
	j.retract(out)
	s := j.g.ledger.settle(j, out, out.Action.Type == wire.TypeUndo)
	if !s.forgotten {
		j.report(reason, why)
	}
	j.tell(out, s.tell, s.away, debugText(j, reason, why))
	j.followed(outcomeOf(reason), s.tell, s.away)
	for _, f := range s.failed {
		f.failAfter(j)
	}
	if s.start != nil {
		s.start.run()
	}
}

// failAfter undoes a job that waited behind one that failed: its author wrote it believing in the first.
func (j *job) failAfter(first *job) {
	out := j.g.undo(j.action, wire.ReasonError)
	conclude := func(out *wire.Outgoing, taken bool) {
		if taken {
			j.takenOver()
			return
		}
		j.report(wire.ReasonError, &cause{details: "an earlier action of the same client failed: " + string(first.action.ID)})
		p, away := j.g.ledger.fail(j, out)
		j.tell(out, p, away, "")
		j.follow() // it never ran
		j.followed(string(wire.ReasonError), p, away)
	}
	if j.g.ledger.end(j) {
		j.settleClaim(out, conclude)
		return
	}
	conclude(out, false)
}

// tell gives j's outcome to its client, wherever it is.
func (j *job) tell(out *wire.Outgoing, p *peer, a away, debug string) {
	switch {
	case p == nil && (a.moved || a.recorded):
		j.g.tellElsewhere(j, out, a)
	case p != nil:
		p.h.loop.Post(&tell{p: p, id: j.action.ID, out: out, debug: debug})
		if a.moved {
			o := wire.Outcome{ID: j.action.ID, Action: wire.AppendAction(nil, out.Action)}
			j.g.tellServers(wire.KindOutcome, j.client.id, &wire.Note{Server: j.g.cfg.Life, Outcomes: []wire.Outcome{o}})
		}
	}
}

// withoutAuthor leaves out the author's client, who hears of the undo in any case, and once.
func withoutAuthor(t *wire.Targets, author wire.ClientID) *wire.Targets {
	r := *t
	r.Clients, r.Nodes = nil, nil
	for _, c := range t.Clients {
		if c != author {
			r.Clients = append(r.Clients, c)
		}
	}
	for _, n := range t.Nodes {
		if n.Client() != author {
			r.Nodes = append(r.Nodes, n)
		}
	}
	return &r
}

// undo makes the logux/undo of an action.
func (g *Gateway) undo(a *wire.Action, reason wire.Reason) *wire.Outgoing {
	return g.own(wire.TypeUndo, wire.UndoBody(a.ID, reason, a.Body))
}

// processed makes the logux/processed of an action.
func (g *Gateway) processed(id wire.ActionID) *wire.Outgoing {
	return g.own(wire.TypeProcessed, wire.ProcessedBody(id))
}

// own makes an action of the server's.
func (g *Gateway) own(actionType string, body wire.RawJSON) *wire.Outgoing {
	id, ms := g.ids.next()
	out, err := wire.NewOutgoing(&wire.Action{ID: id, Time: ms, Subprotocol: g.ownSubprotocol(), Type: actionType, Body: body}, g.cfg.Session.Server)
	if err != nil {
		panic("gateway: an ID of our own: " + err.Error()) // ids.next writes the three-part form
	}
	return out
}

// Outcomes of an action, as they are counted.
const (
	outcomeProcessed = "processed"
	outcomeDenied    = "denied"
)

// outcomeOf is how an action with this reason of the undo, "" for none, is counted.
func outcomeOf(reason wire.Reason) string {
	if reason == "" {
		return outcomeProcessed
	}
	return string(reason)
}

// report logs and counts j's end.
func (j *job) report(reason wire.Reason, why *cause) {
	took := time.Since(j.came)
	outcome := outcomeOf(reason)
	j.g.count(outcome, took)
	fields := []zap.Field{
		zap.String("actionId", string(j.action.ID)),
		zap.String("type", j.action.Type),
		zap.Duration("latency", took),
	}
	if j.subscription != nil {
		fields = append(fields, zap.String("channel", j.subscription.Channel))
	}
	switch {
	case reason == "" && j.action.Type == wire.TypeSubscribe:
		j.g.log.Info("Client was subscribed", fields...)
	case reason == "" && j.action.Type == wire.TypeUnsubscribe:
		j.g.log.Info("Client was unsubscribed", fields...)
	case reason == "":
		j.g.log.Info("Action was processed", fields...)
	case why == nil:
		j.g.log.Warn("Action was undone", append(fields, zap.String("reason", outcome))...)
	case why.err != nil:
		j.g.log.Error("Action was undone", append(fields, zap.String("reason", outcome), zap.Error(why.err))...)
	default:
		j.g.log.Error("Action was undone", append(fields, zap.String("reason", outcome), zap.String("details", why.details))...)
	}
}

// debugText is what the author's developer is told.
func debugText(j *job, reason wire.Reason, why *cause) string {
	switch {
	case !j.g.cfg.Session.Development || reason == "":
		return ""
	case reason == wire.ReasonDenied:
		return "Action \"" + string(j.action.ID) + "\" was denied"
	case reason == wire.ReasonUnknownType:
		return "Action with unknown type " + j.action.Type
	case reason == wire.ReasonWrongChannel:
		return "Wrong channel name " + string(j.action.Body)
	case why != nil && why.err != nil:
		return why.err.Error()
	case why != nil:
		return why.details
	default:
		return ""
	}
}
