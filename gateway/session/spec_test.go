package session

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"logux-proxy/wire"
)

// One test for each sentence of the specification that a session alone fulfils. Scripts in testdata go
// further into the corners.

// connected returns a driver whose client is authenticated, with protocol 5 and subprotocol 0.
func connected(t testing.TB) *driver {
	t.Helper()
	d := newDriver(t)
	d.do("open", nil)
	d.do("receive", []string{`["connect",5,"10:client:tab",0]`})
	d.do("auth authenticated", nil)
	if !d.s.Ready() {
		t.Fatal("not connected:", d.log.String())
	}
	return d
}

// receives gives messages to the session and returns what it did, without what is due.
func (d *driver) receives(texts ...string) string {
	return withoutDue(d.do("receive", texts))
}

func (d *driver) does(command string) string { return withoutDue(d.do(command, nil)) }

func withoutDue(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	if strings.HasPrefix(lines[len(lines)-1], "due in") {
		lines = lines[:len(lines)-1]
	}
	return strings.Join(lines, "\n")
}

func want(t *testing.T, got string, lines ...string) {
	t.Helper()
	if expected := strings.Join(lines, "\n"); got != expected {
		t.Errorf("got:\n%s\nwant:\n%s", got, expected)
	}
}

// Section 1: "user ID `server` is reserved: a client that claims it gets `wrong-credentials`"
func TestSpecServerIsReserved(t *testing.T) {
	for _, node := range []string{"server:client:tab", "server:x", "server"} {
		d := newDriver(t)
		d.do("open", nil)
		want(t, d.receives(`["connect",5,"`+node+`",0]`), `> ["error","wrong-credentials"]`,
			"close denied (wrong-credentials: the user server is reserved)")
	}
}

// Section 1: "`false` and `anonymous` are ordinary user IDs"; "node ID without `:` … no user ID"
func TestSpecOrdinaryUsers(t *testing.T) {
	for node, user := range map[string]wire.UserID{"false:c:t": "false", "anonymous:c:t": "anonymous", "uuid": "", "servers:c:t": "servers"} {
		d := newDriver(t)
		d.do("open", nil)
		want(t, d.receives(`["connect",5,"`+node+`",0]`), "ask about "+node+" subprotocol 0")
		if d.s.Node().User() != user {
			t.Errorf("%s has user %q", node, d.s.Node().User())
		}
	}
}

// Section 2: "Answer `connected` with the client's own number when we speak it, with our highest when it
// is higher; below 3 send ["error","wrong-protocol",{"supported":3,"used":N}] and close."
func TestSpecProtocolNumbers(t *testing.T) {
	for used, answered := range map[int]int{3: 3, 4: 4, 5: 5, 6: 5, 7: 5, 255: 5, 256: 5, 259: 5, 1 << 31: 5} {
		d := newDriver(t)
		d.do("open", nil)
		d.receives(fmt.Sprintf(`["connect",%d,"10:client:tab",0]`, used))
		want(t, d.does("auth authenticated"), fmt.Sprintf(`> ["connected",%d,"server:one",[1000000,1000000]]`, answered))
	}
	for _, used := range []int{2, 1, 0, -1} {
		d := newDriver(t)
		d.do("open", nil)
		want(t, d.receives(fmt.Sprintf(`["connect",%d,"10:client:tab",0]`, used)),
			fmt.Sprintf(`> ["error","wrong-protocol",{"supported":3,"used":%d}]`, used), "close error (wrong-protocol)")
	}
}

// Section 2: "Default subprotocol when missing: `"0.0.0"` for 3 and 4, `0` for 5"
func TestSpecDefaultSubprotocol(t *testing.T) {
	for protocol, subprotocol := range map[int]string{3: `"0.0.0"`, 4: `"0.0.0"`, 5: `0`, 7: `0`} {
		d := newDriver(t)
		d.do("open", nil)
		want(t, d.receives(fmt.Sprintf(`["connect",%d,"10:client:tab",0]`, protocol)),
			"ask about 10:client:tab subprotocol "+subprotocol+"")
	}
}

