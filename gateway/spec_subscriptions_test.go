package gateway

import (
	"fmt"
	"strings"
	"testing"

	"logux-proxy/wire"
)

// One test for each rule of section 4 of the specification, "Subscriptions".

const posts = `{"type":"logux/subscribe","channel":"posts"}`

func (w *world) toChannel(channel, body string) {
	w.t.Helper()
	w.deliver(body, wire.Targets{Channels: []string{channel}})
}

func data(n int) string      { return fmt.Sprintf(`{"type":"data","n":%d}`, n) }
func dataEvent(n int) string { return "action " + data(n) }

// "{"type":"logux/subscribe","channel":C, "filter"?:{…}, "since"?:{"id","time"}, …custom} is forwarded whole to
// the back-end. `approved` → the client is subscribed before the back-end loads data; `action` answers carry the
// current state to that client; `processed` → `logux/processed`."
func TestSpecSubscribe(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	body := `{"type":"logux/subscribe","channel":"posts","filter":{"b":[1],"a":2},"since":{"id":"1 10:a:tab 0","time":1},"custom":{"x":1e2}}`
	c.act(1, body)
	q := w.backend.next(t, body)
	q.approve()
	w.toChannel("posts", data(1))
	c.want(dataEvent(1))
	q.action(data(2), wire.Targets{Clients: []wire.ClientID{"10:a"}})
	c.want(dataEvent(2))
	q.processed()
	c.wantProcessed(1)
	w.toChannel("posts", data(3))
	c.want(dataEvent(3))
	w.nothingFor(c)
}

// "`forbidden` → undo `denied`."
func TestSpecSubscribeForbidden(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	id := c.act(1, posts)
	w.backend.next(t, posts).finish(wire.AnswerForbidden)
	c.want("synced 1", undoEvent(id, "denied", posts))
	w.toChannel("posts", data(1))
	w.nothingFor(c)
	if n := w.g.Stats().Subscriptions; n != 0 {
		t.Errorf("%d subscriptions", n)
	}
}

// "An error after approval → undo `error` and the subscription is taken back."
func TestSpecSubscribeErrorAfterApproval(t *testing.T) {
	for name, end := range map[string]func(q *question){
		"error answer": func(q *question) { q.fail("text") },
		"broken off":   func(q *question) { q.done(wire.Answer{}, errAway) },
		"forbidden":    func(q *question) { q.finish(wire.AnswerForbidden) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			c := w.connect("10:a:tab")
			id := c.act(1, posts)
			q := w.backend.next(t, posts)
			q.approve()
			w.toChannel("posts", data(1))
			c.want(dataEvent(1))
			end(q)
			reason := "error"
			if name == "forbidden" {
				reason = "denied"
			}
			c.want("synced 1", undoEvent(id, reason, posts))
			w.toChannel("posts", data(2))
			w.nothingFor(c)
		})
	}
}

// `unknownChannel` → `wrongChannel`
func TestSpecSubscribeUnknownChannel(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	id := c.act(1, posts)
	w.backend.next(t, posts).finish(wire.AnswerUnknownChannel)
	c.want("synced 1", undoEvent(id, "wrongChannel", posts))
}

// "A channel is any string; `__proto__` and friends are ordinary strings for us. There are no patterns: channels
// match exactly." "The empty string is a channel."
func TestSpecChannelsMatchExactly(t *testing.T) {
	w := newWorld(t, nil)
	names := []string{"", "posts", "posts/1", "posts/*", "*", "__proto__", "constructor", " posts", "POSTS", "пост", `a"b`, "\x00"}
	var clients []*browser
	for i, name := range names {
		c := w.connect(wire.NodeID(fmt.Sprintf("%d:a:tab", i)))
		w.subscribe(c, 1, name)
		clients = append(clients, c)
	}
	for i, name := range names {
		w.toChannel(name, data(i))
		clients[i].want(dataEvent(i))
	}
	w.nothingFor(clients...)
}

