package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// unavailable answers 503 and counts.
func unavailable(n *atomic.Int64, changed func()) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		changed()
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// "A back-end in trouble is not a wrong password … close with 1013 without an error message" (PROTOCOL section 5): clients of every version come back by
// themselves when the back-end does.
func TestOutageIsNotAWrongPassword(t *testing.T) {
	b := newBackend(t)
	road := newLine(t, b.srv.Listener.Addr().String())
	p := startProxy(t, "http://"+road.addr+"/logux", settings{"LOGUX_BACKEND_HOLD": "0s"})
	road.down()
	type patient struct {
		c    *jsClient
		line *line
	}
	var waiting []patient
	for i, version := range clientVersions {
		l := newLine(t, p.addr)
		waiting = append(waiting, patient{startDriver(t, version).open(t, l.addr, fmt.Sprintf("outage%d", i), options{}), l})
	}
	for _, w := range waiting {
		w.line.await(t, "the client tries a third time", func() bool { return w.line.count() >= 3 })
		if n := w.c.count(func(e event) bool { return e.Event == "error" }); n != 0 {
			t.Errorf("@logux/client %s got errors while the back-end was away:%s", w.c.d.version, dump(w.c.events()))
		}
	}
	road.up(t)
	for _, w := range waiting {
		w.c.awaitState(t, "synchronized", 1)
	}
}

// P6: "a back-end restart of 30 s loses no user's action". Commands wait for a back-end that is away; connected clients stay connected.
func TestOutageLosesNoAction(t *testing.T) {
	b := newBackend(t)
	p := startProxy(t, b.url, settings{"LOGUX_BACKEND_HOLD": "60s"})
	l := newLine(t, p.addr)
	var clients []*jsClient
	for i, version := range clientVersions {
		clients = append(clients, startDriver(t, version).connect(t, l.addr, fmt.Sprintf("held%d", i), options{}))
	}
	var refused atomic.Int64
	var refusals news
	b.onRequest(unavailable(&refused, refusals.changed))
	var outcomes []func() result
	for range 3 {
		for _, c := range clients {
			outcomes = append(outcomes, c.sync(t, `{"type":"INC","counter":"counter/held"}`))
		}
	}
	// Each client has one action under way; what comes after their first attempts are further ones.
	refusals.await(t, "the proxy asks again", func() bool { return refused.Load() >= int64(len(clients)+2) })
	b.onRequest(nil)
	for _, outcome := range outcomes {
		if r := outcome(); r.Rejected != nil {
			t.Errorf("an action was undone: %+v", *r.Rejected)
		}
	}
	if got, want := b.counter("counter/held"), len(outcomes); got != want {
		t.Errorf("counter = %d, want %d: each action once", got, want)
	}
	for _, c := range clients {
		if n := c.count(func(e event) bool { return e.Event == "disconnect" }); n != 0 {
			t.Errorf("@logux/client %s was disconnected %d times during the outage", c.d.version, n)
		}
	}
	if got := l.count(); got != len(clients) {
		t.Errorf("%d connections were made, want %d", got, len(clients))
	}
}

// The newest client in several tabs of one browser shares one connection through a leader: CrossTabClient.
func TestCrossTabClient(t *testing.T) {
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	newest := clientVersions[len(clientVersions)-1]
	c := startDriver(t, newest).connect(t, p.addr, "tabs", options{crossTab: true})
	c.mustSync(t, `{"type":"logux/subscribe","channel":"counter/tabs"}`)
	c.mustSync(t, `{"type":"INC","counter":"counter/tabs"}`)
	if got := b.counter("counter/tabs"); got != 1 {
		t.Errorf("counter = %d after one INC, want 1", got)
	}
	p.send(t, `{"type":"NEWS"}`, `{"channels":["counter/tabs"]}`)
	c.awaitEvent(t, "news on the channel", 1, added("NEWS"))
	if !strings.HasPrefix(c.clientID, "tabs:") {
		t.Errorf("client ID = %q, want one of user tabs", c.clientID)
	}
}
