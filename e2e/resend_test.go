package e2e

import (
	"fmt"
	"strings"
	"testing"

	"logux-proxy/backend/backendtest"
)

// PROTOCOL section 3, rule 4, for each kind of target, from a client's action and from the control API: who gets the action, each once.
func TestWhoGetsAnAction(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	clients := map[string]*client{}
	for name, nodeID := range map[string]string{"author": "1:a:t", "sibling": "1:b:t", "reader": "2:c:t", "stranger": "3:d:t", "nameless": "uuid"} {
		clients[name] = connect(t, p.addr, nodeID, dialOptions{})
	}
	for _, name := range []string{"author", "sibling", "reader"} {
		clients[name].subscribe(t, "counter/all")
	}
	clients["reader"].subscribe(t, "counter/__proto__")
	clients["stranger"].subscribe(t, "counter/")
	for i, row := range []struct {
		targets string
		want    []string // of a client's action
		control []string // of the control API's, where it differs; nil: the same
	}{
		{`{}`, nil, nil},
		{`{"channels":["counter/all"]}`, []string{"sibling", "reader"}, []string{"author", "sibling", "reader"}},
		{`{"channel":"counter/all"}`, []string{"sibling", "reader"}, []string{"author", "sibling", "reader"}},
		{`{"channels":["counter/__proto__"]}`, []string{"reader"}, nil},
		{`{"channels":["counter/nobody","counter/ALL","counter","constructor"]}`, nil, nil},
		{`{"channels":["counter/all","counter/","counter/__proto__"]}`, []string{"sibling", "reader", "stranger"}, []string{"author", "sibling", "reader", "stranger"}},
		{`{"users":["1"]}`, []string{"sibling"}, []string{"author", "sibling"}},
		{`{"user":"2"}`, []string{"reader"}, nil},
		{`{"users":["1","2","3","4"]}`, []string{"sibling", "reader", "stranger"}, []string{"author", "sibling", "reader", "stranger"}},
		{`{"clients":["1:a"]}`, []string{"author"}, nil},
		{`{"client":"uuid"}`, []string{"nameless"}, nil},
		{`{"clients":["1:a:t","2"]}`, nil, nil},
		{`{"nodes":["1:a:t"]}`, []string{"author"}, nil},
		{`{"node":"3:d:t"}`, []string{"stranger"}, nil},
		{`{"nodes":["3:d","uuid"]}`, []string{"nameless"}, nil},
		{`{"channels":["counter/all"],"users":["1","2"],"clients":["2:c","1:b"],"nodes":["2:c:t"]}`, []string{"sibling", "reader"}, []string{"author", "sibling", "reader"}},
		{`{"channels":["counter/all"],"clients":["1:a"]}`, []string{"author", "sibling", "reader"}, nil},
		{`{"channels":["counter/all"],"excludeClients":["1:b"]}`, []string{"reader"}, []string{"author", "reader"}},
		{`{"users":["2","3"],"excludeClients":["2:c"]}`, []string{"stranger"}, nil},
		{`{"clients":["2:c"],"excludeClients":["2:c"]}`, []string{"reader"}, nil},
	} {
		action := fmt.Sprintf("SEND %d", i)
		b.Handle(action, func(x *backendtest.Exchange) {
			x.Element(fmt.Sprintf(`{"answer":"resend","id":%q,%s`, x.ID, orEmpty(row.targets)))
			x.Approved()
			x.Processed()
		})
		if got := clients["author"].do(t, fmt.Sprintf(`{"type":%q}`, action)); got != "processed" {
			t.Fatalf("resend %s ended in %s", row.targets, got)
		}
		p.send(t, fmt.Sprintf(`{"type":"CONTROL %d"}`, i), row.targets)
		if row.control == nil {
			row.control = row.want
		}
		for name, c := range clients {
			c.settle(t, p)
			if got, want := len(c.having(fmt.Sprintf(`"SEND %d"`, i))), count(row.want, name); got != want {
				t.Errorf("resend %s: the %s got it %d times, want %d", row.targets, name, got, want)
			}
			if got, want := len(c.having(fmt.Sprintf(`"CONTROL %d"`, i))), count(row.control, name); got != want {
				t.Errorf("control %s: the %s got it %d times, want %d", row.targets, name, got, want)
			}
		}
	}
}

// orEmpty turns an object into what follows a comma in another one.
func orEmpty(object string) string {
	if object == "{}" {
		return `"channels":[]}`
	}
	return object[1:]
}

func count(names []string, name string) int {
	n := 0
	for _, each := range names {
		if each == name {
			n++
		}
	}
	return n
}

// An ID in a control call's meta that names a client leaves that client out of channels and users; its own number and time are kept.
func TestControlActionOfAClient(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	author, reader := connect(t, p.addr, "1:a:t", dialOptions{}), connect(t, p.addr, "2:b:t", dialOptions{})
	author.subscribe(t, "counter/x")
	reader.subscribe(t, "counter/x")
	p.send(t, `{"type":"LATE"}`, `{"channels":["counter/x"],"users":["1"],"id":"1560954012838 1:a:t 7","time":1560954012000}`)
	got := reader.awaitAction(t, "LATE")
	if got.id != "1560954012838 1:a:t 7" || got.time != 1560954012000 {
		t.Errorf("the reader got ID %q and time %d", got.id, got.time)
	}
	author.settle(t, p)
	if n := len(author.having("LATE")); n != 0 {
		t.Errorf("the action's author got it %d times", n)
	}
}

// "Only id, time and subprotocol ever reach a client": nothing of the targets does.
func TestTargetsAreNotShown(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	c := connect(t, p.addr, "1:a:t", dialOptions{})
	p.send(t, `{"type":"QUIET"}`, `{"users":["1","secret-user"],"reasons":["x"],"status":"y","custom":1}`)
	got := c.awaitAction(t, "QUIET")
	for _, key := range []string{"users", "secret-user", "reasons", "status", "custom", "channels"} {
		if strings.Contains(got.meta, key) {
			t.Errorf("the meta %s shows %s", got.meta, key)
		}
	}
	if !strings.Contains(got.meta, `"id":`) {
		t.Errorf("the meta %s has no id", got.meta)
	}
}
