package gateway

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"logux-proxy/cluster"
	"logux-proxy/wire"
)

// A diary is a Tracer that follows everything but actions of the type "unseen", and writes down what ends: each step with the number of
// the step that it is a part of.
type diary struct {
	mu    sync.Mutex
	last  byte
	lines []string
	open  int
}

func (d *diary) begin(of *wire.Trace, what string) *diaryStep {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last++
	d.open++
	s := &diaryStep{d: d, at: wire.Trace{ID: [16]byte{1}, Span: [8]byte{d.last}}}
	if of != nil {
		s.what = fmt.Sprintf("%d of %d: %s", d.last, of.Span[0], what)
	} else {
		s.what = fmt.Sprintf("%d: %s", d.last, what)
	}
	return s
}

type diaryStep struct {
	d    *diary
	what string
	at   wire.Trace
}

func (s *diaryStep) Trace() *wire.Trace { return &s.at }

func (s *diaryStep) end(how string) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	s.d.open--
	s.d.lines = append(s.d.lines, strings.TrimSpace(s.what+" "+how))
}

type diaryAction struct{ *diaryStep }

func (s diaryAction) End(outcome, told string) { s.end(outcome + " " + told) }

type diaryPublish struct{ *diaryStep }

func (s diaryPublish) End(bus bool, err error) { s.end(fmt.Sprint("bus=", bus, " ", err)) }

func (d *diary) Action(a ActionStart) ActionTrace {
	if a.Action.Type == "unseen" || a.Came.IsZero() {
		return nil
	}
	return diaryAction{d.begin(nil, strings.TrimSpace(a.Action.Type+" "+a.Channel))}
}

func (d *diary) Publish(of *wire.Trace, a *wire.Action, _ *wire.Targets) PublishTrace {
	return diaryPublish{d.begin(of, "publish "+a.Type)}
}

func (d *diary) Deliver(of *wire.Trace, a *wire.Action, receivers int) func() {
	s := d.begin(of, fmt.Sprintf("deliver %s to %d", a.Type, receivers))
	return func() { s.end("") }
}

// want waits until all that began has ended, and compares it. Ends may come in any order.
func (d *diary) want(t *testing.T, lines ...string) {
	t.Helper()
	await(t, "every step ends", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.open == 0 && len(d.lines) >= len(lines)
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.Sort(d.lines)
	if !slices.Equal(d.lines, lines) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(d.lines, "\n"), strings.Join(lines, "\n"))
	}
	d.lines, d.last = nil, 0
}

func TestTraceOfAnAction(t *testing.T) {
	bus, b := cluster.NewLocal(), newStub(t)
	mine, other := new(diary), new(diary)
	w := joinWorld(t, bus, "server:one", b, func(c *Config) { c.Tracer = mine })
	far := joinWorld(t, bus, "server:two", b, func(c *Config) { c.Tracer = other })
	author, near, away, away2 := w.connect("10:a:tab"), w.connect("20:b:tab"), far.connect("30:c:tab"), far.connect("30:d:tab")

	near.act(1, subscribeBody("posts"))
	q := b.next(t, subscribeBody("posts"))
	if q.Trace == nil || q.Trace.Span != [8]byte{1} {
		t.Errorf("the command's trace is %v", q.Trace)
	}
	q.agree()
	near.wantProcessed(1)
	mine.want(t, "1: logux/subscribe posts processed connection")
	near.act(2, `{"type":"logux/unsubscribe","channel":"posts"}`)
	near.wantProcessed(2)
	mine.want(t, "1: logux/unsubscribe posts processed connection")
	for _, c := range []*browser{near, away, away2} {
		c.act(3, subscribeBody("news"))
		b.next(t, subscribeBody("news")).agree()
		c.wantProcessed(3)
	}
	mine.want(t, "1: logux/subscribe news processed connection")
	other.want(t, "1: logux/subscribe news processed connection", "2: logux/subscribe news processed connection")

	// Re-sent here and there, an action of the back-end's on top, and undone.
	author.act(1, inc)
	q = b.next(t, inc)
	q.resend(wire.Targets{Channels: []string{"news"}})
	q.approve()
	near.want("action " + inc)
	q.action(`{"type":"data"}`, wire.Targets{Clients: []wire.ClientID{"10:a"}})
	q.fail("Error")
	author.wantAction(`action {"type":"data"}`)
	mine.want(t,
		"1: counter/inc error connection",
		"2 of 1: publish counter/inc bus=true <nil>", "3 of 2: deliver counter/inc to 1",
		"4 of 1: publish data bus=true <nil>", "5 of 4: deliver data to 1",
		"6 of 1: publish logux/undo bus=true <nil>", "7 of 6: deliver logux/undo to 1")
	other.want(t, "1 of 2: deliver counter/inc to 2", "2 of 6: deliver logux/undo to 2")

	// What is not followed leaves nothing, here or there.
	author.act(2, `{"type":"unseen"}`)
	q = b.next(t, `{"type":"unseen"}`)
	if q.Trace != nil {
		t.Error("a command that nobody follows has a trace")
	}
	q.resend(wire.Targets{Channels: []string{"news"}})
	q.agree()
	away.wantAction("action " + inc)
	away.next() // the undo
	away.wantAction(`action {"type":"unseen"}`)
	author.act(3, `{"type":"logux/subscribe"}`) // refused without the back-end
	mine.want(t, "1: logux/subscribe wrongChannel connection")
	other.want(t)
}

