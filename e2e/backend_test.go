package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"logux-proxy/backend/backendtest"
)

// A backend is a real HTTP server around backendtest.Backend. Instead of that one's sample application it is a counter for every channel counter/…,
// with answers of each other kind to be had by an action's type; tests script what else they need with Handle.
type backend struct {
	*backendtest.Backend
	srv *httptest.Server
	url string

	mu        sync.Mutex
	counters  map[string]int
	auth      map[string]backendtest.Handler // by user ID
	intercept http.HandlerFunc               // nil: none
}

// newBackend starts a back-end that ends with the test.
func newBackend(t testing.TB) *backend {
	t.Helper()
	b := &backend{
		Backend:  backendtest.New(backendtest.Options{Secret: secret}),
		counters: map[string]int{},
		auth:     map[string]backendtest.Handler{},
	}
	b.Handle("auth", b.authenticate)
	b.Handle("logux/subscribe", b.subscribe)
	b.Handle("INC", b.inc)
	b.Handle("FORBID", backendtest.Script(backendtest.Forbidden))
	b.Handle("BREAK", backendtest.Script(backendtest.Approved, backendtest.Fail("Error: broken\n    at secret/path.rb:13")))
	serveBackend(t, b)
	return b
}

// serveBackend starts b's server and returns its host:port.
func serveBackend(t testing.TB, b *backend) string {
	t.Helper()
	b.srv = httptest.NewServer(b)
	b.url = b.srv.URL + "/logux"
	t.Cleanup(func() {
		b.srv.CloseClientConnections()
		b.srv.Close()
	})
	return b.srv.Listener.Addr().String()
}

// onAuth scripts the authentication of one user.
func (b *backend) onAuth(user string, h backendtest.Handler) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.auth[user] = h
}

// onRequest takes over whole requests; nil gives them back.
func (b *backend) onRequest(h http.HandlerFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.intercept = h
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	intercept := b.intercept
	b.mu.Unlock()
	if intercept != nil {
		intercept(w, r)
		return
	}
	b.Backend.ServeHTTP(w, r)
}

// authenticate lets everybody in but for the tokens "bad" and "throw" and subprotocol 0.
func (b *backend) authenticate(x *backendtest.Exchange) {
	b.mu.Lock()
	h := b.auth[x.User()]
	b.mu.Unlock()
	number := len(x.Subprotocol) > 0 && x.Subprotocol[0] != '"'
	switch {
	case h != nil:
		h(x)
	case x.Token == "bad":
		x.Denied()
	case x.Token == "throw":
		x.Error("Error: the authenticator threw")
	case number && string(x.Subprotocol) == "0":
		x.Element(fmt.Sprintf(`{"answer":"wrongSubprotocol","authId":%q,"supported":1}`, x.AuthID))
	case strings.HasPrefix(string(x.Subprotocol), `"0.9`):
		x.WrongSubprotocol("^1.0.0")
	case number:
		x.Authenticated(json.RawMessage(`1`))
	default:
		x.Authenticated(json.RawMessage(`"1.0.0"`))
	}
}

// subscribe serves counter/… channels and refuses private/… ones; it knows no others.
func (b *backend) subscribe(x *backendtest.Exchange) {
	switch {
	case strings.HasPrefix(x.Channel, "private/"):
		x.Forbidden()
	case strings.HasPrefix(x.Channel, "counter/"):
		x.Approved()
		x.Send(json.RawMessage(fmt.Sprintf(`{"type":"INC","counter":%q,"value":%d}`, x.Channel, b.counter(x.Channel))),
			backendtest.Meta{Targets: backendtest.Targets{Clients: []string{x.Client()}}})
		x.Processed()
	default:
		x.UnknownChannel()
	}
}

// inc counts for the channel that the action names.
func (b *backend) inc(x *backendtest.Exchange) {
	counter := field(x.Action, "counter")
	x.Resend(backendtest.Targets{Channels: []string{counter}})
	x.Approved()
	b.mu.Lock()
	b.counters[counter]++
	b.mu.Unlock()
	x.Processed()
}

// counter returns the value behind a channel.
func (b *backend) counter(channel string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counters[channel]
}

// A match picks commands of the back-end.
type match func(c *backendtest.Command) bool

// seen returns the commands so far that m picks.
func (b *backend) seen(m match) []*backendtest.Command {
	var found []*backendtest.Command
	for _, c := range b.Commands() {
		if m(c) {
			found = append(found, c)
		}
	}
	return found
}

// await returns when cond holds, asked again whenever something came.
func (b *backend) await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.Wait(ctx, cond); err != nil {
		t.Fatalf("waited %v in vain: the back-end gets %s", patience, what)
	}
}

// awaitCommand returns the n-th command (from 1) that m picks.
func (b *backend) awaitCommand(t testing.TB, what string, n int, m match) *backendtest.Command {
	t.Helper()
	b.await(t, what, func() bool { return len(b.seen(m)) >= n })
	return b.seen(m)[n-1]
}

// byType picks the actions of a type.
func byType(actionType string) match {
	return func(c *backendtest.Command) bool { return !c.Auth && c.Type == actionType }
}

// byCounter picks the INC actions of a counter.
func byCounter(channel string) match {
	return func(c *backendtest.Command) bool { return c.Type == "INC" && field(c.Action, "counter") == channel }
}

// authOf picks the questions whether a user may come in.
func authOf(user string) match {
	return func(c *backendtest.Command) bool { return c.Auth && c.UserID == user }
}

// idsIn returns the IDs of the actions of a type in a request's body.
func idsIn(body []byte, actionType string) []string {
	var r struct {
		Commands []struct {
			Action json.RawMessage
			Meta   json.RawMessage
		}
	}
	if json.Unmarshal(body, &r) != nil {
		return nil
	}
	var ids []string
	for _, c := range r.Commands {
		if field(c.Action, "type") == actionType {
			ids = append(ids, field(c.Meta, "id"))
		}
	}
	return ids
}

// field returns the string under a key of a JSON object, or "".
func field(object json.RawMessage, key string) string {
	var o map[string]json.RawMessage
	var s string
	if json.Unmarshal(object, &o) == nil {
		_ = json.Unmarshal(o[key], &s)
	}
	return s
}

// A gate holds scripts back until it is opened.
type gate struct {
	ch   chan struct{}
	open func()
}

// newGate returns a closed gate, which opens at the end of the test at the latest.
func newGate(t testing.TB) gate {
	ch := make(chan struct{})
	g := gate{ch: ch, open: sync.OnceFunc(func() { close(ch) })}
	t.Cleanup(g.open)
	return g
}

// wait is a step of a script that waits for the gate.
func (g gate) wait(x *backendtest.Exchange) { backendtest.Until(g.ch)(x) }