// Section 2: "start = ms when `connect` arrived, end = ms when this is sent. `end` is the connection's
// base time for both directions"
func TestSpecBaseTime(t *testing.T) {
	d := newDriver(t)
	d.do("open", nil)
	d.does("wait 1s")
	d.receives(`["connect",5,"10:client:tab",0]`)
	d.does("wait 200ms")
	want(t, d.does("auth authenticated"), `> ["connected",5,"server:one",[1001000,1001200]]`)
	if d.s.Base() != 1001200 {
		t.Errorf("base %d", d.s.Base())
	}
	want(t, d.receives(`["sync",1,{"type":"A"},{"id":-1,"time":2}]`),
		`action "1001199 10:client:tab 0" time 1001202 subprotocol 0 {"type":"A"}`)
}

// Section 2: headers "replaces all earlier headers; may come before `connect` and any time later"
func TestSpecHeadersReplace(t *testing.T) {
	d := newDriver(t)
	d.do("open", nil)
	d.receives(`["headers",{"a":"1","b":"1"}]`, `["headers",{"b":"2"}]`)
	want(t, d.receives(`["connect",5,"10:client:tab",0]`), `ask about 10:client:tab subprotocol 0 headers {"b":"2"}`)
	d.does("auth authenticated")
	d.receives(`["headers",{"c":"3"}]`)
	if h := string(d.s.Headers()); h != `{"c":"3"}` {
		t.Error("headers", h)
	}
}

// Section 2: "In development mode the server sends ["headers",{"env":"development"}] before `connected`"
func TestSpecDevelopmentHeaders(t *testing.T) {
	d := newDriver(t)
	d.do("open development", nil)
	d.receives(`["connect",5,"10:client:tab",0]`)
	want(t, d.does("auth authenticated"), `> ["headers",{"env":"development"}]`, `> ["connected",5,"server:one",[1000000,1000000]]`)
}

// Section 2: pong "number = sender's last `added`. Answer at once."
func TestSpecPong(t *testing.T) {
	d := connected(t)
	want(t, d.receives(`["ping",99]`), `> ["pong",0]`)
	d.does("send 4")
	want(t, d.receives(`["ping",99]`), `> ["pong",4]`)
}

// Section 2: "The server pings after 20 s without traffic in either direction"
func TestSpecPingAfterSilence(t *testing.T) {
	for name, happens := range map[string]func(d *driver){
		"from us":               func(d *driver) { d.does("send 1"); d.receives(`["synced",1]`) },
		"from the client":       func(d *driver) { d.receives(`["headers",{}]`) },
		"an acknowledgement":    func(d *driver) { d.does("settle 1000001 10:client:tab 0") },
		"what means nothing":    func(d *driver) { d.receives(`["error","wrong-format"]`) },
		"a pong without a ping": func(d *driver) { d.receives(`["pong",0]`) },
	} {
		d := connected(t)
		d.cfg.AckLimit = time.Hour
		d.receives(`["sync",1,{"type":"A"},{"id":1,"time":1}]`)
		d.does("wait 5s")
		happens(d)
		d.does("wait 19999ms")
		if log := d.does("advance"); strings.Contains(log, "ping") {
			t.Errorf("%s: pinged early: %s", name, log)
		}
		d.does("wait 1ms")
		if log := d.does("advance"); !strings.Contains(log, `> ["ping",`) {
			t.Errorf("%s: not pinged: %s", name, log)
		}
	}
}

// Section 2: "and closes after 70 s without the answer, after ["error","timeout",70000]"
func TestSpecPingTimeout(t *testing.T) {
	d := connected(t)
	d.does("wait 20s")
	want(t, d.does("advance"), `> ["ping",0]`)
	d.does("wait 69999ms")
	want(t, d.does("advance"), "")
	d.does("wait 1ms")
	want(t, d.does("advance"), `> ["error","timeout",70000]`, "close timeout (timeout)")
}