// Every way that an action can end ends its trace.
func TestTraceEnds(t *testing.T) {
	d := new(diary)
	w := newWorld(t, func(c *Config) { c.Tracer = d })
	c, n := w.connect("10:a:tab"), int64(10)
	for kind, outcome := range map[wire.AnswerKind]string{
		wire.AnswerForbidden: "denied", wire.AnswerUnknownAction: "unknownType", wire.AnswerUnknownChannel: "wrongChannel",
	} {
		n++
		c.act(n, inc)
		w.backend.next(t, inc).finish(kind)
		d.want(t, "1: counter/inc "+outcome+" connection")
	}
	// Two wait behind one that fails.
	c.act(21, inc)
	c.act(22, inc2)
	c.act(23, inc3)
	q := w.backend.next(t, inc)
	await(t, "all are there", func() bool { return w.g.Stats().Open == 3 })
	q.done(wire.Answer{}, errors.New("away"))
	d.want(t, "1: counter/inc error connection", "2: counter/inc error connection", "3: counter/inc error connection")
	// An action of somebody else.
	c.send(`["sync",24,{"type":"forged"},{"id":[1,"20:b:tab",0],"time":1}]`)
	d.want(t, "1: forged denied connection")
	// Its client has gone.
	c.act(25, inc)
	q = w.backend.next(t, inc)
	c.drop()
	w.members(0)
	q.agree()
	d.want(t, "1: counter/inc processed nobody")
}

// The control API's actions are a part of what it says.
func TestTraceOfDeliver(t *testing.T) {
	d := new(diary)
	w := newWorld(t, func(c *Config) { c.Tracer = d })
	c := w.connect("10:a:tab")
	of := &wire.Trace{ID: [16]byte{1}, Span: [8]byte{99}}
	for _, trace := range []*wire.Trace{nil, of} {
		if err := w.g.Deliver(&wire.Action{Type: "own", Body: wire.RawJSON(inc)}, &wire.Targets{Users: []wire.UserID{"10"}}, trace); err != nil {
			t.Fatal(err)
		}
		c.wantAction("action " + inc)
	}
	d.want(t, "1 of 99: publish own bus=true <nil>", "2 of 1: deliver own to 1")
	if err := w.g.Deliver(&wire.Action{Type: "own", Body: wire.RawJSON(inc)}, &wire.Targets{}, of); err != nil {
		t.Fatal(err)
	}
	d.want(t)
}

// No tracer costs nothing, and neither does one that does not follow.
func TestTracingOffAllocatesNothing(t *testing.T) {
	action := &wire.Action{ID: "1 10:a:tab 0", Type: "unseen", Body: wire.RawJSON(inc)}
	targets := &wire.Targets{Channels: []string{"posts"}}
	for _, tracer := range []Tracer{nil, new(diary)} {
		g := &Gateway{cfg: Config{Tracer: tracer}}
		j := &job{g: g, action: action, came: time.Now()}
		done := func() {}
		if n := testing.AllocsPerRun(100, func() {
			j.follow()
			step := g.publishing(j.trace(), action, targets)
			d := g.delivering(step.trace(), action, 3)
			d.part().ended()
			d.ended()
			step.then(done)()
			step.end(true, nil)
			j.followed(outcomeProcessed, nil, away{})
		}); n != 0 {
			t.Errorf("%v allocations with tracer %v", n, tracer)
		}
	}
}
