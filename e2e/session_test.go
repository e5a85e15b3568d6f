package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"logux-proxy/backend/backendtest"
)

// "Answer connected with the client's own number when we speak it, with our highest when it is higher; below 3 send wrong-protocol and close."
func TestProtocolNumbers(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	for asked, want := range map[int]int{3: 3, 4: 4, 5: 5, 6: 5, 99: 5} {
		o := dialOptions{protocol: asked}
		if asked >= 5 {
			o.subprotocol = "1"
		}
		c := connect(t, p.addr, fmt.Sprintf("38:proto%d:tab", asked), o)
		if got := string(c.of("connected")[0].elements[1]); got != fmt.Sprint(want) {
			t.Errorf("protocol %d was answered with %s, want %d", asked, got, want)
		}
	}
	for _, used := range []int{-1, 0, 1, 2} {
		c := open(t, p.addr, "38:old:tab", dialOptions{})
		c.send(t, fmt.Sprintf(`["connect",%d,"38:old:tab",0]`, used))
		c.awaitClosed(t)
		want := fmt.Sprintf(`["error","wrong-protocol",{"supported":3,"used":%d}]`, used)
		if errs := c.of("error"); len(errs) != 1 || errs[0].raw != want {
			t.Errorf("protocol %d: %s, want %s", used, c.story(), want)
		}
	}
}

// "Before authentication messages other than connect, headers, error, debug are queued in order and handled after connected. The queue is bounded; past the
// bound: missed-auth and close."
func TestMessagesBeforeAuthentication(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, settings{"LOGUX_MAX_PREAUTH": "4KiB", "LOGUX_MAX_TOKEN": "1KiB", "LOGUX_MAX_HEADERS": "1KiB"})
	gate := newGate(t)
	b.onAuth("38", func(x *backendtest.Exchange) {
		gate.wait(x)
		x.Authenticated(json.RawMessage(`"1.0.0"`))
	})
	c := open(t, p.addr, "38:early:tab", dialOptions{})
	c.send(t, connectMessage("38:early:tab", dialOptions{}))
	b.awaitCommand(t, "auth", 1, authOf("38"))
	for i := range 5 {
		c.send(t, fmt.Sprintf(`["sync",%d,{"type":"INC","counter":"counter/early"},{"id":[%d,0],"time":0}]`, i+1, i))
	}
	c.send(t, `["ping",5]`)
	greedy := open(t, p.addr, "38:greedy:tab", dialOptions{})
	greedy.send(t, connectMessage("38:greedy:tab", dialOptions{}))
	for i := 0; ; i++ {
		if _, gone := greedy.gone(); gone || i == 10000 {
			break
		}
		if greedy.write(fmt.Sprintf(`["sync",%d,{"type":"INC"},{"id":%d,"time":0}]`, i+1, i)) != nil {
			break
		}
	}
	greedy.awaitClosed(t)
	if errs := greedy.of("error"); len(errs) != 1 || !strings.HasPrefix(errs[0].raw, `["error","missed-auth"`) {
		t.Errorf("too much before authentication: %s, want missed-auth", greedy.story())
	}
	gate.open()
	c.awaitMessage(t, "pong", 1)
	b.await(t, "five actions", func() bool { return b.counter("counter/early") == 5 })
	var order []string
	for _, cmd := range b.seen(byCounter("counter/early")) {
		order = append(order, cmd.ID)
	}
	if !slices.IsSortedFunc(order, func(a, b string) int {
		if idLess(t, a, b) {
			return -1
		}
		return 1
	}) {
		t.Errorf("the actions reached the back-end as %v", order)
	}
}

