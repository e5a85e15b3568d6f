package gateway

import (
	"fmt"
	"sync"

	"go.uber.org/zap"

	"logux-proxy/gateway/hub"
	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// Deliver sends an action that the back-end makes of its own accord to the receivers that t names,
// here and on the other servers. An empty ID and a zero time are filled in. of is the step of a trace that this is a part
// of, nil for none. It does not block; any goroutine may call it.
func (g *Gateway) Deliver(a *wire.Action, t *wire.Targets, of *wire.Trace) error {
	whole := *a
	if whole.ID == "" {
		whole.ID, whole.Time = g.ids.next()
		if a.Time != 0 {
			whole.Time = a.Time
		}
	} else if whole.Time == 0 {
		ms, _, _, ok := wire.ParseActionID(whole.ID)
		if !ok {
			return fmt.Errorf("gateway: delivering an action: its ID is not in the form that clients read: %q", whole.ID)
		}
		whole.Time = ms
	}
	if whole.Subprotocol == nil {
		whole.Subprotocol = g.ownSubprotocol()
	}
	out, err := wire.NewOutgoing(&whole, g.cfg.Session.Server)
	if err != nil {
		return fmt.Errorf("gateway: delivering an action: %w", err)
	}
	author := whole.ID.Client()
	if author.User() == wire.ServerUser {
		author = ""
	}
	return g.publish(out, t, author, of)
}

// route re-sends the action of a client, and calls done when that would survive the end of this process.
func (g *Gateway) route(a *wire.Action, t *wire.Targets, of *wire.Trace, done func()) {
	out, err := wire.NewOutgoing(a, g.cfg.Session.Server)
	if err != nil {
		done()
	} else {
		step := g.publishing(of, a, t)
		if g.local(out, t, a.ID.Client(), step.trace(), g.cfg.Life != "") {
			step.end(false, nil)
			done()
		} else if err = g.cfg.Bus.PublishThen(g.envelope(out, t, a.ID.Client(), step.trace()), step.then(done)); err != nil {
			step.end(true, err)
			done()
		}
	}
	if err != nil {
		g.log.Error("Action could not be re-sent", zap.String("actionId", string(a.ID)), zap.Error(err))
	}
}

// publish gives an action to its receivers: local ones first, they do not wait for the bus. Where all of them are clients
// that are connected here, nothing is published.
func (g *Gateway) publish(out *wire.Outgoing, t *wire.Targets, author wire.ClientID, of *wire.Trace) error {
	if t.Empty() {
		return nil
	}
	step := g.publishing(of, out.Action, t)
	if g.local(out, t, author, step.trace(), g.cfg.Life != "") {
		step.end(false, nil)
		return nil
	}
	err := g.cfg.Bus.Publish(g.envelope(out, t, author, step.trace()))
	step.end(true, err)
	return err
}

func (g *Gateway) envelope(out *wire.Outgoing, t *wire.Targets, author wire.ClientID, trace *wire.Trace) *wire.Envelope {
	return &wire.Envelope{
		Origin: g.cfg.Session.Server, Seq: g.published.Add(1), Action: out.Action, Targets: *t, Author: author, Trace: trace,
	}
}

// receiveAction takes an action from another server.
func (g *Gateway) receiveAction(e *wire.Envelope) {
	out, err := wire.NewOutgoing(e.Action, g.cfg.Session.Server)
	if err != nil {
		g.log.Error("Action of another server could not be sent", zap.String("origin", string(e.Origin)), zap.Error(err))
		return
	}
	g.local(out, &e.Targets, e.Author, e.Trace, false)
}

// A fanout is one action on its way to the receivers on one loop.
type fanout struct {
	out      *wire.Outgoing
	channels []string
	matches  []hub.Match[*peer]

	private bool // no other server knows of it
	author  wire.ClientID
	clients []wire.ClientID // those that are addressed as such

	step *delivering // nil when the action is not traced
}

var fanouts = sync.Pool{New: func() any { return new(fanout) }}

// local posts an action to the loops of its local receivers, one task a loop, in the order of the calls. It reports
// whether these are all that it has: then, if it mayKeep the action from the other servers, they need not know of it.
// trace is that of the publication, here or elsewhere.
func (g *Gateway) local(out *wire.Outgoing, t *wire.Targets, author wire.ClientID, trace *wire.Trace, mayKeep bool) (private bool) {
	all := fanouts.Get().(*fanout)
	all.matches = g.hub.Resolve(all.matches[:0], t, author)
	g.matched.Add(int64(len(all.matches)))
	private = mayKeep && len(t.Channels)+len(t.Users) == 0 && len(all.matches) == len(t.Clients)+len(t.Nodes)
	all.of(out, t, author, private)
	all.step = g.delivering(trace, out.Action, len(all.matches))
	if len(g.handlers) == 1 && len(all.matches) > 0 {
		all.post(g.handlers[0])
		return private
	}
	for _, h := range g.handlers {
		var part *fanout
		for _, m := range all.matches {
			if m.Peer.h != h {
				continue
			}
			if part == nil {
				part = fanouts.Get().(*fanout)
				part.of(out, t, author, private)
				part.step = all.step.part()
			}
			part.matches = append(part.matches, m)
		}
		if part != nil {
			part.post(h)
		}
	}
	all.recycle()
	return private
}

func (f *fanout) of(out *wire.Outgoing, t *wire.Targets, author wire.ClientID, private bool) {
	f.out, f.channels = out, t.Channels
	f.private, f.author, f.clients = private, author, t.Clients
}

// post gives f to the loop of its receivers.
func (f *fanout) post(h *handler) {
	if h.loop.Post(f) {
		return
	}
	// The loop has ended and the connections with it.
	if f.private {
		for _, m := range f.matches {
			m.Peer.giveAway(f.privateOf(m.Peer))
		}
	}
	f.recycle()
}

// Run implements transport.Task.
func (f *fanout) Run(*transport.Loop) {
	for _, m := range f.matches {
		p := m.Peer
		switch {
		case f.private:
			p.enqueuePrivate(f.privateOf(p))
		case p.closed:
		case m.Pending:
			p.keep(f.out, f.channels)
		default:
			p.enqueue(delivery{out: f.out})
		}
		if !p.closed {
			p.conn.Wake()
		}
	}
	f.recycle()
}

func (f *fanout) recycle() {
	f.step.ended()
	clear(f.matches)
	*f = fanout{matches: f.matches[:0]}
	fanouts.Put(f)
}
