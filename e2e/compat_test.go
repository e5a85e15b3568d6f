package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"logux-proxy/backend/backendtest"
)

// A stage is what one scenario with real clients plays on. user is the scenario's own and channel is too, so that scenarios run side by side.
type stage struct {
	d       *driver
	p       *proxy
	b       *backend
	line    *line
	user    string
	channel string
}

// connect opens a client of the scenario's user, in sync with the proxy.
func (s *stage) connect(t *testing.T, o options) *jsClient {
	t.Helper()
	return s.d.connect(t, s.line.addr, s.user, o)
}

// other opens a client of another user.
func (s *stage) other(t *testing.T, o options) *jsClient {
	t.Helper()
	return s.d.connect(t, s.line.addr, s.user+"-other", o)
}

func (s *stage) subscribe(t *testing.T, c *jsClient) {
	t.Helper()
	c.mustSync(t, fmt.Sprintf(`{"type":"logux/subscribe","channel":%q}`, s.channel))
}

func (s *stage) inc() string { return fmt.Sprintf(`{"type":"INC","counter":%q}`, s.channel) }

// The scenarios, each played by every version of the real client (PROTOCOL section 7: "so test with them").
var scenarios = []struct {
	name string
	play func(t *testing.T, s *stage)
}{
	{"connects over plain ws because of the env header", connects},
	{"subscribes and gets the current state first", subscribes},
	{"sync resolves on logux/processed", syncResolves},
	{"sync rejects on logux/undo with the reason", syncRejects},
	{"another client gets the action once", resends},
	{"resends what was cut off and gets one outcome", resendsAfterCut},
	{"resubscribes with since after a cut", resubscribes},
	{"is subscribed again after a cut with an action under way", resubscribesBusy},
	{"sends what was done offline", sendsOfflineWork},
	{"headers reach the back-end", sendsHeaders},
	{"cookie and token reach the back-end", sendsCookie},
	{"wrong credentials are final", wrongCredentials},
	{"wrong subprotocol is final", wrongSubprotocol},
	{"gets actions that the back-end sends of its own accord", getsControlActions},
	{"gets nothing after unsubscribe", unsubscribes},
}

func TestRealClients(t *testing.T) {
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	for _, version := range clientVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			d := startDriver(t, version)
			for i, scenario := range scenarios {
				t.Run(scenario.name, func(t *testing.T) {
					t.Parallel()
					user := fmt.Sprintf("u%d-%s", i, strings.ReplaceAll(version, ".", "-"))
					scenario.play(t, &stage{d: d, p: p, b: b, line: newLine(t, p.addr), user: user, channel: "counter/" + user})
				})
			}
		})
	}
}

// In development mode the server sends ["headers",{"env":"development"}] before connected: real clients refuse plain ws:// without it (PROTOCOL section 2).
func connects(t *testing.T, s *stage) {
	c := s.connect(t, options{})
	e := c.awaitEvent(t, "headers of the server", 1, func(e event) bool { return e.Event == "headers" })
	if got := string(e.Headers["env"]); got != `"development"` {
		t.Errorf("header env = %s before connected, want \"development\"", got)
	}
	auth := s.b.awaitCommand(t, "the auth command", 1, authOf(s.user))
	want := `"1.0.0"`
	if numberSubprotocol(s.d.version) {
		want = `1`
	}
	if got := string(auth.Subprotocol); got != want {
		t.Errorf("the back-end was asked about subprotocol %s, want %s", got, want)
	}
}

// "approved → the client is subscribed before the back-end loads data; action answers carry the current state to that client; processed → logux/processed"
// (PROTOCOL section 4), and "action answers before logux/processed" (section 3).
func subscribes(t *testing.T, s *stage) {
	writer := s.other(t, options{})
	writer.mustSync(t, s.inc())
	writer.mustSync(t, s.inc())
	c := s.connect(t, options{})
	s.subscribe(t, c)
	var order []string
	for _, e := range c.events() {
		if added(`"INC"`)(e) {
			order = append(order, string(e.Action))
		}
		if added(`"logux/processed"`)(e) {
			order = append(order, "processed")
		}
	}
	want := fmt.Sprintf(`[{"type":"INC","counter":%q,"value":2} processed]`, s.channel)
	if got := fmt.Sprint(order); got != want {
		t.Errorf("the subscriber got %s, want %s", got, want)
	}
}