// "Actions of one client ID are processed one after another … When one ends in an error, the client's actions still waiting in its queue are undone too with
// reason error. Different clients run in parallel."
func TestQueueOfOneClient(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	gate := newGate(t)
	b.Handle("WAIT", backendtest.Script(backendtest.Approved, gate.wait, backendtest.Fail("no")))
	c, other := connect(t, p.addr, "38:queue:tab", dialOptions{}), connect(t, p.addr, "38:other:tab", dialOptions{})
	ids := []string{c.sync(t, `{"type":"WAIT"}`)}
	for range 3 {
		ids = append(ids, c.sync(t, `{"type":"INC","counter":"counter/queue"}`))
	}
	b.awaitCommand(t, "the first action", 1, byType("WAIT"))
	if got := other.do(t, `{"type":"INC","counter":"counter/parallel"}`); got != "processed" {
		t.Errorf("another client's action ended in %s", got)
	}
	gate.open()
	for _, id := range ids {
		if got := c.awaitOutcome(t, id); got != "error" {
			t.Errorf("%s ended in %s, want error", id, got)
		}
	}
	if got := c.do(t, `{"type":"INC","counter":"counter/queue"}`); got != "processed" {
		t.Errorf("an action after the failed ones ended in %s, want processed", got)
	}
	if got := len(b.seen(byCounter("counter/queue"))); got != 1 {
		t.Errorf("the back-end got %d of the actions, want only the one after the failure", got)
	}
	for _, m := range c.of("synced") {
		if m.raw == `["synced",1]` {
			return
		}
	}
	t.Errorf("the failed action was not acknowledged: %s", c.story())
}

// P4: whatever is sent to a channel from the moment the subscribe command goes to the back-end reaches the new subscriber once it is approved, once, and
// nothing of it one that is refused.
func TestNoGapAtSubscribe(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	gate := newGate(t)
	b.Handle("channel:counter/gap", backendtest.Script(gate.wait, backendtest.Approved, backendtest.Processed))
	b.Handle("channel:counter/refused", backendtest.Script(gate.wait, backendtest.Forbidden))
	c, refused := connect(t, p.addr, "38:gap:tab", dialOptions{}), connect(t, p.addr, "39:gap:tab", dialOptions{})
	id := c.sync(t, `{"type":"logux/subscribe","channel":"counter/gap"}`)
	no := refused.sync(t, `{"type":"logux/subscribe","channel":"counter/refused"}`)
	b.await(t, "both subscriptions", func() bool {
		return len(b.seen(func(c *backendtest.Command) bool { return c.Subscribe() })) == 2
	})
	for i := range 10 {
		p.send(t, fmt.Sprintf(`{"type":"BETWEEN","n":%d}`, i), `{"channels":["counter/gap","counter/refused"]}`)
	}
	c.settle(t, p)
	if n := len(c.having("BETWEEN")); n != 0 {
		t.Errorf("%d actions came before the subscription was approved", n)
	}
	gate.open()
	c.awaitOutcome(t, id)
	refused.awaitOutcome(t, no)
	c.settle(t, p)
	refused.settle(t, p)
	for i := range 10 {
		if n := len(c.having("BETWEEN", fmt.Sprintf(`"n":%d}`, i))); n != 1 {
			t.Errorf("action %d came %d times, want once", i, n)
		}
	}
	if n := len(refused.having("BETWEEN")); n != 0 {
		t.Errorf("%d actions came to a client whose subscription was refused", n)
	}
}

// "One node can subscribe to the same channel several times with different filter objects; each is removed by an unsubscribe with the equal filter; the client
// still gets each action once."
func TestFilters(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	c := connect(t, p.addr, "38:filter:tab", dialOptions{})
	n := 0
	sub := func(kind, filter string) {
		t.Helper()
		if got := c.do(t, fmt.Sprintf(`{"type":"logux/%s","channel":"counter/filter"%s}`, kind, filter)); got != "processed" {
			t.Fatalf("%s %s ended in %s", kind, filter, got)
		}
	}
	expect := func(what string, times int) {
		t.Helper()
		n++
		p.send(t, fmt.Sprintf(`{"type":"NEWS","n":%d}`, n), `{"channels":["counter/filter"]}`)
		c.settle(t, p)
		if got := len(c.having("NEWS", fmt.Sprintf(`"n":%d}`, n))); got != times {
			t.Errorf("%s: the action came %d times, want %d", what, got, times)
		}
	}
	sub("subscribe", `,"filter":{"a":1,"b":2}`)
	sub("subscribe", `,"filter":{"a":2}`)
	sub("subscribe", ``)
	expect("three subscriptions", 1)
	sub("unsubscribe", `,"filter":{}`) // the same as none
	sub("unsubscribe", `,"filter":{"a":2}`)
	expect("one left", 1)
	sub("unsubscribe", `,"filter":{"a":3}`) // never subscribed
	expect("another filter unsubscribed", 1)
	sub("unsubscribe", `,"filter":{"b":2.0,"a":1}`) // the equal object
	expect("none left", 0)
	if got := len(b.seen(func(c *backendtest.Command) bool { return c.Type == "logux/unsubscribe" })); got != 0 {
		t.Errorf("the back-end was asked about %d unsubscribes", got)
	}
}

