package gateway

import (
	"fmt"
	"testing"

	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// "it sheds idle connections (1012)", and only such: a client with something in flight stays.
func TestShed(t *testing.T) {
	w := newWorld(t, nil)
	busy := w.connect("100:a:tab")
	busy.act(1, inc)
	q := w.backend.next(t, inc)
	idle := make(map[int]*browser)
	for i := range 20 {
		idle[i] = w.connect(wire.NodeID(fmt.Sprintf("%d:a:tab", i)))
	}
	if n := w.g.Shed(t.Context(), 5); n != 5 {
		t.Fatalf("%d were closed, want 5", n)
	}
	if n := w.g.Shed(t.Context(), 100); n != 15 {
		t.Fatalf("%d were closed, want the 15 idle ones", n)
	}
	for _, c := range idle {
		c.want("close 1012")
		c.drop()
	}
	if n := w.g.Shed(t.Context(), 100); n != 0 {
		t.Errorf("%d were closed, want none", n)
	}
	q.agree()
	busy.wantProcessed(1)
	if n := w.g.Shed(t.Context(), 1); n != 1 {
		t.Errorf("%d were closed, want the one that is idle now", n)
	}
	busy.want("close 1012")
	busy.drop()
	w.members(0)
	// A loop counts at the end of its turn.
	await(t, "21 are counted", func() bool { return w.server.Stats().Closed[transport.CloseRebalance] == 21 })
}

// Not always the same ones go: of twenty, one each time, some client of the upper half and some of the lower half goes first.
func TestShedIsRandom(t *testing.T) {
	w := newWorld(t, nil)
	first := make(map[bool]bool)
	clients := make(map[wire.NodeID]*browser)
	for i := range 20 {
		id := wire.NodeID(fmt.Sprintf("%02d:a:tab", i))
		clients[id] = w.connect(id)
	}
	for range 200 {
		if len(first) == 2 {
			return
		}
		if n := w.g.Shed(t.Context(), 1); n != 1 {
			t.Fatalf("%d were closed, want 1", n)
		}
		var id wire.NodeID
		w.onLoops(func(l *transport.Loop) {
			l.Each(func(c *transport.Conn) {
				if c.Closing() {
					id = c.Data.(*peer).session.Node()
				}
			})
		})
		first[id < "10"] = true
		clients[id].want("close 1012")
		clients[id].drop()
		w.members(19)
		clients[id] = w.connect(id)
	}
	t.Error("of two hundred all were of one half")
}
