package gateway

import (
	"fmt"
	"slices"
	"testing"

	"logux-proxy/wire"
)

// One test for each rule of section 3 of the specification, "Life of an action from a client".

const (
	inc  = `{"type":"counter/inc","value":1}`
	inc2 = `{"type":"counter/inc","value":2}`
	inc3 = `{"type":"counter/inc","value":3}`
)

// Rule 2: "Everything else goes to the back-end as an `action` command." Rule 5: "`processed`: the author
// gets {"type":"logux/processed","id":ID}, an action of the server's own (server node ID in its ID)."
func TestSpecProcessed(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	c.send(`["headers",{"locale":"fr"}]`)
	id := c.act(1, inc)
	q := w.backend.next(t, inc)
	if q.Action.ID != id || q.Action.Type != "counter/inc" || string(q.Action.Subprotocol) != "3" || q.Action.Time != 1_500_000_000_001 ||
		string(q.Headers) != `{"locale":"fr"}` {
		t.Errorf("asked about %+v with headers %s", q.Action, q.Headers)
	}
	q.agree()
	c.wantProcessed(1)
	if g := c.got[0]; g.id.Node() != "server" {
		t.Errorf("outcome %+v", g)
	}
	w.forgotten()
}

// Small print: "Meta to the back-end: `id`, `time`, `subprotocol`. The server's own actions carry the server's
// subprotocol; what it is before the first `authenticated` is nobody's business: leave it out."
func TestSpecOwnSubprotocol(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.setAuth(func(*wire.Auth) (wire.Answer, error) { return wire.Answer{Kind: wire.AnswerAuthenticated}, nil })
	c := w.connect("10:a:tab")
	w.deliver(inc, wire.Targets{Clients: []wire.ClientID{"10:a"}})
	c.want("action " + inc)
	w.backend.setAuth(nil)
	w.connect("20:a:tab")
	w.deliver(inc, wire.Targets{Clients: []wire.ClientID{"10:a"}})
	c.want("action " + inc)
	if c.got[0].subprotocol != "" || c.got[1].subprotocol != "9" {
		t.Errorf("subprotocols %q and %q", c.got[0].subprotocol, c.got[1].subprotocol)
	}
}

// Rule 4: "After `approved` the action goes to the receivers named by `resend` … Nothing is re-sent before
// approval."
func TestSpecNothingBeforeApproval(t *testing.T) {
	w := newWorld(t, nil)
	author, reader := w.connect("10:a:tab"), w.connect("20:b:tab")
	id := author.act(1, inc)
	q := w.backend.next(t, inc)
	q.resend(wire.Targets{Users: []wire.UserID{"20"}})
	w.nothingFor(reader)
	q.approve()
	reader.want("action " + inc)
	if g := reader.got[len(reader.got)-1]; g.id != id || g.time != 1_500_000_000_001 || g.subprotocol != "3" {
		t.Errorf("re-sent as %+v", g)
	}
	w.nothingFor(author)
	q.processed()
	author.wantProcessed(1)
	w.nothingFor(reader, author)
}

