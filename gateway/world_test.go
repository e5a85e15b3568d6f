package gateway

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"logux-proxy/cluster"
	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// patience is how long a test waits for what must come. Nothing depends on its length.
const patience = 20 * time.Second

// A world is one server with its back-end, behind a real listener.
type world struct {
	t        testing.TB
	g        *Gateway
	server   *transport.Server
	backend  *stub
	attempts *attempts
	logs     *observer.ObservedLogs
	fences   int
}

// relay gives a bus a receiver that is made after it.
type relay struct{ g atomic.Pointer[Gateway] }

// Receive implements cluster.Receiver.
func (r *relay) Receive(e *wire.Envelope) { r.g.Load().Receive(e) }

// newWorld runs a server alone on its bus until the test ends.
func newWorld(t testing.TB, change func(c *Config)) *world {
	t.Helper()
	return joinWorld(t, cluster.NewLocal(), "server:one", newStub(t), change)
}

// joinWorld runs a server on a bus with others.
func joinWorld(t testing.TB, bus *cluster.Local, id wire.NodeID, b *stub, change func(c *Config), listening ...func(c *transport.Config)) *world {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	w := &world{t: t, backend: b, attempts: new(attempts), logs: logs}
	r := new(relay)
	port := bus.Attach(id, r)
	c := Config{Backend: b, Bus: port, Attempts: w.attempts, Log: zap.New(core)}
	c.Session.Server = id
	if change != nil {
		change(&c)
	}
	var err error
	if w.g, err = New(c); err != nil {
		t.Fatal(err)
	}
	r.g.Store(w.g)
	listen := transport.Config{Addr: "127.0.0.1:0", Loops: 2, NewHandler: w.g.NewHandler, Limits: transport.Limits{Output: 4 << 20}}
	for _, change := range listening {
		change(&listen)
	}
	if w.server, err = transport.New(listen); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.server.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	running.Go(func() { w.g.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		port.Detach()
		if n := w.g.hub.Counts(); n.Members != 0 || n.Subscriptions != 0 || n.Channels != 0 || n.Users != 0 {
			t.Errorf("left in the hub: %+v", n)
		}
	})
	return w
}

// await waits until f holds.
func await(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: did not happen", what)
		}
	}
}

// taskFunc is a Task of a function.
type taskFunc func(l *transport.Loop)

func (f taskFunc) Run(l *transport.Loop) { f(l) }

// onLoops runs f on each loop and waits for it: all that was posted before is done then.
func (w *world) onLoops(f func(l *transport.Loop)) {
	w.t.Helper()
	for _, l := range w.server.Loops() {
		done := make(chan struct{})
		if !l.Post(taskFunc(func(l *transport.Loop) { f(l); close(done) })) {
			w.t.Fatal("the loop has ended")
		}
		select {
		case <-done:
		case <-time.After(patience):
			w.t.Fatal("the loop does not run")
		}
	}
}

// nothing is what onLoops does to let what was posted before be done.
func nothing(*transport.Loop) {}

// on runs f for the client's connection, on its loop.
func (w *world) on(client wire.ClientID, f func(p *peer)) {
	w.t.Helper()
	found := false
	w.onLoops(func(l *transport.Loop) {
		if m := w.g.hub.Client(client); m != nil && m.Peer.h.loop == l {
			found = true
			f(m.Peer)
		}
	})
	if !found {
		w.t.Fatalf("%s is not connected", client)
	}
}

// deliver sends an action as the control API does.
func (w *world) deliver(body string, targets wire.Targets) {
	w.t.Helper()
	if err := w.g.Deliver(&wire.Action{Type: "own", Body: wire.RawJSON(body)}, &targets, nil); err != nil {
		w.t.Fatal(err)
	}
}

// nothingFor checks that the clients got nothing that was not looked at: what is sent to them now comes next.
func (w *world) nothingFor(clients ...*browser) {
	w.t.Helper()
	for _, c := range clients {
		w.fences++
		fence := fmt.Sprintf(`{"type":"fence","n":%d}`, w.fences)
		w.deliver(fence, wire.Targets{Clients: []wire.ClientID{c.node.Client()}})
		c.want("action " + fence)
	}
}

// members waits until so many clients are connected.
func (w *world) members(n int64) {
	w.t.Helper()
	await(w.t, fmt.Sprintf("%d clients", n), func() bool { return w.g.hub.Counts().Members == n })
}

// forgotten waits until the ledger remembers nothing.
func (w *world) forgotten() {
	w.t.Helper()
	await(w.t, "an empty ledger", func() bool {
		clients, remembered, open := w.g.ledger.counts()
		return clients == 0 && remembered == 0 && open == 0
	})
}

// logged reports whether a log line holds text, in its message or a field.
func (w *world) logged(text string) bool {
	for _, e := range w.logs.All() {
		if contains(e.Message, text) {
			return true
		}
		for _, v := range e.ContextMap() {
			if contains(fmt.Sprint(v), text) {
				return true
			}
		}
	}
	return false
}
