package gateway

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// The part of sections 2, 5 and 6 of the specification that is about coming in.

// Section 5: the auth command: "authId", "userId", "token", "subprotocol", "cookie", "headers".
func TestSpecAuthCommand(t *testing.T) {
	w := newWorld(t, nil)
	c := w.dial(http.Header{"Cookie": {"session=a%20b; theme=dark"}})
	c.node = "10:a:tab"
	c.send(`["headers",{"locale":"fr"}]`)
	c.send(`["connect",4,"10:a:tab",0,{"subprotocol":"1.2.0","token":"s3cret"}]`)
	c.want("connected")
	a := w.backend.lastAuth(t)
	if a.NodeID != "10:a:tab" || a.Token != "s3cret" || !a.HasToken || string(a.Subprotocol) != `"1.2.0"` ||
		string(a.Headers) != `{"locale":"fr"}` || !maps.Equal(a.Cookies, map[string]string{"session": "a b", "theme": "dark"}) {
		t.Errorf("%+v", a)
	}
	first := a.AuthID
	w.connect("20:a:tab")
	if a := w.backend.lastAuth(t); a.AuthID == first || a.AuthID == "" || a.HasToken || len(a.Cookies) != 0 {
		t.Errorf("%+v", a)
	}
	for _, secret := range []string{"s3cret", "a b", "a%20b"} {
		if w.logged(secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}

// Section 5: "`denied` → ["error","wrong-credentials"], close."
func TestSpecAuthDenied(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.setAuth(func(*wire.Auth) (wire.Answer, error) { return wire.Answer{Kind: wire.AnswerDenied}, nil })
	c := w.dial(nil)
	c.send(`["connect",5,"10:a:tab",0]`)
	c.want("error wrong-credentials", "close 1008")
	if w.attempts.count() != 1 {
		t.Error("it is not counted")
	}
	w.members(0)
}

// Section 5: "`wrongSubprotocol` → ["error","wrong-subprotocol",{"supported":…,"used":…}], close." "The user
// `server` and wrong subprotocols are not counted."
func TestSpecAuthWrongSubprotocol(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.setAuth(func(*wire.Auth) (wire.Answer, error) {
		return wire.Answer{Kind: wire.AnswerWrongSubprotocol, Supported: wire.RawJSON(`"^2"`)}, nil
	})
	c := w.dial(nil)
	c.send(`["connect",5,"10:a:tab",0]`)
	c.want("error wrong-subprotocol", "close 1008")
	c = w.dial(nil)
	c.send(`["connect",5,"server:a:tab",0]`)
	c.want("error wrong-credentials", "close 1008")
	if n := w.attempts.count(); n != 0 {
		t.Errorf("%d are counted", n)
	}
	if n := w.backend.authCount(); n != 1 {
		t.Errorf("the back-end was asked %d times", n)
	}
}

// Section 5: "unreachable, 5xx, 429, time-out, unreadable or empty answer → close with 1013 without an error
// message …; not counted as a bad attempt. An explicit `error` answer … → logged with its details,
// ["error","wrong-credentials"] as JS does, not counted as a bad attempt."
func TestSpecBackendInTrouble(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.setAuth(func(*wire.Auth) (wire.Answer, error) { return wire.Answer{}, errAway })
	c := w.dial(nil)
	c.send(`["connect",5,"10:a:tab",0]`)
	c.want("close 1013")

	w.backend.setAuth(func(*wire.Auth) (wire.Answer, error) {
		return wire.Answer{Kind: wire.AnswerError, Details: "Error: at line 5"}, nil
	})
	c = w.dial(nil)
	c.send(`["connect",5,"10:a:tab",0]`)
	c.want("error wrong-credentials", "close 1008")
	if n := w.attempts.count(); n != 0 {
		t.Errorf("%d are counted", n)
	}
	if !w.logged("Error: at line 5") {
		t.Error("the details are not in the log")
	}
}

// Section 5: "three within 3 s each … and further ones are refused: the WebSocket side with ["error","bruteforce"]
// and close"
func TestSpecBruteforce(t *testing.T) {
	w := newWorld(t, nil)
	before := w.connect("20:b:tab")
	w.backend.setAuth(func(*wire.Auth) (wire.Answer, error) { return wire.Answer{Kind: wire.AnswerDenied}, nil })
	for range 3 {
		c := w.dial(nil)
		c.send(`["connect",5,"10:a:tab",0]`)
		c.want("error wrong-credentials", "close 1008")
	}
	asked := w.backend.authCount()
	for range 2 {
		c := w.dial(nil)
		c.send(`["connect",5,"10:a:tab",0]`)
		c.want("error bruteforce", "close 1008")
	}
	if n := w.backend.authCount(); n != asked {
		t.Error("the back-end was asked about a refused one")
	}
	await(t, "the counts", func() bool {
		closed := w.server.Stats().Closed
		return closed[transport.CloseBruteforce] == 2 && closed[transport.CloseDenied] == 3
	})
	before.alive()
}

// Section 2: "Before authentication messages … are queued in order and handled after `connected`."
func TestSpecQueuedBeforeAuthentication(t *testing.T) {
	w := newWorld(t, nil)
	enter := make(chan struct{})
	w.backend.setAuth(func(*wire.Auth) (wire.Answer, error) {
		<-enter
		return wire.Answer{Kind: wire.AnswerAuthenticated}, nil
	})
	c := w.dial(nil)
	c.node = "10:a:tab"
	c.send(`["sync",1,{"type":"A"},{"id":1,"time":1}]`)
	c.send(`["ping",1]`)
	c.send(`["connect",5,"10:a:tab",0]`)
	c.send(`["sync",2,{"type":"B"},{"id":2,"time":2}]`)
	await(t, "the question", func() bool { return w.backend.authCount() == 1 })
	w.backend.idle(t)
	close(enter)
	c.want("connected", "pong")
	w.backend.next(t, `{"type":"A"}`).agree()
	c.want("synced 1")
	c.next()
	w.backend.next(t, `{"type":"B"}`).agree()
	c.want("synced 2")
	if n := w.g.Stats().MessagesIn[wire.MessageSync]; n != 2 {
		t.Errorf("%d syncs are counted", n)
	}
}

// Section 2: "The queue is bounded; past the bound: ["error","missed-auth", text] and close."
func TestSpecMissedAuth(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Session.MaxPreAuth = 1000 })
	c := w.dial(nil)
	c.send(`["sync",1,{"type":"` + strings.Repeat("A", 2000) + `"},{"id":1,"time":1}]`)
	c.want("error missed-auth", "close 1008")
}

