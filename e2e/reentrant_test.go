package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"logux-proxy/backend/backendtest"
)

// Loading data calls the control API from inside an open request (Rails, PHP). With one request in flight at most, that must not wait for itself:
// "no limit or lock may be shared between the two directions".
func TestControlCallFromInsideAnOpenRequest(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, settings{"LOGUX_BACKEND_CONCURRENCY": "1"})
	type answer struct {
		status int
		body   string
	}
	inside := make(chan answer, 1)
	b.Handle("channel:counter/load", func(x *backendtest.Exchange) {
		x.Approved()
		// As logux-rack does: time is a string and the ID its own.
		meta := fmt.Sprintf(`{"clients":[%q],"time":"1560954012838","id":"1560954012838 server:rack 0"}`, x.Client())
		status, body := p.control(t, controlBody(`{"type":"LOADED"}`, meta))
		inside <- answer{status, body}
		x.Processed()
	})
	c := connect(t, p.addr, "38:load:tab", dialOptions{})
	c.subscribe(t, "counter/load")
	if a := <-inside; a.status != http.StatusOK || a.body != "" {
		t.Errorf("the control call inside the request was answered %d %q, want 200 and nothing", a.status, a.body)
	}
	c.settle(t, p)
	if n := len(c.having("LOADED")); n != 1 {
		t.Errorf("the loaded action came %d times, want once", n)
	}
	loaded := c.having("LOADED")[0]
	if loaded.time != 1560954012838 || loaded.id != "1560954012838 server:rack 0" {
		t.Errorf("the loaded action has ID %q and time %d, want the back-end's own", loaded.id, loaded.time)
	}
}

// PHP's library waits 5 ms for our answer and goes away; what it sent is taken all the same, once.
func TestControlCallerThatLeaves(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	c := connect(t, p.addr, "38:leave:tab", dialOptions{})
	const calls = 50
	for i := range calls {
		body := controlBody(fmt.Sprintf(`{"type":"LEFT","n":%d}`, i), `{"users":["38"]}`)
		conn, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", p.addr, len(body), body); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil { // without reading the answer
			t.Fatal(err)
		}
	}
	for i := range calls {
		c.awaitAction(t, `"LEFT"`, fmt.Sprintf(`"n":%d}`, i))
	}
	c.settle(t, p)
	if n := len(c.having(`"LEFT"`)); n != calls {
		t.Errorf("%d actions came, want each of %d once", n, calls)
	}
}

// What libraries write differently and mean the same.
func TestControlFormsOfLibraries(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	c := connect(t, p.addr, "38:forms:tab", dialOptions{})
	for name, body := range map[string]string{
		"PHP's empty meta":           controlBody(`{"type":"FORM"}`, `[]`),
		"time as a string":           controlBody(`{"type":"FORM"}`, `{"time":"1560954012838"}`),
		"password for secret":        strings.Replace(controlBody(`{"type":"FORM"}`, `{}`), `"secret"`, `"password"`, 1),
		"one object for commands":    fmt.Sprintf(`{"version":4,"secret":%q,"commands":{"command":"action","action":{"type":"FORM"},"meta":{}}}`, secret),
		"version 2's array":          fmt.Sprintf(`{"version":2,"secret":%q,"commands":[["action",{"type":"FORM"},{}]]}`, secret),
		"singular targets":           controlBody(`{"type":"ONE"}`, `{"client":"38:forms"}`),
		"keys that mean nothing":     controlBody(`{"type":"FORM"}`, `{"status":"processed","reasons":["x"],"added":5}`),
		"a user ID that is a number": controlBody(`{"type":"NUMBER"}`, `{"users":[38]}`),
	} {
		status, answer := p.control(t, body)
		if status != http.StatusOK || answer != "" {
			t.Errorf("%s was answered %d %q, want 200 and nothing", name, status, answer)
		}
	}
	c.awaitAction(t, `"ONE"`)
	c.awaitAction(t, `"NUMBER"`)
	c.settle(t, p)
	if n := len(c.having(`"FORM"`)); n != 0 {
		t.Errorf("%d actions without targets came to a client", n)
	}
}

// The back-end's answers may also name receivers in the meta of action answers; each gets it once and the author's outcome comes after its data.
func TestLoadedDataComesBeforeTheOutcome(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, settings{"LOGUX_BACKEND_CONCURRENCY": "1"})
	b.Handle("channel:counter/many", func(x *backendtest.Exchange) {
		x.Approved()
		for i := range 20 {
			x.Send(json.RawMessage(fmt.Sprintf(`{"type":"ROW","n":%d}`, i)),
				backendtest.Meta{Targets: backendtest.Targets{Clients: []string{x.Client()}, Users: []string{x.User()}}})
		}
		x.Processed()
	})
	c := connect(t, p.addr, "38:many:tab", dialOptions{})
	id := c.sync(t, `{"type":"logux/subscribe","channel":"counter/many"}`)
	c.awaitOutcome(t, id)
	var order []string
	for _, a := range c.actions() {
		order = append(order, a.body)
	}
	if len(order) != 21 || !strings.Contains(order[20], "logux/processed") {
		t.Fatalf("the client got %v, want 20 rows and then the outcome", order)
	}
	for i := range 20 {
		if want := fmt.Sprintf(`{"type":"ROW","n":%d}`, i); order[i] != want {
			t.Errorf("row %d is %s, want %s", i, order[i], want)
		}
	}
}