// Section 2: "All three forms are read in both directions"; "Relative numbers can be negative."
func TestSpecRelativeIDs(t *testing.T) {
	d := connected(t)
	for relative, id := range map[string]string{
		`[1,"10:client:tab",2]`:  "1000001 10:client:tab 2",
		`[1,"10:client:tab2",0]`: "1000001 10:client:tab2 0",
		`[1,2]`:                  "1000001 10:client:tab 2",
		`1`:                      "1000001 10:client:tab 0",
		`-1`:                     "999999 10:client:tab 0",
		`[-2000000,3]`:           "-1000000 10:client:tab 3",
	} {
		want(t, d.receives(`["sync",1,{"type":"A"},{"id":`+relative+`,"time":0}]`), `action "`+id+`" time 1000000 subprotocol 0 {"type":"A"}`)
	}
}

// Section 2: "A client that sends any other meta key gets its action denied …, and so does one that
// sends an action whose ID names another client ID."
func TestSpecDenied(t *testing.T) {
	d := connected(t)
	for _, meta := range []string{
		`{"id":1,"time":1,"users":["1"]}`, `{"id":1,"time":1,"channels":[]}`, `{"id":1,"time":1,"clients":null}`, `{"id":1,"time":1,"nodes":["x"]}`,
		`{"id":1,"time":1,"status":"processed"}`, `{"id":1,"time":1,"added":1}`, `{"id":1,"time":1,"server":"server:x"}`,
		`{"id":1,"time":1,"__proto__":{}}`, `{"id":1,"time":1,"reasons":["x"]}`, `{"id":1,"time":1,"sync":true}`,
		`{"id":[1,"10:other:tab",0],"time":1}`, `{"id":[1,"20:client:tab",0],"time":1}`, `{"id":[1,"server:one",0],"time":1}`,
		`{"id":[1,"10",0],"time":1}`, `{"id":[1,"10:client2:tab",0],"time":1}`, `{"id":[1,"uuid",0],"time":1}`,
	} {
		if log := d.receives(`["sync",1,{"type":"A"},` + meta + `]`); !strings.HasSuffix(log, " denied") {
			t.Errorf("%s: %s", meta, log)
		}
	}
}

// Section 2: "A meta without `subprotocol` means the connection's own." Section 3: "A client's
// `meta.subprotocol` is allowed and reaches receivers."
func TestSpecSubprotocolOfActions(t *testing.T) {
	d := newDriver(t)
	d.do("open", nil)
	d.receives(`["connect",5,"10:client:tab",0,{"subprotocol":10}]`)
	d.does("auth authenticated")
	want(t, d.receives(`["sync",1,{"type":"A"},{"id":1,"time":1}]`), `action "1000001 10:client:tab 0" time 1000001 subprotocol 10 {"type":"A"}`)
	want(t, d.receives(`["sync",2,{"type":"A"},{"id":2,"time":1,"subprotocol":9}]`), `action "1000002 10:client:tab 0" time 1000001 subprotocol 9 {"type":"A"}`)
}

// Section 2: "Before authentication messages other than `connect`, `headers`, `error`, `debug` are queued
// in order and handled after `connected`."
func TestSpecBeforeAuthentication(t *testing.T) {
	d := newDriver(t)
	d.do("open", nil)
	want(t, d.receives(`["ping",1]`, `["sync",1,{"type":"A"},{"id":1,"time":1}]`, `["pong",1]`, `["synced",1]`, `["headers",{}]`, `["error","x"]`, `["debug","error","x"]`), "")
	want(t, d.receives(`["connect",5,"10:client:tab",0]`), "ask about 10:client:tab subprotocol 0 headers {}")
	want(t, d.receives(`["ping",2]`), "")
	want(t, d.does("auth authenticated"),
		`> ["connected",5,"server:one",[1000000,1000000]]`, `> ["pong",0]`,
		`action "1000001 10:client:tab 0" time 1000001 subprotocol 0 {"type":"A"}`, `> ["pong",0]`)
}