// "client.sync(action) resolves on logux/processed" (PROTOCOL section 7).
func syncResolves(t *testing.T, s *stage) {
	c := s.connect(t, options{})
	c.mustSync(t, s.inc())
	if got := s.b.counter(s.channel); got != 1 {
		t.Errorf("counter = %d after one INC, want 1", got)
	}
	cmd := s.b.awaitCommand(t, "the action", 1, byCounter(s.channel))
	if got, want := string(cmd.Action), s.inc(); got != want {
		t.Errorf("the back-end got the action %s, want the bytes of the client %s", got, want)
	}
	if cmd.Client() != c.clientID {
		t.Errorf("the action's ID %q does not name client %q", cmd.ID, c.clientID)
	}
}

// The table of PROTOCOL section 3, rule 6: every failure ends in one logux/undo with its reason.
func syncRejects(t *testing.T, s *stage) {
	c := s.connect(t, options{})
	for _, row := range []struct{ action, reason string }{
		{`{"type":"FORBID"}`, "denied"},
		{`{"type":"BREAK"}`, "error"},
		{`{"type":"NOBODY KNOWS"}`, "unknownType"},
		{`{"type":"logux/subscribe","channel":"nowhere"}`, "wrongChannel"},
		{`{"type":"logux/subscribe","channel":"private/x"}`, "denied"},
	} {
		r := c.sync(t, row.action)()
		if r.Rejected == nil {
			t.Errorf("sync of %s resolved, want it rejected with %s", row.action, row.reason)
			continue
		}
		if got := r.Rejected.Action.Reason; got != row.reason {
			t.Errorf("sync of %s was rejected with %q, want %q", row.action, got, row.reason)
		}
		if got := string(r.Rejected.Action.Action); got != row.action {
			t.Errorf("the undo of %s carries the action %s", row.action, got)
		}
	}
	// "error.details is … sent to the author as debug in development mode only": and nowhere else.
	c.awaitEvent(t, "debug with the details", 1, func(e event) bool { return e.Event == "debug" && strings.Contains(e.Text, "secret/path.rb") })
	if n := c.count(added("secret/path.rb")); n != 0 {
		t.Errorf("%d actions carry the back-end's stack trace, want none", n)
	}
}

// "After approved the action goes to the receivers named by resend, once per client even if several targets match. channels and users leave out the
// client that sent it" (PROTOCOL section 3, rule 4).
func resends(t *testing.T, s *stage) {
	author, reader := s.connect(t, options{}), s.other(t, options{})
	s.subscribe(t, author)
	s.subscribe(t, reader)
	s.b.Handle("SAY-"+s.user, backendtest.Script(
		backendtest.Resend(backendtest.Targets{Channels: []string{s.channel}, Users: []string{s.user + "-other"}}),
		backendtest.Approved, backendtest.Processed))
	for i := range 3 {
		author.mustSync(t, fmt.Sprintf(`{"type":"SAY-%s","n":%d}`, s.user, i))
	}
	reader.awaitEvent(t, "the third action", 1, added("SAY", `"n":2`))
	for i := range 3 {
		if n := reader.count(added("SAY", fmt.Sprintf(`"n":%d`, i))); n != 1 {
			t.Errorf("the subscriber got action %d %d times, want once", i, n)
		}
	}
	first := reader.awaitEvent(t, "the first action", 1, added("SAY", `"n":0`))
	if !strings.Contains(first.ID, " "+author.nodeID+" ") {
		t.Errorf("the action came with ID %q, want one of node %q", first.ID, author.nodeID)
	}
}