// A client that leaves while the back-end thinks about it leaves nothing behind.
func TestLeavesWhileAuthenticated(t *testing.T) {
	w := newWorld(t, nil)
	enter := make(chan struct{})
	w.backend.setAuth(func(*wire.Auth) (wire.Answer, error) {
		<-enter
		return wire.Answer{Kind: wire.AnswerAuthenticated}, nil
	})
	c := w.dial(nil)
	c.send(`["connect",5,"10:a:tab",0]`)
	await(t, "the question", func() bool { return w.backend.authCount() == 1 })
	c.drop()
	await(t, "the end", func() bool { return w.server.Stats().Connections == 0 })
	close(enter)
	w.backend.wait.Wait()
	w.onLoops(nothing)
	w.members(0)
}

// Section 2: "In development mode the server sends ["headers",{"env":"development"}] before `connected`", and
// debug: "development mode only: stack traces and denials for the developer". Section 3: "`error.details` is
// logged, and sent to the author as `debug` in development mode only."
func TestSpecDebug(t *testing.T) {
	for _, development := range []bool{true, false} {
		t.Run(fmt.Sprint(development), func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.Session.Development = development })
			var c, reader *browser
			if development {
				c, reader = w.connectDevelopment("10:a:tab"), w.connectDevelopment("20:b:tab")
			} else {
				c, reader = w.connect("10:a:tab"), w.connect("20:b:tab")
			}
			n := int64(0)
			tell := func(end func(q *question), reason, debug string) {
				t.Helper()
				n++
				id := c.act(n, inc)
				q := w.backend.next(t, inc)
				q.resend(wire.Targets{Users: []wire.UserID{"20"}})
				q.approve()
				reader.want("action " + inc)
				end(q)
				expected := []string{fmt.Sprintf("synced %d", n), undoEvent(id, reason, inc)}
				if development {
					expected = append(expected, "debug "+debug)
				}
				c.wantAll(expected...)
				reader.want(undoEvent(id, reason, inc))
			}
			tell(func(q *question) { q.fail("Error: at line 5") }, "error", "Error: at line 5")
			if !w.logged("Error: at line 5") {
				t.Error("the details are not in the log")
			}
			tell(func(q *question) { q.finish(wire.AnswerUnknownAction) }, "unknownType", "Action with unknown type counter/inc")
			tell(func(q *question) { q.done(wire.Answer{}, errAway) }, "error", errAway.Error())
			tell(func(q *question) { q.finish(wire.AnswerForbidden) }, "denied", `Action "`+string(c.id(n+1))+`" was denied`)
			w.nothingFor(c, reader)
		})
	}
}

// Section 5: "An explicit `error` answer (the application's code threw)": the developer sees why in development.
func TestSpecDebugOfAuth(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Session.Development = true })
	w.backend.setAuth(func(*wire.Auth) (wire.Answer, error) {
		return wire.Answer{Kind: wire.AnswerError, Details: "Error: at line 5"}, nil
	})
	c := w.dial(nil)
	c.send(`["connect",5,"10:a:tab",0]`)
	c.want("debug Error: at line 5", "error wrong-credentials", "close 1008")
}
