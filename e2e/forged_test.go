package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"logux-proxy/backend/backendtest"
)

// "A client that sends any other meta key gets its action denied, and so does one that sends an action whose ID names another client ID" (PROTOCOL section 2):
// nothing of it reaches the back-end, and the undo goes to nobody but the author.
func TestForgedActionsAreDenied(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	victim := connect(t, p.addr, "38:victim:tab", dialOptions{})
	victim.subscribe(t, "counter/victim")
	forger := connect(t, p.addr, "66:forger:tab", dialOptions{})
	for name, meta := range map[string]string{
		"another's node":           `{"id":[1,"38:victim:tab",0],"time":1}`,
		"another client of one's":  `{"id":[2,"66:other:tab",0],"time":1}`,
		"the server's node":        `{"id":[3,"server:x",0],"time":1}`,
		"a longer client ID":       `{"id":[4,"66:forgery:tab",0],"time":1}`,
		"a node without a user":    `{"id":[5,"forger",0],"time":1}`,
		"users":                    `{"id":6,"time":1,"users":["38"]}`,
		"user":                     `{"id":7,"time":1,"user":"38"}`,
		"clients":                  `{"id":8,"time":1,"clients":["38:victim"]}`,
		"client":                   `{"id":9,"time":1,"client":"38:victim"}`,
		"nodes":                    `{"id":10,"time":1,"nodes":["38:victim:tab"]}`,
		"node":                     `{"id":11,"time":1,"node":"38:victim:tab"}`,
		"channels":                 `{"id":12,"time":1,"channels":["counter/victim"]}`,
		"channel":                  `{"id":13,"time":1,"channel":"counter/victim"}`,
		"status":                   `{"id":14,"time":1,"status":"processed"}`,
		"reasons":                  `{"id":15,"time":1,"reasons":["x"]}`,
		"added":                    `{"id":16,"time":1,"added":1}`,
		"server":                   `{"id":17,"time":1,"server":"server:x"}`,
		"a key that needs escapes": `{"id":18,"time":1,"\u0075sers":["38"]}`,
	} {
		before := len(forger.having("logux/undo"))
		forger.send(t, `["sync",1,{"type":"INC","counter":"counter/victim","forged":`+quote(name)+`},`+meta+`]`)
		if !forger.awaitFor(patience, func() bool { return len(forger.having("logux/undo")) > before }) {
			t.Fatalf("%s: no undo; %s", name, forger.story())
		}
		undo := forger.having("logux/undo")[before]
		if !strings.Contains(undo.body, `"reason":"denied"`) {
			t.Errorf("%s: the undo is %s, want reason denied", name, undo.body)
		}
	}
	if got := forger.do(t, `{"type":"INC","counter":"counter/honest"}`); got != "processed" {
		t.Errorf("the forger's honest action ended in %s: denied ones must undo nobody else", got)
	}
	victim.settle(t, p)
	if n := len(victim.having("forged")); n != 0 {
		t.Errorf("%d forged actions or their undos came to the victim", n)
	}
	if cmds := b.seen(func(c *backendtest.Command) bool { return strings.Contains(string(c.Action), "forged") }); len(cmds) != 0 {
		t.Errorf("%d forged actions reached the back-end, the first %s", len(cmds), cmds[0].Raw)
	}
}

// "The ID check is by client ID: another tab of the same client is allowed. A client's meta.subprotocol is allowed and reaches receivers."
func TestAnotherTabOfTheSameClientIsAllowed(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	reader := connect(t, p.addr, "38:reader:tab", dialOptions{})
	reader.subscribe(t, "counter/tabs")
	c := connect(t, p.addr, "38:tabs:one", dialOptions{})
	c.send(t, `["sync",1,{"type":"INC","counter":"counter/tabs"},{"id":[7,"38:tabs:two",3],"time":7,"subprotocol":"1.2.3"}]`)
	got := reader.awaitAction(t, `"INC"`, `"counter/tabs"}`)
	if !strings.HasSuffix(got.id, " 38:tabs:two 3") || !strings.Contains(got.meta, `"subprotocol":"1.2.3"`) {
		t.Errorf("the receiver got ID %q with meta %s", got.id, got.meta)
	}
	cmd := b.awaitCommand(t, "the action", 1, byCounter("counter/tabs"))
	if !strings.HasSuffix(cmd.ID, " 38:tabs:two 3") {
		t.Errorf("the back-end got ID %q", cmd.ID)
	}
}