// P2 of the promises: a client that lost its connection and sends an action again does not get it processed twice; it gets the outcome where it is now.
func resendsAfterCut(t *testing.T, s *stage) {
	c := s.connect(t, options{})
	release := newGate(t)
	s.b.Handle("SLOW-"+s.user, backendtest.Script(backendtest.Approved, release.wait, backendtest.Processed))
	outcome := c.sync(t, fmt.Sprintf(`{"type":"SLOW-%s"}`, s.user))
	cmd := s.b.awaitCommand(t, "the slow action", 1, byType("SLOW-"+s.user))
	s.line.down()
	c.awaitState(t, "disconnected", 1)
	s.line.up(t)
	c.awaitState(t, "sending", 2) // it sends the action again
	release.open()
	if r := outcome(); r.Rejected != nil {
		t.Errorf("the action was undone after the cut: %+v", *r.Rejected)
	}
	c.mustSync(t, s.inc()) // whatever the proxy still had to ask is asked before this
	if n := s.b.Count(cmd.ID); n != 1 {
		t.Errorf("the back-end got the action %d times, want once", n)
	}
	if n := c.count(added(`"logux/processed"`, cmd.ID)); n != 1 {
		t.Errorf("the client got %d outcomes, want one", n)
	}
}

// "Clients re-subscribe by themselves after reconnecting, with since" (PROTOCOL section 4); it is forwarded whole to the back-end.
func resubscribes(t *testing.T, s *stage) {
	c := s.connect(t, options{})
	s.subscribe(t, c)
	s.line.down()
	c.awaitState(t, "disconnected", 1)
	s.line.up(t)
	again := s.b.awaitCommand(t, "a second subscribe", 2, func(c *backendtest.Command) bool { return c.Channel == s.channel })
	var action struct {
		Since struct {
			ID   string
			Time json.Number
		}
	}
	if err := json.Unmarshal(again.Action, &action); err != nil || action.Since.ID == "" || action.Since.Time == "" {
		t.Errorf("the second subscribe is %s (%v), want since with an ID and a time", again.Action, err)
	}
	c.awaitEvent(t, "the second subscription's logux/processed", 1, added(`"logux/processed"`, again.ID))
	s.p.send(t, `{"type":"NEWS"}`, fmt.Sprintf(`{"channels":[%q]}`, s.channel))
	c.awaitEvent(t, "news on the channel", 1, added("NEWS"))
}

// stuckAfterCut are releases with a defect that no server can see: at a cut they do not forget that a sync message waits for its answer (core 0.7), so that
// they never come into the state in which they subscribe again. Releases before subscribe in another state too, releases after forget.
var stuckAfterCut = []string{"0.16.0"}

func resubscribesBusy(t *testing.T, s *stage) {
	c := s.connect(t, options{})
	s.subscribe(t, c)
	release := newGate(t)
	s.b.Handle("BUSY-"+s.user, backendtest.Script(backendtest.Approved, release.wait, backendtest.Processed))
	outcome := c.sync(t, fmt.Sprintf(`{"type":"BUSY-%s"}`, s.user))
	s.b.awaitCommand(t, "the action", 1, byType("BUSY-"+s.user))
	s.line.down()
	c.awaitState(t, "disconnected", 1)
	s.line.up(t)
	c.awaitState(t, "sending", 2)
	release.open()
	if r := outcome(); r.Rejected != nil {
		t.Errorf("the action was undone after the cut: %+v", *r.Rejected)
	}
	if !slices.Contains(stuckAfterCut, s.d.version) {
		s.b.awaitCommand(t, "a second subscribe", 2, func(c *backendtest.Command) bool { return c.Channel == s.channel })
	}
}