// Rule 4: "once per client even if several targets match. `channels` and `users` leave out the client that sent
// it and `excludeClients`; a client named in `clients` or `nodes` gets it in any case."
func TestSpecResendTargets(t *testing.T) {
	w := newWorld(t, nil)
	author, tab, reader, node, stranger := w.connect("10:a:tab"), w.connect("10:b:tab"), w.connect("20:c:tab"), w.connect("uuid"), w.connect("30:d:tab")
	everybody := []*browser{author, tab, reader, node, stranger}
	for _, c := range []*browser{author, tab, reader} {
		w.subscribe(c, 1, "posts")
		w.subscribe(c, 2, "news")
	}
	for i, c := range []struct {
		targets wire.Targets
		get     []*browser
	}{
		{wire.Targets{}, nil},
		{wire.Targets{Channels: []string{"posts"}}, []*browser{tab, reader}},
		{wire.Targets{Channels: []string{"posts", "news", "posts"}}, []*browser{tab, reader}},
		{wire.Targets{Channels: []string{"nobody's", "post", "posts/1", "*", ""}}, nil},
		{wire.Targets{Users: []wire.UserID{"10"}}, []*browser{tab}},
		{wire.Targets{Users: []wire.UserID{"10", "20", "uuid", "40", "1"}}, []*browser{tab, reader}},
		{wire.Targets{Clients: []wire.ClientID{"20:c", "30:d", "uuid"}}, []*browser{reader, stranger, node}},
		{wire.Targets{Nodes: []wire.NodeID{"20:c:tab", "30:d:other", "uuid"}}, []*browser{reader, node}},
		{wire.Targets{Clients: []wire.ClientID{"10:a"}}, []*browser{author}},
		{wire.Targets{Nodes: []wire.NodeID{"10:a:tab"}}, []*browser{author}},
		{wire.Targets{Channels: []string{"posts"}, Users: []wire.UserID{"20", "30"}, Clients: []wire.ClientID{"20:c"}, Nodes: []wire.NodeID{"20:c:tab"}}, []*browser{tab, reader, stranger}},
		{wire.Targets{Channels: []string{"posts"}, Users: []wire.UserID{"30"}, ExcludeClients: []wire.ClientID{"20:c", "30:d"}}, []*browser{tab}},
		{wire.Targets{Channels: []string{"posts"}, Clients: []wire.ClientID{"20:c"}, ExcludeClients: []wire.ClientID{"10:b", "20:c"}}, []*browser{reader}},
		{wire.Targets{Channels: []string{"posts"}, Nodes: []wire.NodeID{"10:a:tab"}}, []*browser{author, tab, reader}},
	} {
		n := int64(10 + i)
		author.act(n, inc)
		q := w.backend.next(t, inc)
		q.resend(c.targets)
		q.approve()
		for _, r := range c.get {
			r.want("action " + inc)
		}
		q.processed()
		author.wantProcessed(n)
		w.nothingFor(everybody...)
	}
}

// Rule 6: "Every failure ends in one {"type":"logux/undo","id":ID,"reason":R,"action":ORIGINAL} to the author
// and, if it was re-sent already, to everybody it went to", and the table of reasons.
func TestSpecFailures(t *testing.T) {
	w := newWorld(t, nil)
	author, tab, reader, stranger := w.connect("10:a:tab"), w.connect("10:b:tab"), w.connect("20:c:tab"), w.connect("30:d:tab")
	w.subscribe(reader, 1, "posts")
	w.subscribe(author, 1, "posts")
	targets := []wire.Targets{
		{Channels: []string{"posts"}, Users: []wire.UserID{"10"}},
		// The author hears of it once, although it is named too.
		{Channels: []string{"posts"}, Users: []wire.UserID{"10"}, Clients: []wire.ClientID{"10:a", "20:c"}, Nodes: []wire.NodeID{"10:a:tab", "10:b:tab"}},
	}
	n := int64(10)
	for reason, ends := range map[string][]func(q *question){
		"denied":       {func(q *question) { q.finish(wire.AnswerForbidden) }},
		"unknownType":  {func(q *question) { q.finish(wire.AnswerUnknownAction) }},
		"wrongChannel": {func(q *question) { q.finish(wire.AnswerUnknownChannel) }},
		"error": {
			func(q *question) { q.fail("Error: at line 5") },
			func(q *question) { q.done(wire.Answer{}, errAway) },
		},
	} {
		for _, end := range ends {
			for i, to := range targets {
				for _, approved := range []bool{false, true} {
					n++
					id := author.act(n, inc)
					q := w.backend.next(t, inc)
					q.resend(to)
					receivers := []*browser{tab, reader}
					if approved {
						q.approve()
						if i == 1 {
							author.want("action " + inc)
						}
						for _, r := range receivers {
							r.want("action " + inc)
						}
					}
					end(q)
					undo := undoEvent(id, reason, inc)
					author.want(fmt.Sprintf("synced %d", n), undo)
					if approved {
						for _, r := range receivers {
							r.want(undo)
						}
					}
					w.nothingFor(author, tab, reader, stranger)
				}
			}
		}
	}
	w.forgotten()
}