// "One node can subscribe to the same channel several times with different `filter` objects; each is a
// subscription of its own, removed by an unsubscribe with the equal filter; the client still gets each action
// once."
func TestSpecFilters(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	n := int64(0)
	subscribe := func(filter string) {
		t.Helper()
		n++
		body := `{"type":"logux/subscribe","channel":"posts"` + filter + `}`
		c.act(n, body)
		w.backend.next(t, body).agree()
		c.wantProcessed(n)
	}
	unsubscribe := func(filter string) {
		t.Helper()
		n++
		c.act(n, `{"type":"logux/unsubscribe","channel":"posts"`+filter+`}`)
		c.wantProcessed(n)
	}
	subscribe(`,"filter":{"a":1,"b":{"c":[1,2]}}`)
	subscribe(`,"filter":{"a":2}`)
	subscribe(``)
	w.toChannel("posts", data(1))
	c.want(dataEvent(1))
	unsubscribe(`,"filter":{ "b":{"c":[1, 2.0]}, "a":1.0 }`) // equal, written otherwise
	unsubscribe(`,"filter":{}`)
	w.toChannel("posts", data(2))
	c.want(dataEvent(2))
	unsubscribe(`,"filter":{"a":3}`) // it never had this one
	w.toChannel("posts", data(3))
	c.want(dataEvent(3))
	unsubscribe(`,"filter":{"a":2}`)
	w.toChannel("posts", data(4))
	w.nothingFor(c)
}

// "Subscriptions are not counted: two subscribes with the same filter need one unsubscribe. No filter, `null` and
// `{}` are the same filter."
func TestSpecSubscriptionsAreNotCounted(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	for i, filter := range []string{``, `,"filter":null`, `,"filter":{}`, ``} {
		body := `{"type":"logux/subscribe","channel":"posts"` + filter + `}`
		c.act(int64(i+1), body)
		w.backend.next(t, body).agree()
		c.wantProcessed(int64(i + 1))
	}
	w.toChannel("posts", data(1))
	c.want(dataEvent(1))
	c.act(5, `{"type":"logux/unsubscribe","channel":"posts","filter":null}`)
	c.wantProcessed(5)
	w.toChannel("posts", data(2))
	w.nothingFor(c)
}

// "`logux/unsubscribe` is answered by the proxy itself with `logux/processed`, also for a channel never
// subscribed; the back-end is not asked."
func TestSpecUnsubscribe(t *testing.T) {
	w := newWorld(t, nil)
	c, other := w.connect("10:a:tab"), w.connect("20:b:tab")
	w.subscribe(c, 1, "posts")
	w.subscribe(other, 1, "posts")
	c.act(2, `{"type":"logux/unsubscribe","channel":"never"}`)
	c.wantProcessed(2)
	c.act(3, `{"type":"logux/unsubscribe","channel":"posts"}`)
	c.wantProcessed(3)
	w.toChannel("posts", data(1))
	other.want(dataEvent(1))
	w.nothingFor(c, other)
	w.backend.idle(t)
}

// "A connection's end removes its subscriptions."
func TestSpecEndRemovesSubscriptions(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	w.subscribe(c, 1, "posts")
	w.subscribe(c, 2, "news")
	c.drop()
	await(t, "no subscription", func() bool { n := w.g.hub.Counts(); return n.Subscriptions == 0 && n.Channels == 0 && n.Members == 0 })
	again := w.connect("10:a:tab", c.added)
	w.toChannel("posts", data(1))
	w.nothingFor(again)
}

// "Actions sent to a client through a channel carry no channel name on the wire (only `id`, `time`,
// `subprotocol`)." The test's client refuses other keys.
func TestSpecNoChannelOnTheWire(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	w.subscribe(c, 1, "posts")
	w.toChannel("posts", data(1))
	c.want(dataEvent(1))
}

// Whatever is re-sent to a channel from the moment the subscription goes to the back-end reaches the new
// subscriber once it is approved, in its order, and not before.
func TestSpecHeldWhileAsked(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	c.act(1, posts)
	q := w.backend.next(t, posts)
	for n := range 5 {
		w.toChannel("posts", data(n))
	}
	// What comes another way is not held.
	w.deliver(data(5), wire.Targets{Channels: []string{"posts"}, Clients: []wire.ClientID{"10:a"}})
	c.want(dataEvent(5))
	w.nothingFor(c)
	q.approve()
	for n := range 5 {
		c.want(dataEvent(n))
	}
	w.toChannel("posts", data(6))
	c.want(dataEvent(6))
	q.processed()
	c.wantProcessed(1)
	w.nothingFor(c)
}