// "It resends, after reconnecting, every action above the last synced it got" (PROTOCOL section 7).
func sendsOfflineWork(t *testing.T, s *stage) {
	c := s.connect(t, options{})
	s.line.down()
	c.awaitState(t, "disconnected", 1)
	var outcomes []func() result
	for range 5 {
		outcomes = append(outcomes, c.sync(t, s.inc()))
	}
	s.line.up(t)
	for i, outcome := range outcomes {
		if r := outcome(); r.Rejected != nil {
			t.Errorf("offline action %d was undone: %+v", i, *r.Rejected)
		}
	}
	if got := s.b.counter(s.channel); got != 5 {
		t.Errorf("counter = %d after five offline INC, want 5", got)
	}
	var order []string
	for _, cmd := range s.b.seen(byCounter(s.channel)) {
		order = append(order, cmd.ID)
	}
	for i := 1; i < len(order); i++ {
		if idLess(t, order[i], order[i-1]) {
			t.Errorf("the back-end got %q after %q", order[i], order[i-1])
		}
	}
}

// idLess compares two IDs of one node.
func idLess(t *testing.T, a, b string) bool {
	t.Helper()
	var aTime, aCount, bTime, bCount int64
	var node string
	for _, x := range []struct {
		id    string
		ms, n *int64
	}{{a, &aTime, &aCount}, {b, &bTime, &bCount}} {
		if _, err := fmt.Sscanf(x.id, "%d %s %d", x.ms, &node, x.n); err != nil {
			t.Fatalf("action ID %q: %v", x.id, err)
		}
	}
	return aTime < bTime || aTime == bTime && aCount < bCount
}

// headers "replaces all earlier headers; may come before connect and any time later. Sent to the back-end with every command" (PROTOCOL section 2).
func sendsHeaders(t *testing.T, s *stage) {
	c := s.connect(t, options{headers: map[string]any{"locale": "ru"}})
	auth := s.b.awaitCommand(t, "auth", 1, authOf(s.user))
	c.mustSync(t, s.inc())
	s.d.do(t, map[string]any{"do": "headers", "client": c.name, "headers": map[string]any{"locale": "uk", "theme": "dark"}})()
	c.mustSync(t, s.inc())
	cmds := s.b.seen(byCounter(s.channel))
	for _, row := range []struct {
		what string
		got  map[string]json.RawMessage
		want string
	}{
		{"auth", auth.Headers, `{"locale":"ru"}`},
		{"the first action", cmds[0].Headers, `{"locale":"ru"}`},
		{"the action after new headers", cmds[1].Headers, `{"locale":"uk","theme":"dark"}`},
	} {
		got, err := json.Marshal(row.got)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != row.want {
			t.Errorf("%s came with headers %s, want %s", row.what, got, row.want)
		}
	}
}

// "cookie is the upgrade request's Cookie header, parsed and percent-decoded" (PROTOCOL section 5).
func sendsCookie(t *testing.T, s *stage) {
	s.connect(t, options{cookie: "session=a%20b; theme=dark", token: "good"})
	auth := s.b.awaitCommand(t, "auth", 1, authOf(s.user))
	if got := fmt.Sprint(auth.Cookie); got != "map[session:a b theme:dark]" {
		t.Errorf("the back-end got the cookies %s", got)
	}
	if auth.Token != "good" {
		t.Errorf("the back-end got the token %q, want good", auth.Token)
	}
}

// "denied → [error, wrong-credentials], close" (PROTOCOL section 5); real clients do not try again after it.
func wrongCredentials(t *testing.T, s *stage) {
	c := s.d.open(t, s.line.addr, s.user, options{token: "bad"})
	c.awaitEvent(t, "the error wrong-credentials", 1, failed("wrong-credentials"))
	c.awaitState(t, "disconnected", 1)
	s.mustHaveGivenUp(t, c)
}

func (s *stage) mustHaveGivenUp(t *testing.T, c *jsClient) {
	t.Helper()
	var state struct {
		Connected    bool
		Reconnecting bool
	}
	if err := json.Unmarshal(s.d.do(t, map[string]any{"do": "state", "client": c.name})(), &state); err != nil {
		t.Fatal(err)
	}
	if state.Connected || state.Reconnecting {
		t.Errorf("the client goes on trying after a final error: %+v", state)
	}
	if n := s.line.count(); n != 1 {
		t.Errorf("the client connected %d times, want once", n)
	}
}