// Rule 6: "(never to targets that a client wrote into its own meta: the reference leaks there)", and the row
// "foreign client ID; forbidden meta key" of the table. Small print: "An action denied for its ID or meta does
// not stand in it and undoes nobody else."
func TestSpecDenied(t *testing.T) {
	w := newWorld(t, nil)
	author, reader := w.connect("10:a:tab"), w.connect("20:c:tab")
	author.act(1, inc)
	q := w.backend.next(t, inc)
	author.act(2, inc2)

	ms := 1_500_000_000_003 - author.base
	author.send(fmt.Sprintf(`["sync",3,%s,{"id":%d,"time":%d,"users":["20"],"clients":["20:c"]}]`, inc3, ms, ms))
	author.want(undoEvent(author.id(3), "denied", inc3))
	author.send(fmt.Sprintf(`["sync",4,%s,{"id":[%d,"20:c:tab",0],"time":%d}]`, inc3, ms, ms))
	author.want(undoEvent(reader.id(3), "denied", inc3))
	author.send(fmt.Sprintf(`["sync",5,{"type":"logux/subscribe","channel":"posts"},{"id":%d,"time":%d,"status":"processed"}]`, ms, ms))
	author.want(undoEvent(author.id(3), "denied", `{"type":"logux/subscribe","channel":"posts"}`))

	// The others are not touched, and are acknowledged in their order.
	q.agree()
	author.want("synced 1", processedEvent(author.id(1)))
	w.backend.next(t, inc2).agree()
	author.want("synced 2", "synced 3", "synced 4", "synced 5", processedEvent(author.id(2)))
	w.nothingFor(author, reader)
	w.backend.idle(t)
	if n := w.g.Stats().Actions["denied"]; n != 3 {
		t.Errorf("%d are counted", n)
	}
}

// "subscribe or unsubscribe without a string `channel`" → `wrongChannel`
func TestSpecWrongChannel(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	for i, body := range []string{
		`{"type":"logux/subscribe"}`, `{"type":"logux/subscribe","channel":5}`, `{"type":"logux/unsubscribe","channel":null}`, `{"type":"logux/unsubscribe"}`,
		`{"type":"logux/subscribe","channel":["posts"]}`,
	} {
		n := int64(i + 1)
		id := c.act(n, body)
		c.want(fmt.Sprintf("synced %d", n), undoEvent(id, "wrongChannel", body))
	}
	w.backend.idle(t)
	w.nothingFor(c)
}

// Small print: "Order to the author: `action` answers before `logux/processed`; they go to nobody by default, only
// to their meta's targets, and are sent as soon as they are read, before `approved` as well."
func TestSpecActionAnswers(t *testing.T) {
	w := newWorld(t, nil)
	author, reader := w.connect("10:a:tab"), w.connect("20:c:tab")
	author.act(1, inc)
	q := w.backend.next(t, inc)
	q.action(`{"type":"data","n":1}`, wire.Targets{})
	q.action(`{"type":"data","n":2}`, wire.Targets{Users: []wire.UserID{"20"}})
	reader.want(`action {"type":"data","n":2}`)
	for i := range 20 {
		q.action(fmt.Sprintf(`{"type":"data","n":%d}`, i+3), wire.Targets{Clients: []wire.ClientID{"10:a"}})
	}
	author.want(`action {"type":"data","n":3}`)
	q.approve()
	q.processed()
	for i := range 19 {
		author.wantAction(fmt.Sprintf(`action {"type":"data","n":%d}`, i+4))
	}
	author.wantAction(processedEvent(author.id(1)))
	if g := author.got[0]; g.id.Node() != "server" || g.subprotocol != "9" {
		t.Errorf("%+v", g)
	}
	w.nothingFor(author, reader)
}

// Section 2: "Actions of one client ID are processed one after another … Different clients run in parallel."
// Small print: "Subscribe and unsubscribe stand in the same queue."
func TestSpecOneAfterAnother(t *testing.T) {
	w := newWorld(t, nil)
	a, b := w.connect("10:a:tab"), w.connect("10:b:tab")
	a.send(fmt.Sprintf(`["sync",2,%s,%s]`, a.pair(1, inc), a.pair(2, subscribeBody("posts"))))
	a.act(3, `{"type":"logux/unsubscribe","channel":"posts"}`)
	a.act(4, inc2)
	first := w.backend.next(t, inc)
	b.act(1, inc3)
	w.backend.next(t, inc3).agree()
	b.wantProcessed(1)
	w.backend.idle(t)

	first.agree()
	a.want(processedEvent(a.id(1)))
	second := w.backend.next(t, subscribeBody("posts"))
	w.nothingFor(a)
	w.backend.idle(t)
	second.agree()
	a.want("synced 2", processedEvent(a.id(2)))
	a.want("synced 3", processedEvent(a.id(3)))
	w.backend.next(t, inc2).agree()
	a.want("synced 4", processedEvent(a.id(4)))
	if w.backend.overlap {
		t.Error("two actions of one client were under way at once")
	}
	w.forgotten()
}