// On a refusal what was kept is dropped.
func TestSpecHeldAndRefused(t *testing.T) {
	for name, end := range map[string]func(q *question){
		"forbidden": func(q *question) { q.finish(wire.AnswerForbidden) },
		"error":     func(q *question) { q.fail("text") },
		"away":      func(q *question) { q.done(wire.Answer{}, errAway) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			c := w.connect("10:a:tab")
			c.act(1, posts)
			q := w.backend.next(t, posts)
			w.toChannel("posts", data(1))
			end(q)
			c.want("synced 1")
			if e := c.next(); !contains(e, "logux/undo") {
				t.Errorf("got %s", e)
			}
			w.nothingFor(c)
		})
	}
}

// A refused second subscription leaves the first alone; while it is asked about nothing is held. An error before
// the approval does not touch the first either.
func TestSpecSubscribedTwice(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	w.subscribe(c, 1, "posts")
	for i, end := range []func(q *question){
		func(q *question) { q.finish(wire.AnswerForbidden) },
		func(q *question) { q.done(wire.Answer{}, errAway) },
	} {
		n := int64(i + 2)
		c.act(n, posts)
		q := w.backend.next(t, posts)
		w.toChannel("posts", data(1))
		c.want(dataEvent(1))
		end(q)
		c.want(fmt.Sprintf("synced %d", n))
		if e := c.next(); !contains(e, "logux/undo") {
			t.Errorf("got %s", e)
		}
		w.toChannel("posts", data(2))
		c.want(dataEvent(2))
	}
	// With another filter, which is refused: the channel goes on coming, once.
	body := `{"type":"logux/subscribe","channel":"posts","filter":{"a":1}}`
	c.act(9, body)
	q := w.backend.next(t, body)
	w.toChannel("posts", data(3))
	c.want(dataEvent(3))
	q.finish(wire.AnswerForbidden)
	c.want("synced 9", undoEvent(c.id(9), "denied", body))
	w.toChannel("posts", data(4))
	c.want(dataEvent(4))
	w.nothingFor(c)
}

// More than may be kept while the back-end thinks: the subscription is refused with an undo rather than given a
// hole.
func TestSpecHole(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxHeld = 1000 })
	c := w.connect("10:a:tab")
	id := c.act(1, posts)
	q := w.backend.next(t, posts)
	for n := range 5 {
		w.toChannel("posts", fmt.Sprintf(`{"type":"data","n":%d,"x":%q}`, n, strings.Repeat("x", 300)))
	}
	q.agree()
	c.want("synced 1", undoEvent(id, "error", posts))
	w.toChannel("posts", data(1))
	w.nothingFor(c)
	// The next one begins anew.
	w.subscribe(c, 2, "posts")
	w.toChannel("posts", data(2))
	c.want(dataEvent(2))
}

// A client that leaves while the back-end thinks leaves nothing behind.
func TestSpecLeavesWhileAsked(t *testing.T) {
	for _, approved := range []bool{false, true} {
		w := newWorld(t, nil)
		c := w.connect("10:a:tab")
		c.act(1, posts)
		q := w.backend.next(t, posts)
		if approved {
			q.approve()
		}
		c.drop()
		w.members(0)
		again := w.connect("10:a:tab")
		w.toChannel("posts", data(1))
		if approved {
			q.processed()
		} else {
			q.agree()
		}
		w.toChannel("posts", data(2))
		w.nothingFor(again)
		w.forgotten()
		// It subscribes again, with the same action: the first had no outcome.
		again.act(1, posts)
		w.backend.next(t, posts).agree()
		again.wantProcessed(1)
	}
}

// A client may have so many subscriptions; one that it has already is none more.
func TestSubscriptionLimit(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxSubscriptions = 2 })
	c := w.connect("10:a:tab")
	w.subscribe(c, 1, "a")
	w.subscribe(c, 2, "b")
	c.act(3, subscribeBody("c"))
	c.want("synced 3", undoEvent(c.id(3), "error", subscribeBody("c")))
	w.subscribe(c, 4, "a")
	c.act(5, `{"type":"logux/unsubscribe","channel":"a"}`)
	c.wantProcessed(5)
	w.subscribe(c, 6, "c")
	w.backend.idle(t)
}

// Section 3: "`resend` on a subscription" is an error on the back-end's side of the seam; here it must at least
// re-send nothing.
func TestResendOfSubscription(t *testing.T) {
	w := newWorld(t, nil)
	c, other := w.connect("10:a:tab"), w.connect("20:b:tab")
	c.act(1, posts)
	q := w.backend.next(t, posts)
	q.resend(wire.Targets{Users: []wire.UserID{"20"}})
	q.agree()
	c.wantProcessed(1)
	w.nothingFor(other)
}