// Section 2: "The queue is bounded; past the bound: ["error","missed-auth", text] and close."
func TestSpecMissedAuth(t *testing.T) {
	for _, text := range []string{`["ping",1]`, `["sync",1,{"type":"` + strings.Repeat("x", 200) + `"},{"id":1,"time":1}]`} {
		d := newDriver(t)
		d.do("open", nil)
		for i := 0; ; i++ {
			if log := d.receives(text); log != "" {
				want(t, log, `> ["error","missed-auth","too much was sent before authentication"]`, "close error (missed-auth)")
				break
			}
			if i*len(text) > d.cfg.MaxPreAuth {
				t.Fatal("no bound")
			}
		}
	}
}

// Section 2: "A connection with no `connect` within 70 s is closed"
func TestSpecNoConnect(t *testing.T) {
	d := newDriver(t)
	d.do("open", nil)
	d.does("wait 69s")
	d.receives(`["headers",{}]`, `["ping",1]`)
	want(t, d.does("advance"), "")
	d.does("wait 1s")
	want(t, d.does("advance"), `> ["error","timeout",70000]`, "close no connect (timeout)")
}

// Section 2: "Pairs in one `sync` are handled in order."
func TestSpecPairsInOrder(t *testing.T) {
	d := connected(t)
	want(t, d.receives(`["sync",3,{"type":"B"},{"id":2,"time":1},{"type":"A"},{"id":1,"time":1},{"type":"C"},{"id":3,"time":1}]`),
		`action "1000002 10:client:tab 0" time 1000001 subprotocol 0 {"type":"B"}`,
		`action "1000001 10:client:tab 0" time 1000001 subprotocol 0 {"type":"A"}`,
		`action "1000003 10:client:tab 0" time 1000001 subprotocol 0 {"type":"C"}`)
}

// Section 2: "`added` sent to a client grows strictly within a connection and starts above the `synced`
// the client gave in `connect`."
func TestSpecAddedGrows(t *testing.T) {
	d := newDriver(t)
	d.do("open", nil)
	d.receives(`["connect",5,"10:client:tab",41]`)
	d.does("auth authenticated")
	last := int64(41)
	for _, n := range []int{1, 1, 7, 100, 1} {
		added := d.s.NextAdded(d.now(), n)
		if added != last+int64(n) {
			t.Fatalf("%d after %d for %d actions", added, last, n)
		}
		last = added
	}
}

// Section 3, small print: "The ID check is by client ID: another tab of the same client is allowed."
func TestSpecOtherTab(t *testing.T) {
	d := connected(t)
	want(t, d.receives(`["sync",1,{"type":"A"},{"id":[1,"10:client:other",0],"time":1}]`),
		`action "1000001 10:client:other 0" time 1000001 subprotocol 0 {"type":"A"}`)
}

// Section 3, small print: "Types and channels named `constructor` or `__proto__` are ordinary."
func TestSpecOrdinaryNames(t *testing.T) {
	d := connected(t)
	for _, name := range []string{"constructor", "__proto__", "toString", ""} {
		d.out.Reset()
		d.receives(`["sync",1,{"type":"logux/subscribe","channel":"` + name + `"},{"id":1,"time":1}]`)
		if len(d.out.Actions) != 1 || d.out.Actions[0].WrongChannel || d.out.Actions[0].Subscription.Channel != name {
			t.Errorf("channel %q: %+v", name, d.out.Actions)
		}
		d.receives(`["sync",1,{"type":"` + name + `"},{"id":1,"time":1}]`)
		if len(d.out.Actions) != 1 || d.out.Actions[0].Action.Type != name || d.out.Actions[0].Subscription != nil {
			t.Errorf("type %q: %+v", name, d.out.Actions)
		}
	}
}