// Section 2: "When one ends in an error, the client's actions still waiting in its queue are undone too with
// reason `error` (JS 0.13)."
func TestSpecFailureUndoesTheWaiting(t *testing.T) {
	w := newWorld(t, nil)
	a, b := w.connect("10:a:tab"), w.connect("10:b:tab")
	a.act(1, inc)
	q := w.backend.next(t, inc)
	a.send(fmt.Sprintf(`["sync",3,%s,%s]`, a.pair(2, inc2), a.pair(3, subscribeBody("posts"))))
	b.act(1, inc)
	other := w.backend.next(t, inc)
	a.alive() // the actions are in the queue
	q.finish(wire.AnswerForbidden)
	a.wantAll("synced 1", "synced 3", undoEvent(a.id(1), "denied", inc), undoEvent(a.id(2), "error", inc2), undoEvent(a.id(3), "error", subscribeBody("posts")))
	w.backend.idle(t)
	other.agree()
	b.wantProcessed(1)

	// The queue goes on with what comes later.
	a.act(4, inc3)
	w.backend.next(t, inc3).agree()
	a.wantProcessed(4)
	w.forgotten()
}

// Small print: "The queue belongs to the client ID: it survives a disconnect, and outcomes go to the client's
// new connection."
func TestSpecQueueSurvivesDisconnect(t *testing.T) {
	w := newWorld(t, nil)
	a := w.connect("10:a:tab")
	a.act(1, inc)
	q := w.backend.next(t, inc)
	a.act(2, inc2)
	a.alive()
	a.drop()
	w.members(0)
	q.agree()
	second := w.backend.next(t, inc2)
	again := w.connect("10:a:other")
	again.want(processedEvent(a.id(1)))
	second.agree()
	again.want(processedEvent(a.id(2)))
}

// Small print: "A `logux/undo` or another `logux/…` type from a client goes to the back-end like any action …; it
// must never stop the queue." and "Types … named `constructor` or `__proto__` are ordinary."
func TestSpecOddTypes(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	for i, body := range []string{
		`{"type":"logux/undo","id":"1 10:a:tab 0","reason":"error"}`, `{"type":"logux/undo"}`, `{"type":"logux/processed","id":"1500000000003 10:a:tab 0"}`,
		`{"type":"logux/subscribed"}`, `{"type":"logux/"}`, `{"type":"constructor"}`, `{"type":"__proto__"}`, `{"type":""}`, `{"type":"A","__proto__":{"x":1}}`,
	} {
		c.act(int64(i+1), body)
		w.backend.next(t, body).agree()
		c.wantProcessed(int64(i + 1))
	}
}

// Small print: "another tab of the same client is allowed. A client's `meta.subprotocol` is allowed and reaches
// receivers."
func TestSpecOtherTabAndSubprotocol(t *testing.T) {
	w := newWorld(t, nil)
	author, reader := w.connect("10:a:tab"), w.connect("20:c:tab")
	ms := 1_500_000_000_001 - author.base
	author.send(fmt.Sprintf(`["sync",1,%s,{"id":[%d,"10:a:other",5],"time":%d,"subprotocol":"1.5.0"}]`, inc, ms, ms))
	q := w.backend.next(t, inc)
	const id = "1500000000001 10:a:other 5"
	if q.Action.ID != id || string(q.Action.Subprotocol) != `"1.5.0"` {
		t.Errorf("%+v", q.Action)
	}
	q.resend(wire.Targets{Users: []wire.UserID{"20"}})
	q.agree()
	author.want("synced 1", processedEvent(id))
	reader.want("action " + inc)
	if g := reader.got[0]; g.id != id || g.subprotocol != `"1.5.0"` {
		t.Errorf("%+v", g)
	}
}