// "wrongSubprotocol → [error, wrong-subprotocol, {supported, used}], close" (PROTOCOL section 5).
func wrongSubprotocol(t *testing.T, s *stage) {
	o, want := options{subprotocol: "0.9.0"}, `{"supported":"^1.0.0","used":"0.9.0"}`
	if numberSubprotocol(s.d.version) {
		o, want = options{subprotocol: 0}, `{"supported":1,"used":0}`
	}
	c := s.d.open(t, s.line.addr, s.user, o)
	e := c.awaitEvent(t, "the error wrong-subprotocol", 1, failed("wrong-subprotocol"))
	if got := string(e.Error.Options); got != want {
		t.Errorf("wrong-subprotocol came with %s, want %s", got, want)
	}
	c.awaitState(t, "disconnected", 1)
	s.mustHaveGivenUp(t, c)
}

// "Actions arriving here are not sent to the back-end; they are re-sent by their meta's targets" (PROTOCOL section 5).
func getsControlActions(t *testing.T, s *stage) {
	c, bystander := s.connect(t, options{}), s.other(t, options{})
	s.subscribe(t, c)
	for _, target := range []struct{ key, value string }{
		{"users", s.user}, {"clients", c.clientID}, {"nodes", c.nodeID}, {"channels", s.channel},
	} {
		s.p.send(t, fmt.Sprintf(`{"type":"FROM BACK-END","by":%q}`, target.key), fmt.Sprintf(`{%q:[%q]}`, target.key, target.value))
		c.awaitEvent(t, "the action for its "+target.key, 1, added("FROM BACK-END", fmt.Sprintf(`"by":%q`, target.key)))
	}
	s.p.send(t, `{"type":"LAST"}`, fmt.Sprintf(`{"users":[%q,%q]}`, s.user, s.user+"-other"))
	c.awaitEvent(t, "the last action", 1, added("LAST"))
	bystander.awaitEvent(t, "the last action", 1, added("LAST"))
	if n := c.count(added("FROM BACK-END")); n != 4 {
		t.Errorf("the client got %d actions, want each of 4 once", n)
	}
	if n := bystander.count(added("FROM BACK-END")); n != 0 {
		t.Errorf("a bystander got %d actions that were not for it", n)
	}
	if n := len(s.b.seen(byType("FROM BACK-END"))); n != 0 {
		t.Errorf("the back-end got back %d of its own actions", n)
	}
}

// "logux/unsubscribe is answered by the proxy itself with logux/processed … the back-end is not asked" (PROTOCOL section 4).
func unsubscribes(t *testing.T, s *stage) {
	c := s.connect(t, options{})
	s.subscribe(t, c)
	s.p.send(t, `{"type":"BEFORE"}`, fmt.Sprintf(`{"channels":[%q]}`, s.channel))
	c.awaitEvent(t, "an action on the channel", 1, added("BEFORE"))
	c.mustSync(t, fmt.Sprintf(`{"type":"logux/unsubscribe","channel":%q}`, s.channel))
	s.p.send(t, `{"type":"AFTER"}`, fmt.Sprintf(`{"channels":[%q]}`, s.channel))
	s.p.send(t, `{"type":"LAST"}`, fmt.Sprintf(`{"users":[%q]}`, s.user))
	c.awaitEvent(t, "the last action", 1, added("LAST"))
	if n := c.count(added("AFTER")); n != 0 {
		t.Errorf("the client got %d actions of a channel it left", n)
	}
	if n := len(s.b.seen(func(c *backendtest.Command) bool { return c.Type == "logux/unsubscribe" && c.User() == s.user })); n != 0 {
		t.Errorf("the back-end was asked about %d unsubscribes", n)
	}
}
