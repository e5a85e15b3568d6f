package gateway

import (
	"errors"
	"slices"

	"logux-proxy/gateway/hub"
	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// Subscriptions (PROTOCOL section 4). Back-ends often read their database before the first byte of
// their answer leaves, so joining a channel only when they approve would lose what was sent in between.
// The order is: the bus is sure to bring what is sent to the channel; what arrives is kept for
// the client; the back-end is asked; on its approval what was kept is released and the client joined.

// asking is a subscription under way.
type asking struct {
	j      *job
	active bool // it stood already, with the same filter: a refusal leaves it alone
	joined bool // the back-end approved it
	kept   []*wire.Outgoing
	bytes  int
	hole   bool // more came than may be kept
}

// subscribe begins a logux/subscribe or does a logux/unsubscribe.
type subscribe struct{ j *job }

// Run implements transport.Task.
func (t *subscribe) Run(*transport.Loop) {
	j, p, g := t.j, t.j.peer, t.j.g
	switch {
	case p.closed:
		// Nobody is there to be subscribed; the ledger has forgotten the job.
		j.settle(wire.ReasonError, &cause{details: "the connection ended before"})
		return
	case j.action.Type == wire.TypeUnsubscribe:
		if g.hub.Unsubscribe(&p.member, *j.subscription) {
			g.cfg.Bus.Leave(wire.ChannelTopic(j.subscription.Channel))
		}
		j.settle("", nil)
		return
	case g.hub.State(&p.member, *j.subscription) == 0 && g.hub.Subscriptions(&p.member) >= g.cfg.MaxSubscriptions:
		j.settle(wire.ReasonError, &cause{details: "the client has too many subscriptions"})
		return
	}
	p.asking = &asking{j: j, active: g.hub.State(&p.member, *j.subscription) == hub.Active}
	ask := func(err error) {
		if err != nil {
			p.h.loop.Post(&subscribed{j: j, err: err})
			return
		}
		g.cfg.Backend.Process(&wire.Command{Action: j.action, Headers: j.headers, Trace: j.trace()}, j.subscriptionAnswer, func(a wire.Answer, err error) {
			p.h.loop.Post(&subscribed{j: j, answer: a, err: err})
		})
	}
	if g.hub.Subscribe(&p.member, *j.subscription, hub.Pending) {
		g.cfg.Bus.Join(wire.ChannelTopic(j.subscription.Channel), ask)
	} else {
		ask(nil)
	}
}

// subscriptionAnswer is answer for a subscription.
func (j *job) subscriptionAnswer(a wire.Answer) {
	switch a.Kind {
	case wire.AnswerApproved:
		j.peer.h.loop.Post(&approved{j: j})
	case wire.AnswerAction:
		j.g.answered(j, a)
	}
}

// approved joins the client to the channel, before the back-end sends its data.
type approved struct{ j *job }

// Run implements transport.Task.
func (t *approved) Run(*transport.Loop) {
	j, p := t.j, t.j.peer
	a := p.asking
	if p.closed || a == nil || a.j != j || a.hole {
		return
	}
	a.joined = true
	j.g.hub.Subscribe(&p.member, *j.subscription, hub.Active)
	for _, out := range a.kept {
		p.enqueue(delivery{out: out})
	}
	a.kept, a.bytes = nil, 0
	p.conn.Wake()
}

// subscribed is the back-end's final word on a subscription.
type subscribed struct {
	j      *job
	answer wire.Answer
	err    error
}

var errHole = errors.New("more was sent to the channel than may be kept for a client while the back-end thinks")

// Run implements transport.Task.
func (t *subscribed) Run(*transport.Loop) {
	j, p, g := t.j, t.j.peer, t.j.g
	reason, why := judge(t.answer, t.err)
	if a := p.asking; a != nil && a.j == j {
		if a.hole && reason == "" {
			reason, why = wire.ReasonError, &cause{err: errHole}
		}
		// A refusal takes back what was pending; an error after the approval takes back the subscription.
		refused := reason != "" && (!a.active || a.joined)
		if refused && g.hub.Unsubscribe(&p.member, *j.subscription) {
			g.cfg.Bus.Leave(wire.ChannelTopic(j.subscription.Channel))
		}
		p.asking = nil
	}
	j.settle(reason, why)
}

// keep takes an action that reached the client only through channels it was not admitted to when the
// action was routed.
func (p *peer) keep(out *wire.Outgoing, channels []string) {
	g := p.h.g
	if a := p.asking; a != nil && slices.Contains(channels, a.j.subscription.Channel) &&
		g.hub.Listens(&p.member, a.j.subscription.Channel) == hub.Pending {
		a.bytes += out.Size()
		if a.hole = a.hole || a.bytes > g.cfg.MaxHeld; a.hole {
			a.kept = nil
		} else {
			a.kept = append(a.kept, out)
		}
		return
	}
	// The back-end's answer came in between.
	for _, channel := range channels {
		if g.hub.Listens(&p.member, channel) == hub.Active {
			p.enqueue(delivery{out: out})
			return
		}
	}
}