// "`action` answers add a server action: its meta takes the same targets, and may carry `id` and `time`; without
// them the server makes an ID of its own." Section 5: "If that ID names a client, that client is left out of
// `channels` and `users`."
func TestSpecOwnActions(t *testing.T) {
	w := newWorld(t, nil)
	a, b := w.connect("10:a:tab"), w.connect("10:b:tab")
	deliver := func(action wire.Action) {
		t.Helper()
		action.Type, action.Body = "counter/inc", wire.RawJSON(inc)
		if err := w.g.Deliver(&action, &wire.Targets{Users: []wire.UserID{"10"}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	got := func(c *browser) gotten {
		t.Helper()
		c.want("action " + inc)
		return c.got[len(c.got)-1]
	}
	deliver(wire.Action{})
	if g := got(a); g.id.Node() != "server" || g.time == 0 {
		t.Errorf("%+v", g)
	}
	got(b)
	deliver(wire.Action{Time: 12345})
	if g := got(a); g.id.Node() != "server" || g.time != 12345 {
		t.Errorf("%+v", g)
	}
	got(b)
	deliver(wire.Action{ID: "777 10:a:tab 3", Time: 12345, Subprotocol: wire.RawJSON(`1`)})
	if g := got(b); g.id != "777 10:a:tab 3" || g.time != 12345 || g.subprotocol != "1" {
		t.Errorf("%+v", g)
	}
	deliver(wire.Action{ID: "777 server:other 3"})
	if g := got(a); g.id != "777 server:other 3" || g.time != 777 {
		t.Errorf("%+v", g)
	}
	got(b)
	w.nothingFor(a, b)
	if err := w.g.Deliver(&wire.Action{ID: "nonsense", Body: wire.RawJSON(inc)}, &wire.Targets{Users: []wire.UserID{"10"}}, nil); err == nil {
		t.Error("an ID that no client reads is accepted")
	}
}

// Section 2: `wrong-format`: "and the connection closes. An unknown message type gets … and the connection goes
// on". Small print: "`wrong-format` carries the raw text when it is not JSON, and the re-serialised JSON otherwise."
func TestSpecWrongMessages(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	c.send(`["unknown",1,2]`)
	c.want("error unknown-message")
	c.alive()
	for _, text := range []string{
		`{`, `null`, `[]`, `{"a":1}`, `["ping"]`, `["ping","1"]`, `["sync",1]`, `["sync",1,{"type":"A"}]`, `["sync",1,{"type":"A"},{"id":1}]`,
		`["sync",1,{"type":"A"},null]`, `["sync",1,[],{"id":1,"time":1}]`, `["headers",null]`, `["headers",[]]`, `["connect",5,"10:a:tab",0]`, `["sync",1,{"type":1},{"id":1,"time":1}]`,
		`["sync",1,{"type":"A","type":"B"},{"id":1,"time":1}]`, `["sync",1,{"type":"logux/subscribe","channel":"a","filter":7},{"id":1,"time":1}]`,
	} {
		c := w.connect("10:b:tab")
		c.send(text)
		c.want("error wrong-format", "close 1008")
	}
	w.backend.idle(t)
	c.alive()
}

// One after another for each client holds for many clients with many actions, and nothing is lost or doubled.
func TestSpecManyActions(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.setProcess(func(q *question) {
		q.resend(wire.Targets{Channels: []string{"all"}})
		q.agree()
	})
	const clients, actions = 10, 100
	var all []*browser
	for i := range clients {
		c := w.connect(wire.NodeID(fmt.Sprintf("%d:a:tab", i)))
		c.act(1, subscribeBody("all"))
		c.wantProcessed(1)
		all = append(all, c)
	}
	for n := range int64(actions) {
		for _, c := range all {
			c.act(n+2, inc)
		}
	}
	for _, c := range all {
		own := 0
		last := make(map[wire.NodeID]int64)
		for range actions * (clients - 1 + 2) {
			if contains(c.next(), "logux/processed") {
				own++
			}
		}
		if own != actions {
			t.Fatalf("%s: %d of %d processed", c.node, own, actions)
		}
		for _, g := range c.got {
			if g.body != inc {
				continue
			}
			ms, node, _, _ := wire.ParseActionID(g.id)
			if ms <= last[node] || node == c.node {
				t.Fatalf("%s got %s after %d", c.node, g.id, last[node])
			}
			last[node] = ms
		}
		if len(last) != clients-1 {
			t.Errorf("%s heard of %d", c.node, len(last))
		}
	}
	if w.backend.overlap {
		t.Error("two actions of one client were under way at once")
	}
	order := slices.Clone(w.backend.order)
	slices.Sort(order)
	if len(slices.Compact(order)) != len(w.backend.order) {
		t.Error("an action was processed twice")
	}
}