// "A second connection with the same client ID replaces the first: the older one is closed." What the first had under way ends on the second.
func TestSecondConnectionReplacesTheFirst(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	gate := newGate(t)
	b.Handle("WAIT", backendtest.Script(backendtest.Approved, gate.wait, backendtest.Processed))
	first := connect(t, p.addr, "38:twice:one", dialOptions{})
	id := first.sync(t, `{"type":"WAIT"}`)
	b.awaitCommand(t, "the action", 1, byType("WAIT"))
	second := connect(t, p.addr, "38:twice:two", dialOptions{})
	first.awaitClosed(t)
	gate.open()
	if got := second.awaitOutcome(t, id); got != "processed" {
		t.Errorf("the first connection's action ended in %s on the second, want processed", got)
	}
	p.send(t, `{"type":"NEWS"}`, `{"clients":["38:twice"]}`)
	second.awaitAction(t, "NEWS")
}

// "The server pings after 20 s without traffic and closes after 70 s without the answer, after [error, timeout, 70000]"; here both are set shorter.
func TestPingAndTimeout(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, settings{"LOGUX_PING": "1s", "LOGUX_TIMEOUT": "2s", "LOGUX_CONNECT_TIMEOUT": "2s"})
	alive, dead := connect(t, p.addr, "38:alive:tab", dialOptions{}), connect(t, p.addr, "38:dead:tab", dialOptions{})
	dead.mu.Lock()
	dead.silent = true
	dead.mu.Unlock()
	nobody := open(t, p.addr, "38:nobody:tab", dialOptions{})
	dead.awaitClosed(t)
	if errs := dead.of("error"); len(errs) != 1 || errs[0].raw != `["error","timeout",2000]` {
		t.Errorf("a client that does not answer a ping: %s, want the error timeout", dead.story())
	}
	nobody.awaitClosed(t)
	alive.awaitMessage(t, "ping", 3)
	if got := alive.do(t, `{"type":"INC","counter":"counter/alive"}`); got != "processed" {
		t.Errorf("the action of a client that answers pings ended in %s", got)
	}
}

// What is wrong gets its error and ends the connection, or not, as PROTOCOL section 2 says.
func TestWrongMessages(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	for i, row := range []struct {
		send, want string
		closed     bool
	}{
		{`not JSON`, `["error","wrong-format","not JSON"]`, true},
		{`{}`, `["error","wrong-format","{}"]`, true},
		{`[]`, `["error","wrong-format","[]"]`, true},
		{`[1]`, `["error","wrong-format","[1]"]`, true},
		{`["ping"]`, `["error","wrong-format","[\"ping\"]"]`, true},
		{`["ping","1"]`, `["error","wrong-format","[\"ping\",\"1\"]"]`, true},
		{`["sync",1]`, `["error","wrong-format","[\"sync\",1]"]`, true},
		{`["sync",1,{"type":"A"}]`, `["error","wrong-format"`, true},
		{`["connect",4,"38:again:tab",0]`, `["error","wrong-format"`, true},
		{`["unknown",1]`, `["error","unknown-message","unknown"]`, false},
		{`["pong",1]`, ``, false},
		{`["synced",1]`, ``, false},
		{`["debug","error","x"]`, ``, false},
	} {
		c := connect(t, p.addr, fmt.Sprintf("38:wrong%d:tab", i), dialOptions{})
		c.send(t, row.send)
		if row.closed {
			c.awaitClosed(t)
		} else if got := c.do(t, `{"type":"INC","counter":"counter/wrong"}`); got != "processed" {
			t.Errorf("after %s an action ended in %s, want processed", row.send, got)
		}
		errs := c.of("error")
		if row.want == "" && len(errs) != 0 || row.want != "" && (len(errs) != 1 || !strings.HasPrefix(errs[0].raw, row.want)) {
			t.Errorf("%s was answered with %s, want %s", row.send, c.story(), row.want)
		}
	}
}