// Section 3, small print: "A `logux/undo` or another `logux/…` type from a client goes to the back-end like
// any action"
func TestSpecLoguxTypesOfClients(t *testing.T) {
	d := connected(t)
	for _, name := range []string{"logux/undo", "logux/processed", "logux/subscribed", "logux/"} {
		d.receives(`["sync",1,{"type":"` + name + `"},{"id":1,"time":1}]`)
		if a := d.out.Actions; len(a) != 1 || a[0].Denied || a[0].Subscription != nil || a[0].WrongChannel {
			t.Errorf("type %q: %+v", name, a)
		}
	}
}

// Section 3, small print: "Validation comes before authentication."
func TestSpecValidationFirst(t *testing.T) {
	d := newDriver(t)
	d.do("open", nil)
	want(t, d.receives(`["sync",1,{"type":1},{"id":1,"time":1}]`), "not decoded: wrong-format")
}

// Section 3, small print: "A second `connect` on one socket: `wrong-format`, close."
func TestSpecSecondConnect(t *testing.T) {
	d := connected(t)
	want(t, d.receives(`["connect", 5, "10:client:tab", 0]`),
		`> ["error","wrong-format","[\"connect\",5,\"10:client:tab\",0]"]`, "close error (wrong-format: a second connect)")
}

// Section 3, small print: "Stray `pong`, `synced`, `error`, `debug` are harmless."
func TestSpecStrays(t *testing.T) {
	d := connected(t)
	want(t, d.receives(`["pong",5]`, `["synced",5]`, `["error","wrong-format"]`, `["error","any",{"a":[]}]`, `["debug","error","text"]`), "")
	want(t, d.receives(`["ping",1]`), `> ["pong",0]`)
}

// Section 4: "No filter, `null` and `{}` are the same filter. The empty string is a channel."
func TestSpecSameFilter(t *testing.T) {
	d := connected(t)
	for _, filter := range []string{``, `,"filter":null`, `,"filter":{}`, `,"filter":{ }`} {
		d.receives(`["sync",1,{"type":"logux/subscribe","channel":""` + filter + `},{"id":1,"time":1}]`)
		if s := d.out.Actions[0].Subscription; s == nil || *s != (wire.Subscription{}) || d.out.Actions[0].WrongChannel {
			t.Errorf("%s: %+v", filter, s)
		}
	}
}

// Section 5: "unreachable, 5xx, 429, time-out, unreadable or empty answer → close with 1013 without an
// error message"; "An explicit `error` answer … `["error","wrong-credentials"]` as JS does"
func TestSpecBackendInTrouble(t *testing.T) {
	for answer, done := range map[string]string{
		"nothing":    "close unavailable (the back-end could not be asked)",
		"error text": "> [\"error\",\"wrong-credentials\"]\nclose denied (wrong-credentials)",
		"denied":     "> [\"error\",\"wrong-credentials\"]\nclose denied (wrong-credentials)",
	} {
		d := newDriver(t)
		d.do("open", nil)
		d.receives(`["connect",5,"10:client:tab",0]`)
		want(t, d.does("auth "+answer), done)
	}
}

// The acknowledgement stands in front of the outcome: Settled gives it out before the caller writes the
// outcome, and after the time limit it goes without one.
func TestSpecAckLimit(t *testing.T) {
	d := connected(t)
	d.receives(`["sync",1,{"type":"A"},{"id":1,"time":1}]`)
	if at := d.s.Deadline() - d.mono; at != 15*time.Second {
		t.Errorf("due in %v", at)
	}
	d.does("wait 15s")
	want(t, d.does("advance"), `> ["synced",1]`)
	want(t, d.does("settle 1000001 10:client:tab 0"), "")
}