// "A logux/undo or another logux/… type from a client goes to the back-end like any action; it must never stop the queue": it settles nothing by itself.
func TestForgedOutcomesSettleNothing(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	release := newGate(t)
	b.Handle("WAIT", backendtest.Script(backendtest.Approved, release.wait, backendtest.Processed))
	victim, forger := connect(t, p.addr, "38:wait:tab", dialOptions{}), connect(t, p.addr, "66:wait:tab", dialOptions{})
	id := victim.sync(t, `{"type":"WAIT"}`)
	b.awaitCommand(t, "the victim's action", 1, byType("WAIT"))
	for _, body := range []string{
		fmt.Sprintf(`{"type":"logux/processed","id":%q}`, id),
		fmt.Sprintf(`{"type":"logux/undo","id":%q,"reason":"error","action":{"type":"WAIT"}}`, id),
		`{"type":"logux/anything"}`,
	} {
		if got := forger.do(t, body); got != "unknownType" {
			t.Errorf("%s ended in %s, want what the back-end says: unknownType", body, got)
		}
	}
	victim.settle(t, p)
	if got := victim.outcomes(id); len(got) != 0 {
		t.Errorf("the victim's action was settled by a forger: %v", got)
	}
	release.open()
	if got := victim.awaitOutcome(t, id); got != "processed" {
		t.Errorf("the victim's action ended in %s, want processed", got)
	}
}

// "user ID server is reserved: a client that claims it gets wrong-credentials"; node IDs hold no spaces and no control characters. None of them is asked about.
func TestForgedNodeIDs(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	for _, row := range []struct{ nodeID, want string }{
		{`server:a:b`, `["error","wrong-credentials"]`},
		{`server:a`, `["error","wrong-credentials"]`},
		{`server`, ``}, // no user part: no user "server" either; whatever is said, the back-end must not take it for one
		{`38:a b:c`, `["error","wrong-format"`},
		{`38:a\nb:c`, `["error","wrong-format"`},
		{`38:a\u0000b:c`, `["error","wrong-format"`},
		{`38:a\u001b[31m:c`, `["error","wrong-format"`},
		{`38:a\u007f:c`, `["error","wrong-format"`},
		{``, `["error","wrong-format"`},
		{` `, `["error","wrong-format"`},
	} {
		l := newLine(t, p.addr) // bad attempts are counted by address
		c := open(t, l.addr, row.nodeID, dialOptions{})
		c.send(t, `["connect",4,"`+row.nodeID+`",0,{}]`)
		answered := func() bool { return len(c.of("error"))+len(c.of("connected")) > 0 }
		if !c.awaitFor(patience, answered) {
			t.Fatalf("node ID %q: no answer; %s", row.nodeID, c.story())
		}
		if row.want == "" {
			continue
		}
		c.awaitClosed(t)
		if errs := c.of("error"); len(errs) != 1 || !strings.HasPrefix(errs[0].raw, row.want) {
			t.Errorf("node ID %q was answered with %s, want %s", row.nodeID, c.story(), row.want)
		}
	}
	if cmds := b.seen(func(c *backendtest.Command) bool { return c.Auth && c.HasUserID }); len(cmds) != 0 {
		t.Errorf("the back-end was asked about %d forged node IDs, the first %s", len(cmds), cmds[0].Raw)
	}
}

// "three within 3 s each and further ones are refused … with [error, bruteforce] and close"; another address is not concerned, and neither is a back-end
// that throws or a wrong subprotocol.
func TestBruteForce(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	bad, good := net.IPv4(127, 99, 0, 1), net.IPv4(127, 99, 0, 2)
	try := func(from net.IP, o dialOptions) string {
		t.Helper()
		o.from = from
		c := open(t, p.addr, "38:brute:tab", o)
		c.send(t, connectMessage("38:brute:tab", o))
		c.awaitClosed(t)
		return c.awaitMessage(t, "error", 1).raw
	}
	for range 6 {
		if got := try(good, dialOptions{token: "throw"}); got != `["error","wrong-credentials"]` {
			t.Errorf("an authenticator that throws was answered with %s", got)
		}
		if got := try(good, dialOptions{subprotocol: `"0.9.0"`}); !strings.HasPrefix(got, `["error","wrong-subprotocol"`) {
			t.Errorf("a wrong subprotocol was answered with %s", got)
		}
	}
	got := ""
	for range 4 {
		got = try(bad, dialOptions{token: "bad"})
	}
	if got != `["error","bruteforce"]` {
		t.Errorf("the fourth wrong token within 3 s was answered with %s, want bruteforce", got)
	}
	connect(t, p.addr, "38:brute:tab", dialOptions{from: good})
}
